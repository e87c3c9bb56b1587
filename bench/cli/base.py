"""What all commands share: printing, hiding secrets, and ending with an error of one line."""

import json
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from bench.cli.completion import complete_for_shell
from bench.exit_codes import EXIT_BUG, EXIT_INTERRUPTED, EXIT_NOBODY_READS, EXIT_USER_ERROR
from bench.process import interrupts
from bench.process import streams as terminal
from bench.process.limits import memory_is_limited
from bench.process.printable import is_text, printable
from bench.process.private import be_private
from bench.process.secrets import blank, without_userinfo
from bench.suggest import did_you_mean
from bench.types import UserError

OUT_OF_MEMORY = "out of memory; raise the limit (ulimit -v), or ask for less load"


_secrets: list[str] = []
_json_is_owed = False
"""Whether standard output is still owed the one JSON document that was asked for."""


def keep_secret(texts: Iterable[str]) -> None:
    """Hide these in everything printed from now on."""
    _secrets.extend(text for text in texts if text not in _secrets)


def shown(text: str) -> str:
    """The text as a screen or a file may show it."""
    return without_userinfo(blank(text, _secrets))


class Group(click.Group):
    """A group that suggests the nearest command for an unknown one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if (
            args
            and not ctx.resilient_parsing
            and not args[0].startswith("-")
            and self.get_command(ctx, args[0]) is None
        ):
            near = did_you_mean(args[0], self.list_commands(ctx))
            raise UserError(f"no command {args[0]!r}{near}; see {ctx.command_path} --help")
        return super().resolve_command(ctx, args)


class OneOf(click.Choice[str]):
    """A choice that suggests the nearest value for an unknown one."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            near = did_you_mean(value, self.choices)
            self.fail(f"expected {' or '.join(self.choices)}, got {value!r}{near}", param, ctx)
        return value


def echo(text: str, *, err: bool = False) -> None:
    """Print text with all terminal control characters removed. Every command prints with this, or on a Screen.

    A lost error message is ignored; for standard output OSError is raised.
    """
    global _json_is_owed
    if not err:
        _json_is_owed = False
        print(printable(shown(text)), flush=True)
        return
    try:
        print(printable(shown(text)), file=sys.stderr, flush=True)
    except OSError:
        terminal.silence(sys.stderr)


def now() -> datetime:
    """The time at which prices are looked up."""
    return datetime.now(UTC)


def typed(*words: str | Path) -> str:
    """A command of this program, spelled as it was started now, to be pasted into a shell."""
    before = sys.orig_argv[: 1 - len(sys.argv)] if len(sys.argv) > 1 else sys.orig_argv
    script = sys.argv[0]
    if shutil.which(Path(script).name) == script:
        before = [Path(script).name]  # installed, and found on the PATH
    elif before[-1:] != [script]:
        before = ["bench.py"]
    return shlex.join([*before, *map(str, words)])


def print_dry(document: Mapping[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print what a dry run found."""
    echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


def owe_json(wanted: bool) -> None:
    """Reserve standard output for one JSON document, which is printed even if the command fails."""
    global _json_is_owed
    _json_is_owed = wanted


def fail_as_json(message: str, code: int) -> int:
    """If a JSON document is owed, print one that says why there is no other; returns the exit code."""
    if _json_is_owed:
        echo(json.dumps({"error": message, "exit_code": code}, indent=2, ensure_ascii=False))
    return code


def run_and_exit(command: click.Command) -> NoReturn:
    """Run the command line and exit with its code; errors that the user can fix are reported in one line.

    An unexpected exception is a bug of ours and has its own code, because 1 would mean that an objective was missed.
    """
    interrupts.listen()
    try:
        code = _ended(command)
    except KeyboardInterrupt as late:  # Ctrl-C while the error was being reported
        interrupts.ignore()
        code = tell(late)
    sys.exit(code)


def _ended(command: click.Command) -> int:
    be_private()
    if complete_for_shell(command):
        return 0
    try:
        code = _exit_code(command)
        sys.stdout.flush()
        if code == 0 and (why := terminal.lost()):
            _, code = _fail(f"standard output is incomplete: {why}")
    except BrokenPipeError:
        terminal.silence(sys.stdout, sys.stderr)
        code = EXIT_NOBODY_READS
    except OSError as problem:  # the disk behind standard output is full
        terminal.silence(sys.stdout)
        _, code = _fail(f"standard output cannot be written: {problem.strerror}")
    return code


def _exit_code(command: click.Command) -> int:
    # Before anything is parsed, so that even a wrong flag beside --json is answered in JSON.
    owe_json("--json" in sys.argv[1:])
    # Not click's own `main`: when its output pipe breaks, that exits with 1, our code for a missed objective.
    try:
        if odd := [argument for argument in sys.argv[1:] if not is_text(argument)]:
            raise UserError(f"{odd[0]}: expected UTF-8; rename the file, or link to it under another name")
        with command.make_context(Path(sys.argv[0]).name, sys.argv[1:]) as ctx:
            return command.invoke(ctx) or 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as problem:
        return tell(problem)


def tell(problem: BaseException, code: int | None = None) -> int:
    """Report an exception with its notes; returns the exit code that it deserves, or the given one."""
    message, own = _told(problem)
    return fail_as_json(message, own if code is None else code)


def _told(problem: BaseException) -> tuple[str, int]:
    for note in getattr(problem, "__notes__", ()):
        echo(note, err=True)
    match problem:
        case KeyboardInterrupt():
            return _interrupted()
        case click.ClickException():
            return _fail(problem.format_message())
        case UserError() | OSError():
            return _fail(str(problem))
        case MemoryError():
            return _fail(OUT_OF_MEMORY)
        # Under a memory limit imports fail in other ways: a library cannot be mapped, or the interpreter gives up.
        case ImportError() | SystemError() if memory_is_limited():
            return _fail(OUT_OF_MEMORY)
        # Threads lack room for their stacks, which Python and Arrow report with their own errors.
        case _ if memory_is_limited() and "thread" in str(problem):
            return _fail(OUT_OF_MEMORY)
    return _interrupted() if interrupts.caused(problem) else _bug(problem)


def _interrupted() -> tuple[str, int]:
    echo("interrupted", err=True)
    return "interrupted", EXIT_INTERRUPTED


def _fail(message: str) -> tuple[str, int]:
    line = " ".join(message.split())
    echo(f"error: {line}", err=True)
    return line, EXIT_USER_ERROR


def _bug(problem: BaseException) -> tuple[str, int]:
    """Print where an unexpected exception happened: the lines of code, but no values, which may be secret."""
    echo("".join(traceback.format_tb(problem.__traceback__)).rstrip(), err=True)
    text = f"this is a bug in bench; please report it with the lines above: {type(problem).__name__}: "
    text += " ".join(str(problem).split())
    echo(f"error: {text}", err=True)
    return text, EXIT_BUG
