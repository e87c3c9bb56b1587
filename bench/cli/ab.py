"""`bench.py ab`: two configurations interleaved, until it is decided which is slower or costs more."""

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench import app
from bench.app.options import AbOptions, names, plain
from bench.cli import groups
from bench.cli.base import shown
from bench.cli.campaign import say_ended
from bench.cli.familiar import SynonymCommand
from bench.cli.options import ASKED, COSTS, JUDGED, OFFERED, Form, options_of, out_option
from bench.cli.run import request_of
from bench.cli.settings import Measuring
from bench.exit_codes import EXIT_OBJECTIVE_MISSED
from bench.types import UserError

if TYPE_CHECKING:
    from bench.app.ab import Side

OPTIONS = {**ASKED, **COSTS, **OFFERED}
# Names in ab.json that differ from the option's.
_RECORDED_AS = {"backend": "backend_name", "scenario": "scenario_name", "server_arg": "server_args"}


@click.command(cls=Measuring)
@groups.with_options(
    groups.under(groups.SIDES, {
        "a": click.option("--a", metavar="OPTIONS", help="Options of the base only, in quotes: '--model tiny'."),
        "b": click.option("--b", metavar="OPTIONS", help="Options of the candidate only."),
    }),
    OPTIONS,
    options_of(AbOptions, groups.HOW_OFTEN, {
        "max_pairs": "Stop after this many runs of each.",
        "decide": "Decide by this measure and error_share; repeatable.",
        "equal_sides": "Allow equal sides, to see what this machine can tell apart.",
    }),
    JUDGED,
    out_option("Folder; that of an earlier ab is continued."),
)  # fmt: skip
def ab(form: Form, junit: Path | None, *, as_json: bool, **options: Any) -> int:
    """Say whether B is slower or costs more than A.

    Makes runs in the order A B B A until that is decided. Each launches its own server, unless --url names one.
    Options of a run apply to both sides; --a and --b hold the differences.

    \b
    bench.py ab --a '--model tiny' --b '--model tiny-3l' --requests 100
    bench.py ab --a '--server ./old/llama-server' --b '--server ./new/llama-server' --model model.gguf
    bench.py ab --b '--server-arg=n_batch=512' --model model.gguf --out results/n-batch
    Exit codes: 0 nothing worse, 1 worse, 2 wrong use, 3 a run is not to be trusted, 4 out of budget, 130 interrupted.
    """
    from analysis.present import of_comparison
    from bench.cli.output import Screen, deliver, say, show_fact

    judged = AbOptions(**{name: options[name] for name in names(AbOptions)})
    task = app.ab.task_of(sides_of(options), judged)
    if junit:
        app.compare.check_folder_of("--junit", junit)
    screen = Screen(stderr=True, highlight=False)
    # One line per pair is enough; no progress is drawn.
    found, ended = app.ab.decide(task, app.campaign.Runs(with_report=False), partial(say, screen))
    if found is not None:
        if form == "text" and not as_json:
            Screen().print()
        deliver(of_comparison.document(found, inconclusive=judged.inconclusive), form, as_json=as_json, junit=junit)
        show_fact(screen, "page", str(task.page))
    if ended is not None:
        far = "no verdict yet" if found is None else f"the verdict so far is of {len(found.base)} pairs"
        say_ended(ended, task.folder, far)
        return ended.code
    assert found is not None, "the last analysis stops at the bound"
    return EXIT_OBJECTIVE_MISSED if found.failing(judged.inconclusive) else 0


# --- the options of the two sides ---------------------------------------------------------------------------------


def sides_of(options: dict[str, Any]) -> "tuple[Side, Side]":
    """The two sides from the command's options; raises UserError that names the side."""
    common = {name: options[name] for name in _own_options("--a", "")[0]}
    first, second = (_side(name, options[name] or "", common) for name in app.ab.SIDES)
    return first, second


def _side(name: str, text: str, common: dict[str, Any]) -> "Side":
    flag = f"--{name}"
    own, given = _own_options(flag, text)
    if "max_usd" in given:
        raise UserError(f"{flag}: --max-usd is one limit for all runs of both sides; give it outside of {flag}")
    options = common | {name: (*common[name], *own[name]) if name in _repeatable() else own[name] for name in given}
    try:
        request = request_of(options)
    except UserError as problem:
        if str(problem) == _problem_of(common):
            raise  # a mistake in the common options is not blamed on one side
        raise UserError(f"{flag}: {problem}") from None
    return app.ab.Side(name, request, _recorded(options))


@click.command(cls=SynonymCommand, add_help_option=False)
@groups.with_options(OPTIONS)
def _of_a_side() -> None:
    pass


def _own_options(flag: str, text: str) -> tuple[dict[str, Any], set[str]]:
    """All options of a run as the text sets them, and the names of those given in it."""
    try:
        context = _of_a_side.make_context(flag, shlex.split(text))
    except ValueError as problem:
        raise UserError(f"{flag} {text!r}: {problem}; expected options as on a command line") from None
    except click.ClickException as problem:
        raise UserError(f"{flag}: {problem.format_message()}") from None
    except UserError as problem:
        raise UserError(f"{flag}: {problem}") from None
    explicit = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return dict(context.params), explicit


def _repeatable() -> set[str | None]:
    return {option.name for option in _of_a_side.params if isinstance(option, click.Option) and option.multiple}


def _problem_of(common: dict[str, Any]) -> str | None:
    """What is wrong with the common options, and so the fault of neither side."""
    try:
        request_of(common)
    except UserError as problem:
        return str(problem)
    return None


def _recorded(options: dict[str, Any]) -> dict[str, Any]:
    """The options for JSON, without the key and without spending limits, which may be raised when continuing."""
    return {_RECORDED_AS.get(name, name): plain(value, shown) for name, value in options.items() if name != "max_usd"}
