"""Where the options of a command come from: flags, then BENCH_* variables, a profile, the settings file, defaults."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from bench import app
from bench.app.options import words_of
from bench.cli.base import echo
from bench.cli.familiar import SynonymCommand
from bench.cli.groups import SETTINGS, Grouped, GroupedGroup, under, with_options
from bench.suggest import nearest
from bench.types import Setting, UserError

if TYPE_CHECKING:
    from bench.app.config import FromFile, OptionKind

PREFIX: Final = "BENCH_"
_COMMANDS: Final = ("ab", "breakeven", "capacity", "compare", "gate", "run", "size", "sweep")
# These mean something else than in a run, so settings for all commands do not apply to them.
_ITS_OWN: Final = {"breakeven": ("model",)}
_META: Final = "bench.cli.settings"
# Mutually exclusive options: once one is given, the others are not taken from less specific sources.
_Either = Sequence[Sequence[Sequence[str]]]
_EITHER: Final[_Either] = (
    (("gpu", "gpus"), ("usd_per_hour",), ("owned",)),
    (("peak_to_mean",), ("traffic_profile",), ("traffic",)),
)
_EITHER_OF_A_RUN: Final[_Either] = (
    *_EITHER,
    (("concurrency",), ("rate", "arrivals", "max_in_flight", "overload"), ("trace", "speed", "from_", "for_")),
    (("requests",), ("duration",), ("sessions",)),
    (("url",), ("server", "server_arg", "server_cmd", "server_python", "port")),
)


class _WordList(click.types.StringParamType):
    """The text of an option given several times; in a variable its values are separated as shell words."""

    def split_envvar_value(self, rv: str) -> tuple[str, ...]:
        return words_of("a variable", rv)


class ConfigurableCommand(Grouped):
    """A command whose options may also come from variables and from a file."""

    either: _Either = _EITHER

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # First, so that the file's content is known when the other options are read.
        self.params = [*click.command()(_FILE(lambda: None)).params, *self.params]
        for flag, option in flags_of(self).items():
            if flag in _ITS_OWN.get(self.name or "", ()):
                continue
            option.envvar = PREFIX + flag.replace("-", "_").upper()
            if option.multiple and isinstance(option.type, click.types.StringParamType):
                option.type = _WordList()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read all options, report mistakes with their source, and drop what a more specific source excludes."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        _note_unknown(flags_of(self))
        try:
            rest = super().parse_args(ctx, args)
        except click.BadParameter as problem:
            if isinstance(problem.param, click.Option) and (source := source_of(ctx, problem.param)):
                raise click.BadParameter(f"{problem.message} (from {source})", ctx, problem.param) from None
            raise
        _choose(ctx, self.either)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that names a flag says where its value came from."""
        try:
            return super().invoke(ctx)
        except UserError as problem:
            named = re.match(r"--([\w-]+)", str(problem))
            option = flags_of(self).get(named[1]) if named else None
            if option is not None and (source := source_of(ctx, option)):
                problem.args = (f"{problem} (from {source})", *problem.args[1:])
            raise


class ConfiguredGroup(ConfigurableCommand, GroupedGroup):
    """The same for a command with subcommands, which have their own options."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The subcommand; UserError for its options typed before its name, which nothing would read."""
        for flag, option in flags_of(self).items():
            if ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE and not ctx.resilient_parsing:
                raise UserError(f"--{flag}: belongs to {args[0]}; give it after that name")
        return super().resolve_command(ctx, args)


class Measuring(ConfigurableCommand, SynonymCommand):
    """A command that makes runs: it has settings, and understands flags of other tools."""

    either = _EITHER_OF_A_RUN


def flags_of(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by their flags, without the dashes."""
    options = (option for option in command.params if isinstance(option, click.Option))
    return {flag.removeprefix("--"): option for option in options for flag in option.opts if flag.startswith("--")}


def source_of(ctx: click.Context, option: click.Option) -> str | None:
    """Where the value of an option came from, if neither from a flag nor from its default."""
    found = ctx.get_parameter_source(option.name or "")
    if found is ParameterSource.ENVIRONMENT:
        return str(option.envvar)
    if found is ParameterSource.DEFAULT_MAP:
        return _from_file(ctx)[option.name or ""].source
    return None


def settings() -> tuple[Setting, ...]:
    """The options that the current command took from variables and files."""
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return ()
    found = []
    for flag, option in flags_of(ctx.command).items():
        if option.name in ctx.params and (source := source_of(ctx, option)):
            value = ctx.params[option.name]
            text = shlex.join(map(str, value)) if isinstance(value, tuple) else str(value)
            found.append(Setting(f"--{flag}", text, source))
    return tuple(found)


def _from_file(ctx: click.Context) -> "Mapping[str, FromFile]":
    found: Mapping[str, FromFile] = ctx.meta.get(_META, {})
    return found


def _read_file(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Use the file as the command's defaults, once both of its options are known."""
    if ctx.resilient_parsing:
        return value
    given = ctx.meta.setdefault(f"{_META}.given", {})
    given[param.name] = value
    if len(given) < 2:
        return value
    if given["config"] is None:
        if given["profile"] is not None:
            other = "; weights of hours are --traffic-profile" if "traffic-profile" in flags_of(ctx.command) else ""
            raise UserError(f"--profile: names a profile in a settings file; give --config as well{other}")
        return value
    own = flags_of(ctx.command)
    found = app.config.read(given["config"], given["profile"], ctx.command.name or "", _kinds())
    ctx.meta[_META] = {own[flag].name: each for flag, each in found.items()}
    ctx.default_map = {name: each.value for name, each in _from_file(ctx).items()}
    return value


@cache
def _kinds() -> "dict[str, dict[str, OptionKind]]":
    """The options of each command that reads settings, except those about the file itself."""
    commands = [getattr(import_module(f"bench.cli.{name}"), name) for name in _COMMANDS]
    return {
        command.name: {
            flag: app.config.OptionKind(
                option.is_flag, option.multiple, "JSON" in (option.metavar or ""), option.envvar is None
            )
            for flag, option in flags_of(command).items()
            if option.name not in ("config", "profile")
        }
        for command in commands
    }


def _choose(ctx: click.Context, either: _Either) -> None:
    """Undo options that a more specific one excludes: a rate from a file, if --concurrency is given."""
    options = {option.name: option for option in flags_of(ctx.command).values()}
    for alternatives in either:
        ranks = [max((_rank(ctx, name) for name in names if name in options), default=0) for names in alternatives]
        for names, rank in zip(alternatives, ranks, strict=True):
            for name in names if 0 < rank < max(ranks) else ():
                if name in options:
                    ctx.params[name] = () if options[name].multiple else None
                    ctx.set_parameter_source(name, ParameterSource.DEFAULT)


def _rank(ctx: click.Context, name: str) -> int:
    """How specific the source of a value is: 0 for a default."""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.DEFAULT_MAP:
        return 2 if _from_file(ctx)[name].in_profile else 1
    return {ParameterSource.COMMANDLINE: 4, ParameterSource.ENVIRONMENT: 3}.get(source, 0) if source else 0


def _note_unknown(own: Mapping[str, click.Option]) -> None:
    for name in _strange(own):
        flag = name.removeprefix(PREFIX).replace("_", "-").lower()
        if near := nearest(flag, own):
            echo(f"note: {name} is not an option; did you mean {own[near[0]].envvar}?", err=True)


def _strange(own: Mapping[str, click.Option]) -> Iterator[str]:
    known = {option.envvar for option in own.values()}
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            flag = name.removeprefix(PREFIX).replace("_", "-").lower()
            if not any(flag in options for options in _kinds().values()):
                yield name


_FILE = with_options(under(SETTINGS, {
    "config": click.option(
        "--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=_read_file,
        help="Settings file (TOML): options for all commands, for one command, in profiles.",
    ),
    "profile": click.option(
        "--profile", metavar="NAME", is_eager=True, expose_value=False, callback=_read_file,
        help="Profile in that file: its settings, [profiles.NAME], take precedence.",
    ),
}))  # fmt: skip
