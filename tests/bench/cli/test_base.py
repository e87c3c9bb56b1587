"""How every command ends: its exit code, and its one line, whatever the streams are and whatever goes wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow as pa
import pytest

from bench.cli import base
from bench.exit_codes import EXIT_BUG
from bench.runs import folder
from bench.types import UserError
from bench.wire import capture
from tests.commands import bench

ROOT = Path(__file__).parents[3]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = {"PYTHONIOENCODING": "latin-1"}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, action in before.items():
        signal.signal(number, action)


def shell(command: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """`bench.py COMMAND` as a shell runs it."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} {ROOT / 'bench.py'} {command}"],
        capture_output=True, timeout=600, check=False, env={**os.environ, **env}, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param("size mistral-7b >&-", 0, marks=pytest.mark.slow),
        pytest.param("size mistral-7b 2>&-", 0, marks=pytest.mark.slow),
        ("scenarios <&- >&- 2>&-", 0),
        pytest.param("size no-such >&- 2>&-", 2, marks=pytest.mark.slow),
        ("size no-such 2>/dev/full", 2),
        ("scenarios >/dev/full", 2),
        ("scenarios | true", 141),
        pytest.param("size no-such 2>&1 | true", 2, marks=pytest.mark.slow),
    ],
)
def test_streams_that_are_closed_full_or_unread_are_no_bug(command: str, code: int) -> None:
    done = shell(command)
    assert done.returncode in {code, 0 if code == 141 else code}  # `true` may leave after all was written
    assert b"Traceback" not in done.stderr


def test_a_closed_stream_is_not_given_to_the_next_file() -> None:
    script = (
        "import os; from bench.process.streams import prepare; prepare(); print(os.open('LICENSE', os.O_RDONLY) > 2)"
    )
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{script}" <&- 2>&-'],
        capture_output=True,
        timeout=600,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout == b"True\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "env"),
    [
        ("prices", ASCII),
        pytest.param("size mistral-7b", ASCII, marks=pytest.mark.slow),
        ("size no-süch", ASCII),
        pytest.param("models", LATIN, marks=pytest.mark.slow),
        pytest.param("scenarios", {"TERM": ""}, marks=pytest.mark.slow),
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
        base.run_and_exit(command)
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("problem", [Unknown("\x1b[31mred\nlines"), KeyError("x"), AssertionError(), RecursionError()])
def test_what_nobody_expected_is_said_to_be_a_bug_and_has_a_code_of_its_own(
    problem: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = ends(problem, capsys, monkeypatch)
    assert code == EXIT_BUG == 70
    assert "test_base.py" in said and "\x1b" not in said
    last = said.splitlines()[-1]
    assert last.startswith(
        f"error: this is a bug in bench; please report it with the lines above: {type(problem).__name__}:"
    )


def test_memory_that_is_short_is_no_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = ends(MemoryError(), capsys, monkeypatch)
    assert code == 2
    assert said == f"error: {base.OUT_OF_MEMORY}\n"


@pytest.mark.parametrize(
    "problem",
    [
        ImportError("libx.so: failed to map segment"),
        SystemError("returned NULL"),
        RuntimeError("can't start new thread"),
        pa.ArrowException("Unknown error: Failed to launch worker thread: Resource temporarily unavailable"),
    ],
)
@pytest.mark.parametrize("limited", [True, False])
def test_an_import_or_a_thread_that_fails_is_for_lack_of_memory_only_where_that_is_limited(
    problem: Exception, limited: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "memory_is_limited", lambda: limited)
    code, text = ends(problem, capsys, monkeypatch)
    assert (code, base.OUT_OF_MEMORY in text) == ((2, True) if limited else (EXIT_BUG, False))


def test_a_bug_after_the_load_names_the_folder_in_which_all_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Unknown("odd")
    problem.add_note("the captures are kept; make a report from them with: bench.py decode somewhere")
    code, said = ends(problem, capsys, monkeypatch)
    assert code == EXIT_BUG
    assert said.startswith("the captures are kept; make a report from them with: bench.py decode somewhere\n")
    assert said.splitlines()[-1].startswith("error: this is a bug in bench;")


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    done = shell(f"run --dry-run --out '{bad}'")
    assert done.returncode == 2
    assert b"\\udcff: expected UTF-8" in done.stderr and done.stderr.count(b"\n") == 1
    Path(bad).mkdir()
    with pytest.raises(UserError, match="expected a name in UTF-8; choose another folder"):
        folder.make(Path(bad) / "results")


# --- who may read it --------------------------------------------------------------------------------------------


def test_what_a_command_writes_is_the_users_alone(tmp_path: Path) -> None:
    servers = "--self 2 --gpu rtx-4090 --versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200"
    done = bench("breakeven", *servers.split(), "--out", tmp_path / "studies" / "one")
    assert done.returncode == 0, done.stderr
    written = list((tmp_path / "studies").rglob("*"))
    assert len(written) > 2
    assert {path.stat().st_mode & 0o777 for path in written if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in written if path.is_dir()} == {0o700}


def test_a_folder_and_a_capture_of_a_run_are_the_users_alone_without_the_command_line(tmp_path: Path) -> None:
    folder.make(tmp_path / "run", folder.CAPTURE)
    capture.CaptureWriter(tmp_path / "run" / folder.CAPTURE / "worker-0.cap", {}).close({})
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").rglob("*")}
    assert modes == {"capture": 0o700, "worker-0.cap": 0o600}
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_programs_that_are_not_ours_keep_the_mask_that_the_user_had() -> None:
    script = (
        "import os; from bench.process import private; private.be_private(); private.be_private(); "
        "print(private.users_umask(), os.umask(0))"
    )
    done = subprocess.run(
        ["bash", "-c", f'umask 027; {sys.executable} -c "{script}"'],
        capture_output=True, timeout=600, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == b"23 63\n"
