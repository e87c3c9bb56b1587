"""How every command ends: its exit code, and its one line, whatever the streams are and whatever goes wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench.cli import base, run

ROOT = Path(__file__).parents[3]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}


@pytest.fixture(autouse=True)
def _on_term() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def shell(command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """`bench.py COMMAND` as a shell runs it."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} {ROOT / 'bench.py'} {command}"],
        capture_output=True, timeout=60, check=False, env={**os.environ, **env}, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("size mistral-7b >&-", 0),
        ("size mistral-7b 2>&-", 0),
        ("size mistral-7b <&- >&- 2>&-", 0),
        ("size no-such >&- 2>&-", 2),
        ("size no-such 2>/dev/full", 2),
        ("size mistral-7b >/dev/full", 2),
        ("scenarios | true", 141),
        ("size no-such 2>&1 | true", 2),
    ],
)
def test_streams_that_are_closed_full_or_unread_are_no_bug(command: str, code: int) -> None:
    done = shell(command)
    assert done.returncode in {code, 0 if code == 141 else code}  # `true` may leave after all was written
    assert b"Traceback" not in done.stderr


def test_a_closed_stream_is_not_given_to_the_next_file() -> None:
    script = "import os; from bench.cli.streams import prepare; prepare(); print(os.open('LICENSE', os.O_RDONLY) > 2)"
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{script}" <&- 2>&-'],
        capture_output=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == b"True\n"


@pytest.mark.parametrize(
    ("command", "env"),
    [
        ("prices", ASCII),
        ("size mistral-7b", ASCII),
        ("size no-süch", ASCII),
        ("models", LATIN),
        ("scenarios", {"TERM": ""}),
        ("backends", {"TERM": "dumb"}),
    ],
)
def test_every_command_speaks_to_a_terminal_of_few_letters(command: str, env: dict[str, str]) -> None:
    done = shell(command, **env)
    assert done.returncode == (2 if "ü" in command else 0), done.stderr
    assert b"Traceback" not in done.stderr


class Unknown(Exception):
    pass


def ends(
    problem: BaseException, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Exit code and standard error of a command in which this is raised."""
    monkeypatch.setattr(sys, "argv", ["bench.py"])

    @click.command()
    def command() -> None:
        raise problem

    with pytest.raises(SystemExit) as ended:
        base.conduct(command)
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("problem", [Unknown("\x1b[31mred\nlines"), KeyError("x"), AssertionError(), RecursionError()])
def test_what_nobody_expected_is_said_to_be_a_bug_and_has_a_code_of_its_own(
    problem: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = ends(problem, capsys, monkeypatch)
    assert code == base.EXIT_BUG == 70
    assert "test_base.py" in said and "\x1b" not in said
    last = said.splitlines()[-1]
    assert last.startswith(
        f"error: this is a bug of bench; please report it, with the lines above: {type(problem).__name__}:"
    )


def test_memory_that_is_short_is_no_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = ends(MemoryError(), capsys, monkeypatch)
    assert code == 2
    assert said.startswith("error: there was not enough memory")


def test_a_bug_after_the_load_names_the_folder_in_which_all_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(Unknown), run.captured_is_kept(tmp_path):
        raise Unknown
    assert capsys.readouterr().err == f"what was captured is kept, to report it: bench.py decode {tmp_path}\n"
