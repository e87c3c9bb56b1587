"""Options in groups for --help, most needed first."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import click

from bench.cli.base import Group

SIDES: Final = "What is compared"
# Of commands that make runs.
WHOM: Final = "Server and model"
LOAD: Final = "Load"
WHAT: Final = "Prompts and answers"
OBJECTIVES: Final = "Objectives and verdict"
HOW_OFTEN: Final = "Number of runs"
RESULT: Final = "Output"
COST: Final = "Costs"
LAUNCH: Final = "Launching a server"
WORDING: Final = "Request parameters"
CONNECTION: Final = "Connection"
METRICS: Final = "Server metrics"
CLIENT: Final = "This client"
SETTINGS: Final = "Settings file"
# Of breakeven.
REQUEST: Final = "A request"
VOLUME: Final = "Your traffic"
API: Final = "The API"
OPERATION: Final = "Your servers"
ROUTING: Final = "Routing between the two"

ORDER: Final = (
    SIDES, WHOM, REQUEST, LOAD, VOLUME, WHAT, COST, OBJECTIVES, HOW_OFTEN, RESULT, API, OPERATION, ROUTING,
    LAUNCH, WORDING, CONNECTION, METRICS, CLIENT, SETTINGS,
)  # fmt: skip
_OTHERS: Final = "Others"
_ATTRIBUTE: Final = "help_group"

Decorator = Callable[[Any], Any]
Options = Mapping[str, Decorator]
"""A decorator that gives a command options, which it receives as keyword arguments."""


def under(title: str, options: Options) -> Options:
    """The options, marked to appear under a title of ORDER."""

    def marked(option: Decorator) -> Decorator:
        def decorate(function: Any) -> Any:
            decorated = option(function)
            vars(decorated.__click_params__[-1])[_ATTRIBUTE] = title
            return decorated

        return decorate

    return {name: marked(option) for name, option in options.items()}


def with_options(*groups: Options) -> Decorator:
    """Give a command all of these options, in this order."""

    def decorate(function: Any) -> Any:
        for option in reversed([option for group in groups for option in group.values()]):
            function = option(function)
        return function

    return decorate


def group_of(option: click.Parameter) -> str:
    """The title under which an option appears."""
    found: str = vars(option).get(_ATTRIBUTE, _OTHERS)
    return found


class Grouped(click.Command):
    """A command whose help groups its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        records = [(group_of(option), option.get_help_record(ctx)) for option in options]
        for title in (*ORDER, _OTHERS):
            if rows := [record for own, record in records if own == title and record is not None]:
                with formatter.section(title):
                    formatter.write_dl(rows)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)


class GroupedGroup(Grouped, Group):
    """The same for a command with subcommands."""
