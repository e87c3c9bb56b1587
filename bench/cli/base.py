"""What all commands share: exit codes, the nearest name to a wrong one, and errors that are one line."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import click

from bench.types import UserError

EXIT_OBJECTIVE_MISSED = 1
EXIT_USER_ERROR = 2
EXIT_NOT_TO_BE_TRUSTED = 3
EXIT_OUT_OF_BUDGET = 4
EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141  # what a shell reports of a program that SIGPIPE ended


class Group(click.Group):
    """A group that offers the nearest command for one that does not exist."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UserError(f"no command {args[0]!r}{nearest(args[0], self.commands)}; see {ctx.command_path} --help")
        return super().resolve_command(ctx, args)


class OneOf(click.Choice[str]):
    """A choice that offers the nearest value for one that does not exist."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            self.fail(f"expected {' or '.join(self.choices)}, got {value!r}{nearest(value, self.choices)}", param, ctx)
        return value


def with_options(decorators: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Give a command all of these options, in their order."""

    def decorate(function: Any) -> Any:
        for option in reversed(decorators):
            function = option(function)
        return function

    return decorate


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error's line that offers the known name most like this one."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""


def conduct(command: click.Command) -> NoReturn:
    """Run the command line and exit with its code; what the user can mend is said in one line."""
    # A kill is Ctrl-C from afar: servers are stopped and what was measured is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = _exit_code(command)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_NOBODY_READS
    sys.exit(code)


def _exit_code(command: click.Command) -> int:
    # Not click's own `main`: when nobody reads its output that ends with 1, our code for a missed objective.
    try:
        with command.make_context(Path(sys.argv[0]).name, sys.argv[1:]) as ctx:
            return command.invoke(ctx) or 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except UserError as problem:
        return _fail(str(problem))
    except click.ClickException as problem:
        return _fail(problem.format_message())
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as problem:
        return _fail(str(problem))


def _fail(message: str) -> int:
    click.echo(f"error: {message}", err=True)
    return EXIT_USER_ERROR
