"""Repeats with runs that are there at once; and as a user starts them, on a server that starts cold."""

import copy
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from analysis.run.summary import RunSummary
from bench.app import reports
from bench.app.options import RunOptions
from bench.app.request import RunRequest, run_request
from bench.cli import repeat as repeats
from bench.cli.results import decode as decode_command
from bench.cli.run import run as run_command
from bench.errors import INTERRUPTED, OUT_OF_BUDGET
from bench.runs import folder as files
from bench.types import UserError
from tests.commands import bench
from tests.summaries import summarize, summary_of

ROOT = Path(__file__).parents[3]


class Runs:
    """Stands in for the runs: each is there at once, as `outcomes` says it ends; `asked` are the settings it was given.

    An outcome is why the run stopped early, None where it did not, or an error that ends it before its load begins.
    """

    summaries: ClassVar[dict[Any, dict[str, Any]]] = {}

    def __init__(self, synthetic_run: Any) -> None:
        self.synthetic_run = synthetic_run
        self.outcomes: list[str | BaseException | None] = []
        self.slo: list[str] = []
        self.asked: list[Any] = []
        self.servers: list[Any] = []

    def observe(self, request: RunRequest, server: Any = None, stop: Any = None) -> str | None:
        outcome = self.outcomes[len(self.asked)]
        self.asked.append(request)
        self.servers.append(server)
        if isinstance(outcome, BaseException):
            raise outcome
        request.out.mkdir()
        run, *_ = self.made(request.out, interrupted=outcome is not None)
        files.write_json(request.out / files.RUN, run | {"stopped": outcome})
        return outcome

    def conclude(self, folder: Path, window: str | None = None) -> RunSummary:
        run = files.read_json(folder, files.RUN)
        key = (folder.name, run["interrupted"], *self.slo)
        if key not in self.summaries:
            self.summaries[key] = summarize(*self.made(folder, interrupted=run["interrupted"]))
        summary = copy.deepcopy(self.summaries[key])
        files.write_json(folder / files.SUMMARY, summary)
        return summary_of(summary)

    def made(self, folder: Path, interrupted: bool) -> Any:
        ttft_ms = 80.0 + int(folder.name)
        return self.synthetic_run(requests=120, ttft_ms=ttft_ms, jitter=0, interrupted=interrupted, slo=self.slo)


@pytest.fixture
def runs(synthetic_run: Any, monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs(synthetic_run)
    monkeypatch.setattr(repeats, "Runs", lambda view: made)
    monkeypatch.setattr("bench.app.repeat.summarise", made.conclude)
    return made


def request(out: Path, **options: Any) -> RunRequest:
    asked = {"backend": "openai", "model": "m", "scenario": "smoke", "url": "http://127.0.0.1:9", "timeout": "9s"}
    return run_request(RunOptions.of({**asked, "out": out, **options}))


def make(out: Path, asked: int, keep_server: bool = False, **options: Any) -> tuple[int, str]:
    """(exit code, screen)."""
    screen = io.StringIO()
    asked_for = {"server_arg": (), **options}
    with redirect_stdout(screen), redirect_stderr(screen):
        code = repeats.repeat(
            request(out, **options), asked, asked_for, keep_server=keep_server, as_json=False, quiet=False
        )
    return code, screen.getvalue()


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "repeats.json").read_bytes())
    return content


# --- what is made of the runs ------------------------------------------------------------------------------------


def test_each_run_has_its_folder_and_the_screen_the_verdict_first_and_then_the_means(
    runs: Runs, tmp_path: Path
) -> None:
    runs.outcomes = [None] * 3
    code, said = make(tmp_path / "out", 3)
    assert code == 0
    assert [asked.out.name for asked in runs.asked] == ["01", "02", "03"]
    assert {asked.workload.seed for asked in runs.asked} == {0}
    assert "run 01      ttft p50 81 ms, " in said and ", valid\n" in said
    verdict, table, report = (said.index(text) for text in ("verdict     Valid", "ttft_ms ", "report      "))
    assert verdict < table < report
    assert re.search(r"ttft_ms +(82.0 ±2.5 +){5}1.2%\n", said)
    assert "runs        3 of 3 runs; 360 of 360 requests succeeded" in said
    assert read(tmp_path / "out")["runs"] == ["01", "02", "03"]
    assert (tmp_path / "out" / "repeats.html").read_text().endswith("</html>")


@pytest.mark.parametrize(
    ("outcomes", "code", "left_out"),
    [
        ([None, f"{INTERRUPTED}", None], 130, ["02"]),
        pytest.param([None, None, OUT_OF_BUDGET], 4, ["03"], marks=pytest.mark.slow),
        pytest.param([None, "the server ended (exit code 1)", None], 3, ["02"], marks=pytest.mark.slow),
    ],
)
def test_a_run_that_stops_early_is_the_last_and_what_is_there_is_concluded(
    runs: Runs, tmp_path: Path, outcomes: Any, code: int, left_out: list[str]
) -> None:
    runs.outcomes = outcomes
    found, said = make(tmp_path / "out", 3)
    assert found == code
    content = read(tmp_path / "out")
    assert content["left_out"] == left_out
    assert content["verdict"]["reasons"][0]["code"] == "repeats_cut_short"
    assert "repeats_cut_short: " in said
    assert not (tmp_path / "out" / f"{int(left_out[0]) + 1:02}").exists()


def test_a_missed_objective_in_any_run_is_the_exit_code(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes, runs.slo = [None] * 3, ["ttft_ms<82.5"]
    assert make(tmp_path / "out", 3)[0] == 1


def test_ctrl_c_between_two_runs_keeps_and_concludes_those_before(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes = [None, None, KeyboardInterrupt()]
    code, said = make(tmp_path / "out", 3)
    assert code == 130
    assert said.endswith(
        f"03 stopped early: interrupted\nto continue, repeat the command with --out {tmp_path / 'out'}\n"
    )
    assert read(tmp_path / "out")["runs"] == ["01", "02"]
    assert (tmp_path / "out" / "repeats.html").exists()


def test_a_server_that_does_not_start_again_keeps_and_concludes_the_runs_before(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes = [None, None, UserError("the server ended while starting")]
    with pytest.raises(UserError, match=r"^03: the server ended while starting$"):
        make(tmp_path / "out", 3)
    assert read(tmp_path / "out")["runs"] == ["01", "02"]


@pytest.mark.parametrize(
    "end",
    [
        None,
        KeyboardInterrupt(),
        pytest.param(INTERRUPTED, marks=pytest.mark.slow),
        pytest.param(UserError("no server"), marks=pytest.mark.slow),
        pytest.param("the server is gone", marks=pytest.mark.slow),
    ],
)
def test_the_same_command_goes_on_where_it_was(runs: Runs, tmp_path: Path, end: Any) -> None:
    runs.outcomes = [None, end, None, None]
    with suppress(UserError):
        make(tmp_path / "out", 2 if end is None else 3)
    code, said = make(tmp_path / "out", 3)
    assert code == 0
    assert [asked.out.name for asked in runs.asked] == ["01", "02", "03"] if end is None else ["01", "02", "02", "03"]
    content = read(tmp_path / "out")
    assert (content["runs"], content["left_out"]) == (["01", "02", "03"], [])
    assert "to continue, repeat" not in said


def test_runs_of_another_question_are_not_mixed_and_no_fewer_can_be_asked_for(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes = [None] * 2
    make(tmp_path / "out", 2)
    with pytest.raises(UserError, match="holds runs of repeat with different seed; choose another folder"):
        make(tmp_path / "out", 2, seed=5)
    with pytest.raises(UserError, match="holds runs of repeat with different keep_server; choose another folder"):
        make(tmp_path / "out", 2, keep_server=True)
    with pytest.raises(UserError, match=r"^--repeat 1: .* was started for 2 runs; give 2 or more, or another --out$"):
        make(tmp_path / "out", 1)


def test_without_any_run_nothing_stays(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes = [KeyboardInterrupt()]
    assert make(tmp_path / "out", 3)[0] == 130
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_in_use_is_refused(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match="expected a new or empty folder"):
        make(tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_server_to_keep_is_launched_once_and_ended_before_the_conclusion(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    @contextmanager
    def launched(settings: Any, say: Callable[[str], None], log_path: Path) -> Iterator[Any]:
        happened.append(f"launched, log in {log_path.parent.name}/{log_path.name}")
        yield SimpleNamespace(pid=1)
        happened.append(f"ended, concluded: {'runs' in read(tmp_path / 'out')}")

    monkeypatch.setattr("bench.app.repeat.launched", launched)
    runs.outcomes = [None] * 2
    make(tmp_path / "out", 2, keep_server=True)
    assert happened == ["launched, log in out/server.log", "ended, concluded: False"]
    assert [server.pid for server in runs.servers] == [1, 1]
    assert read(tmp_path / "out")["keep_server"] is True


def test_one_limit_on_spending_is_for_all_the_runs(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes = [None] * 3
    make(tmp_path / "out", 3, model="gpt-4o-mini", max_usd="0.60")
    assert {asked.costs.budget.cap_usd for asked in runs.asked} == {Decimal("0.60")}
    assert {asked.costs.budget.account for asked in runs.asked} == {tmp_path / "out" / files.LEDGER}


def test_repeats_that_were_killed_are_concluded_by_decode(runs: Runs, tmp_path: Path) -> None:
    runs.outcomes = [None] * 3
    make(tmp_path / "out", 3)
    before = read(tmp_path / "out")
    (tmp_path / "out" / "03" / "summary.json").unlink()
    files.write_json(tmp_path / "out" / "repeats.json", {"schema": 1, "asked": 3, "keep_server": False})
    with pytest.raises(UserError, match="its runs have no common summary yet"):
        reports.described(tmp_path / "out")
    assert reports.decode(tmp_path / "out", None).code == 0
    assert read(tmp_path / "out") == before


# --- as a user starts them ---------------------------------------------------------------------------------------


class ColdStart(BaseHTTPRequestHandler):
    """Answers with four tokens; the first 45 requests of a load take long to begin."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Iterator[int]]
    lock: ClassVar[threading.Lock]

    def do_GET(self) -> None:
        self.send(json.dumps({"data": [{"id": "m"}]}).encode(), "application/json")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            self.send_error(404)
            return
        if body["max_tokens"] > 1:
            with self.lock:
                number = next(self.asked)
            time.sleep(0.15 if number < 45 else 0.01)
        token = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": 64, "completion_tokens": 4}}
        events = [f"data: {json.dumps(event)}\n\n".encode() for event in (token, token, token, token, last, usage)]
        self.send(b"".join([*events, b"data: [DONE]\n\n"]), "text/event-stream")

    def send(self, data: bytes, kind: str) -> None:
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cold(web_server: Any) -> str:
    handler = type("Own", (ColdStart,), {"asked": iter(range(10**6)), "lock": threading.Lock()})
    url: str = web_server(handler)
    return url


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "bench.py", *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=env)


def asked_of(url: str, out: Path) -> tuple[str | Path, ...]:
    return ("run", "--backend", "openai", "--url", url, "--model", "m", "--scenario", "smoke", "--out", out)


@pytest.mark.slow
@pytest.mark.clock  # the server may not be steady afterwards
def test_a_cold_start_is_proposed_to_be_cut_and_cut_when_asked_and_comes_back(
    cold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    done = bench(*asked_of(cold, out), "--requests", "200", "--warmup", "0", "--concurrency", "4", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    planned = files.read_json(out, "summary.json")
    found = planned["steadiness"]["proposed"]
    assert 40 <= found["cut_calls"] <= 100
    proposed, cut_away = (
        rf"window +The first {found['cut_calls']} {what} " for what in ("measured requests", "requests")
    )
    assert re.search(proposed, done.stdout)
    assert planned["requests"]["planned"] == 200

    def decode(*arguments: str) -> str:
        assert decode_command.main([str(out), *arguments], standalone_mode=False) == 0
        return capsys.readouterr().out

    assert re.search(cut_away, decode("--window", "steady"))
    cut = files.read_json(out, "summary.json")
    assert cut["steadiness"]["cut"]["calls"] == found["cut_calls"]
    assert cut["requests"]["planned"] == 200 - found["cut_calls"]
    assert cut["window"]["start_s"] == pytest.approx(found["start_s"])
    assert "conservation" not in {reason["code"] for reason in cut["verdict"]["reasons"]}
    assert files.read_json(out, "run.json")["window"] == "steady"
    assert re.search(cut_away, decode())

    assert re.search(proposed, decode("--window", "planned"))
    again = files.read_json(out, "summary.json")
    for name in ("window", "phases", "requests", "metrics", "throughput", "steadiness", "identities"):
        assert again[name] == planned[name]


@pytest.mark.slow
def test_ctrl_c_in_the_second_run_keeps_the_first_and_says_what_there_is(cold: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(*asked_of(cold, out), "--duration", "4s", "--warmup", "0", "--repeat", "3", "--quiet")
    deadline = time.monotonic() + 600
    while not any(path.stat().st_size > 2000 for path in out.glob("02/capture/*.cap")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=600)
    assert process.returncode == 130 and not re.search("^error", err, re.MULTILINE), err
    content = read(out)
    assert (content["runs"], content["left_out"]) == (["01"], ["02"])
    assert "repeats_cut_short: 1 of 3 runs finished" in said
    assert (out / "02" / "report.html").exists() and not (out / "03").exists()


@pytest.mark.slow
def test_repeats_launch_a_server_each_or_one_for_all_and_can_be_compared(tmp_path: Path) -> None:
    sides = []
    for name, more in (("each", ()), ("kept", ("--keep-server",))):
        out = tmp_path / name
        done = bench("run", "--scenario", "smoke", "--repeat", "3", "--out", out, "--quiet", *more)
        assert (done.returncode, done.stderr) == (0, "")
        logs = sorted(path.parent.name for path in out.rglob("server.log"))
        assert logs == (["kept"] if more else ["01", "02", "03"])
        sides.append(out)
    compared = bench("compare", *sides)
    assert compared.returncode in (0, 1) and compared.stderr == ""
    assert bench("report", sides[0], "--format", "markdown").stdout.startswith(
        "### tiny on llamacpp, scenario smoke, 3"
    )
    assert json.loads(bench("report", sides[0], "--format", "json").stdout) == read(sides[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repeat", "0"], "--repeat: must be from 1 to 50, got 0"),
        (["--repeat", "51"], "--repeat: must be from 1 to 50, got 51"),
        (["--keep-server"], "--keep-server needs --repeat and a server that this command launches; leave it out"),
        (
            ["--keep-server", "--repeat", "2", "--url", "http://127.0.0.1:9", "--backend", "openai", "--model", "m"],
            "--keep-server needs --repeat",
        ),
    ],
)
def test_repeats_that_cannot_be_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        run_command.main(arguments, standalone_mode=False)


def test_a_dry_run_of_repeats_says_that_there_are_several(capsys: pytest.CaptureFixture[str]) -> None:
    run_command.main(["--scenario", "smoke", "--repeat", "5", "--dry-run"], standalone_mode=False)
    assert "5 runs, each with all of this; --max-usd covers all of them together\n" in capsys.readouterr().out
