"""`bench.py ab`: the command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.app.compare import check_folder_of, write
from bench.app.results import requests_of
from bench.cli.ab.runs import AB, PAGE, Task, begin, make_pair, runs_of
from bench.cli.ab.sides import OPTIONS, sides_of
from bench.cli.base import with_options
from bench.cli.compare import JUDGED
from bench.exit_codes import EXIT_INTERRUPTED, EXIT_OBJECTIVE_MISSED
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.compare.comparison import Comparison
    from analysis.compare.sequential import Look
    from bench.cli.output import Screen

FEWEST_PAIRS = 4
MOST_PAIRS = 96


@click.command()
@click.option("--a", metavar="OPTIONS", help="What only the base has, in quotes: '--model tiny'.")
@click.option("--b", metavar="OPTIONS", help="What only the candidate has.")
@with_options(OPTIONS)
@click.option("--max-pairs", type=int, default=48, help="Stop after so many runs of each, decided or not.  [48]")
@click.option("--decide", multiple=True, metavar="MEASURE", help="Decides, with error_share; repeatable.  [see docs]")
@with_options(JUDGED)
@click.option("--out", type=click.Path(path_type=Path), help="A folder; that of an earlier ab goes on with it.")
def ab(**options: Any) -> int:
    """Say whether B is slower or dearer than A.

    It makes runs in the order A B B A until that is decided. Each launches its own server, unless --url names one.
    Options of a run are common to both sides; --a and --b hold those in which they differ.

    \b
    bench.py ab --a '--model tiny' --b '--model tiny-3l' --requests 100
    bench.py ab --a '--server ./old/llama-server' --b '--server ./new/llama-server' --model model.gguf
    bench.py ab --b '--server-arg=n_batch=512' --model model.gguf --out results/n-batch
    Exit codes: 0 nothing worse, 1 worse, 2 wrong use, 3 a run is not to be trusted, 4 out of budget, 130 interrupted.
    """
    from analysis.present import to_junit
    from analysis.present.of_comparison import document
    from bench.cli.output import Screen, deliver

    task = _task(options)
    if options["junit"]:
        check_folder_of("--junit", options["junit"])
    begin(task)
    plain = options["form"] == "text" and not options["as_json"]
    screen = Screen(stderr=not plain, highlight=False)
    found, code = _decide(task, screen, explicit=options["decide"])
    if found is not None:
        if plain:
            screen.print()
        shown = document(found, inconclusive=options["inconclusive"])
        deliver(shown, options["form"], as_json=options["as_json"])
        if options["junit"]:
            write("--junit", options["junit"], to_junit.render(shown))
        _say(screen, f"page        {task.folder / PAGE}")
    if code:
        far = "no verdict yet" if found is None else f"the verdict so far is of {len(found.base)} pairs"
        _say(screen, f"{far}; it can go on: the same command with --out {task.folder}")
        return code
    assert found is not None, "the last look is at the bound"
    return EXIT_OBJECTIVE_MISSED if found.failing(options["inconclusive"]) else 0


def _task(options: dict[str, Any]) -> Task:
    from analysis.compare.measures import thresholds
    from bench.plan.resolve import within

    max_pairs = within("--max-pairs", options["max_pairs"], FEWEST_PAIRS, MOST_PAIRS)
    if max_pairs % 2:
        raise UserError(f"--max-pairs: expected an even number, so that both orders are as frequent, got {max_pairs}")
    sides = sides_of(options)
    out = options["out"] or Path("results") / f"ab-{sides[0].request.out.name}"
    return Task(
        sides=sides,
        folder=out.absolute(),
        thresholds=thresholds(options["threshold"]),
        deciding=_deciding(options["decide"]),
        max_pairs=max_pairs,
        different_plans=options["different_plans"],
        untrusted=options["untrusted"],
    )


def _deciding(named: tuple[str, ...]) -> tuple[str, ...]:
    """Measures that decide; a server that fails faster is not better, so failures always do."""
    from analysis.compare.measures import MEASURES
    from analysis.compare.sequential import ALWAYS_DECIDES, DECIDING
    from bench.suggest import did_you_mean

    for name in named:
        if name not in MEASURES:
            raise UserError(f"--decide {name!r}: is not compared{did_you_mean(name, MEASURES)}")
    return tuple(dict.fromkeys((*named, ALWAYS_DECIDES))) if named else DECIDING


def _decide(task: Task, screen: "Screen", explicit: tuple[str, ...]) -> "tuple[Comparison | None, int]":
    """Make pairs until a look decides; what the last look said, and the exit code of what ended it before."""
    from analysis.compare.sequential import is_decided, looks
    from analysis.present.of_comparison import look_line, pair_line

    plan, found = looks(task.max_pairs), None
    _say(screen, f"A B B A …: at most {task.max_pairs} pairs, a look after {', '.join(str(n) for n, _ in plan)}")
    made = 0
    for look in plan:
        while made < look.pairs:
            try:
                code = make_pair(task, made + 1, screen)
            except KeyboardInterrupt:
                code = EXIT_INTERRUPTED
            if code:
                return found, code
            made += 1
            if made == 1:
                _check_first(task, explicit)
            base, candidate = (side[-1] for side in runs_of(task, made))
            _say(screen, pair_line(made, base, candidate, task.deciding))
        found = _look_at(task, look)
        _keep(task, found)
        _say(screen, look_line(found))
        if is_decided(found):
            break
    return found, 0


def _check_first(task: Task, explicit: tuple[str, ...]) -> None:
    """Refuse after the first pair what would be refused after the last."""
    from analysis.compare import comparison
    from analysis.compare.measures import MEASURES, value

    first = runs_of(task, 1)
    comparison.check(*first, different_plans=task.different_plans, untrusted=task.untrusted)
    for name in explicit:
        for (run,) in first:
            if value(MEASURES[name], run.summary) is None:
                raise UserError(f"--decide {name}: {run.name} does not know it; more --requests may, or leave it out")


def _look_at(task: Task, look: "Look") -> "Comparison":
    from analysis.compare import comparison
    from analysis.compare.sequential import look_at

    sides = runs_of(task, look.pairs)
    warnings = comparison.check(*sides, different_plans=task.different_plans, untrusted=task.untrusted)
    return look_at(look, *sides, task.thresholds, warnings, task.deciding)


def _keep(task: Task, found: "Comparison") -> None:
    """Write ab.json and ab.html: what the runs say so far."""
    from analysis.present import to_html
    from analysis.present.comparison_figures import sections
    from analysis.present.of_comparison import document
    from bench.runs import folder as files

    tables = ([requests_of(task.folder / run.name) for run in side] for side in (found.base, found.candidate))
    shown = document(found, sections(found, *tables))
    files.write_json(task.folder / AB, {"schema": files.SCHEMA, "asked": task.asked(), "comparison": shown.data})
    files.write_text(task.folder / PAGE, to_html.render(shown))


# --- on the screen ----------------------------------------------------------------------------------------------


def _say(screen: "Screen", line: str) -> None:
    screen.print(line, markup=False, soft_wrap=True)
