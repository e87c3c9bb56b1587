"""What all commands share: how they print, keep secrets off the screen, and end with an error of one line."""

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

OUT_OF_MEMORY = "the system gives too little memory; raise its limit (ulimit -v), or ask for less load"


_secrets: list[str] = []
_json_is_owed = False
"""Whether standard output is still to get the one JSON document that was asked for."""


def keep_secret(texts: Iterable[str]) -> None:
    """Let nothing that is printed from now on show these."""
    _secrets.extend(text for text in texts if text not in _secrets)


def shown(text: str) -> str:
    """Give what a screen or a file may show of a text."""
    return without_userinfo(blank(text, _secrets))


class Group(click.Group):
    """A group that offers the nearest command for one that does not exist."""

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
    """A choice that offers the nearest value for one that does not exist."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            near = did_you_mean(value, self.choices)
            self.fail(f"expected {' or '.join(self.choices)}, got {value!r}{near}", param, ctx)
        return value


def echo(text: str, *, err: bool = False) -> None:
    """Print text, of which nothing acts on a terminal. Every command prints by this, or on a Screen.

    An error that nobody reads is lost; of standard output OSError says so.
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
    """The instant by which prices are looked up."""
    return datetime.now(UTC)


def typed(*words: str | Path) -> str:
    """A command of this program as it was started now, to be pasted into a shell."""
    before = sys.orig_argv[: 1 - len(sys.argv)] if len(sys.argv) > 1 else sys.orig_argv
    script = sys.argv[0]
    if shutil.which(Path(script).name) == script:
        before = [Path(script).name]  # installed, and found without its path
    elif before[-1:] != [script]:
        before = ["bench.py"]
    return shlex.join([*before, *map(str, words)])


def print_dry(document: Mapping[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print what a dry run found."""
    echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else "\n".join(lines))


def owe_json(wanted: bool) -> None:
    """Let standard output have one JSON document, also where the command fails."""
    global _json_is_owed
    _json_is_owed = wanted


def fail_as_json(message: str, code: int) -> int:
    """Print why there is no other document, where one is owed; gives the exit code back."""
    if _json_is_owed:
        echo(json.dumps({"error": message, "exit_code": code}, indent=2, ensure_ascii=False))
    return code


def run_and_exit(command: click.Command) -> NoReturn:
    """Run the command line and exit with its code; what the user can mend is said in one line.

    An exception that nobody expected is a bug of ours: it has a code of its own, as 1 would say that an objective was
    missed.
    """
    interrupts.listen()
    try:
        code = _ended(command)
    except KeyboardInterrupt as late:  # while its end was being said
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
            _, code = _fail(f"standard output was not written to its end: {why}")
    except BrokenPipeError:
        terminal.silence(sys.stdout, sys.stderr)
        code = EXIT_NOBODY_READS
    except OSError as problem:  # a full disk behind standard output
        terminal.silence(sys.stdout)
        _, code = _fail(f"standard output cannot be written: {problem.strerror}")
    return code


def _exit_code(command: click.Command) -> int:
    # Before anything is parsed: a wrong flag beside --json is answered in JSON too.
    owe_json("--json" in sys.argv[1:])
    # Not click's own `main`: when nobody reads its output that ends with 1, our code for a missed objective.
    try:
        if odd := [argument for argument in sys.argv[1:] if not is_text(argument)]:
            raise UserError(f"{odd[0]}: expected text in UTF-8; give the file another name, or link to it by one")
        with command.make_context(Path(sys.argv[0]).name, sys.argv[1:]) as ctx:
            return command.invoke(ctx) or 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as problem:
        return tell(problem)


def tell(problem: BaseException, code: int | None = None) -> int:
    """Say what went wrong, after what was noted on it; the exit code that it deserves, or the one that is given."""
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
        # Under a limit on memory an import fails in its own ways: a library cannot be mapped, the interpreter gives up.
        case ImportError() | SystemError() if memory_is_limited():
            return _fail(OUT_OF_MEMORY)
        # Nor has a thread room for its stack, which Python and Arrow say with errors of their own.
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
    """Say where it happened, with the lines of code but none of the values."""
    echo("".join(traceback.format_tb(problem.__traceback__)).rstrip(), err=True)
    text = f"this is a bug of bench; please report it, with the lines above: {type(problem).__name__}: "
    text += " ".join(str(problem).split())
    echo(f"error: {text}", err=True)
    return text, EXIT_BUG
