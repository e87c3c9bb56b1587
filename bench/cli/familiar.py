"""A command that understands flags of other tools; see bench.app.familiar."""

import re
from collections.abc import Callable, Mapping, Sequence

import click

from bench.app.familiar import MOST_AT_ONCE, here, meaning_of, word_of
from bench.app.options import flag_of
from bench.cli.groups import Grouped
from bench.types import UserError

_BOUND = re.compile(r"[A-Za-z_]\w*:[\d.]\S*")


class SynonymCommand(Grouped):
    """Parses its own flags, and those of other tools that mean the same."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks for completions
            return super().parse_args(ctx, args)
        own = {flag: option for option in self.params if isinstance(option, click.Option) for flag in option.opts}
        return super().parse_args(ctx, understood(args, own))


def understood(args: Sequence[str], own: Mapping[str, click.Option]) -> list[str]:
    """The arguments with our flags; UserError for a flag that differs here, or is given twice."""
    found, said_by = list[str](), dict[str, str]()
    rest = list(args)
    at_a_rate = _has_rate(args)
    is_limited = any(word_of(argument.partition("=")[0]) == MOST_AT_ONCE for argument in args)
    while rest:
        argument = rest.pop(0)
        given, equals, value = argument.partition("=")
        if argument == "--" or not given.startswith("--"):
            found.append(argument)
            continue
        flag, convert = (given, str) if given in own else _ours(given, at_a_rate=at_a_rate, own=own)
        option = own.get(flag)
        if option is None:
            if (advice := here(given)) is not None:
                raise UserError(advice)
            found.append(argument)
            continue
        if flag != given or flag in said_by:
            _once(flag, given, option, said_by)
        said_by.setdefault(flag, given)
        takes_one = not (option.is_flag or option.count)
        if takes_one and not equals and rest:
            equals, value = "=", rest.pop(0)
        while flag == "--goodput" and rest and _BOUND.fullmatch(rest[0]):
            value += f" {rest.pop(0)}"
        if flag == "--rate" and is_limited and not at_a_rate:
            continue  # an infinite rate and a limit: a closed loop
        found.append(f"{flag}{equals}{convert(value)}" if equals else flag)
    return found


def _ours(given: str, *, at_a_rate: bool, own: Mapping[str, click.Option]) -> tuple[str, Callable[[str], str]]:
    """Our flag for another tool's, and how to convert its value; the flag itself if there is none."""
    plain = f"--{word_of(given)}"
    if plain in own:
        return plain, str
    meaning = meaning_of(given, at_a_rate=at_a_rate)
    return (given, str) if meaning is None else (flag_of(meaning.option), meaning.value)


def _once(flag: str, given: str, option: click.Option, said_by: Mapping[str, str]) -> None:
    before = said_by.get(flag)
    if before is not None and not option.multiple and {before, given} != {flag}:
        raise UserError(f"{given} and {before} mean the same; give one of them")


def _has_rate(args: Sequence[str]) -> bool:
    """Whether a finite rate is given."""
    for place, argument in enumerate(args):
        given, equals, value = argument.partition("=")
        if word_of(given) in ("rate", "request-rate") and given.startswith("--"):
            return (value if equals else "".join(args[place + 1 : place + 2])).lower() != "inf"
    return False
