"""The two sides of an `ab`: the options that are common to both, and those that each has of its own."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.cli.base import shown, with_options
from bench.cli.options import ASKED, COSTS, OFFERED
from bench.cli.run import request_of
from bench.types import UserError

if TYPE_CHECKING:
    from bench.app.request import RunRequest

SIDES = ("a", "b")
OPTIONS = (*ASKED, *COSTS, *OFFERED)
# The names that options have in ab.json, where those are others.
_RECORDED_AS = {"backend": "backend_name", "scenario": "scenario_name", "server_arg": "server_args"}


@dataclass(frozen=True, slots=True)
class Side:
    """The runs of one side; `asked` are all its options, as ab.json holds them."""

    name: str
    request: "RunRequest"
    asked: dict[str, Any]


def sides_of(options: dict[str, Any]) -> tuple[Side, Side]:
    """Give both sides from the options of the command; raises UserError that names the side."""
    common = {name: options[name] for name in _own_options("--a", "")[0]}
    first, second = (_side(name, options[name] or "", common) for name in SIDES)
    return first, second


def _side(name: str, text: str, common: dict[str, Any]) -> Side:
    flag = f"--{name}"
    own, given = _own_options(flag, text)
    if "max_usd" in given:
        raise UserError(f"{flag}: --max-usd is one limit for all runs of both sides; give it outside of {flag}")
    options = common | {name: (*common[name], *own[name]) if name in _repeatable() else own[name] for name in given}
    try:
        request = request_of(options)
    except UserError as problem:
        if str(problem) == _problem_of(common):
            raise
        raise UserError(f"{flag}: {problem}") from None
    return Side(name, request, _told(options))


@click.command(add_help_option=False)
@with_options(OPTIONS)
def _of_a_side() -> None:
    pass


def _own_options(flag: str, text: str) -> tuple[dict[str, Any], set[str]]:
    """All options of a run as the text sets them, and the names of those that it gives."""
    try:
        context = _of_a_side.make_context(flag, shlex.split(text))
    except ValueError as problem:
        raise UserError(f"{flag} {text!r}: {problem}; expected options as on a command line") from None
    except click.ClickException as problem:
        raise UserError(f"{flag}: {problem.format_message()}") from None
    explicit = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return dict(context.params), explicit


def _repeatable() -> set[str | None]:
    return {option.name for option in _of_a_side.params if isinstance(option, click.Option) and option.multiple}


def _problem_of(common: dict[str, Any]) -> str | None:
    """What is wrong with the common options, which is then neither side's fault."""
    try:
        request_of(common)
    except UserError as problem:
        return str(problem)
    return None


def _told(options: dict[str, Any]) -> dict[str, Any]:
    """The options for JSON, without the key. The limit on spending is not among them: who goes on may raise it."""

    def told(value: Any) -> Any:
        if isinstance(value, tuple):
            return [told(each) for each in value]
        return shown(str(value)) if isinstance(value, str | Path) else value

    return {_RECORDED_AS.get(name, name): told(value) for name, value in options.items() if name != "max_usd"}
