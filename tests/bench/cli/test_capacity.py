"""The search for capacity: with runs that are there at once, and on a real llama.cpp server."""

import copy
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

import bench.cli.capacity as command
from analysis.run.summary import RunSummary
from backends.launch import llamacpp as llamacpp_launch
from bench.app.campaign import held
from bench.app.capacity import FALLS_BEHIND, stop_behind
from bench.app.request import RunRequest
from bench.errors import INTERRUPTED, OUT_OF_BUDGET
from bench.load.controller import Progress
from bench.runs import folder as files
from bench.runs.sections import dump
from bench.server import tinymodel
from bench.server.launch import launch
from bench.types import ServeOptions, UserError
from tests.commands import bench
from tests.conftest import build_run
from tests.summaries import summarize, summary_of

ROOT = Path(__file__).parents[3]
QUICK = ["--scenario", "smoke", "--requests", "30", "--precision", "90%", "--repeats", "1", "--concurrency", "8"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    how = llamacpp_launch.serve(str(tinymodel.model_path("tiny", "gguf")), ServeOptions(None, 8, 1024, 1, ()))
    log = tmp_path_factory.mktemp("server") / "log"
    with launch(how, log, ready_timeout_s=300, on_progress=lambda _: None, port=None) as server:
        yield server.url


def search(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return bench("capacity", "--quiet", *arguments)


def found(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "capacity.json").read_text())
    return content


@pytest.mark.slow
@pytest.mark.clock
def test_a_server_that_keeps_the_objective_has_no_ceiling_as_far_as_was_looked(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    quick = [*QUICK, "--up-to", "3"]
    asked: list[str | Path] = ["--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<9000", *quick, "--out", folder]
    done = search(*asked)
    assert (done.returncode, done.stderr) == (0, "")
    content = found(folder)
    capacity, high = content["capacity"]["rate_per_s"], content["capacity"]["high_per_s"]
    assert (capacity, high, content["capacity"]["reason"]) == (3.0, None, "no ceiling up to 3/s; --up-to looks further")
    assert {probe["outcome"] for probe in content["probes"]} == {"met"}
    assert content["asked"]["prompt_tokens"] is None and content["asked"]["concurrency"] == 8
    assert {path.name for path in folder.glob("rate-*")} == {probe["folder"] for probe in content["probes"]}
    assert f"capacity    {capacity:g} requests/s" in done.stdout
    page = folder / "capacity.html"
    assert str(page) in "".join(done.stdout.split("\n"))
    assert f"{capacity:g} requests/s" in page.read_text()

    # The same again finds all its runs there, and one with another objective is not mixed with it.
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}
    again = search(*asked)
    assert (again.returncode, found(folder)) == (0, content)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")} == before
    other = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<100", *quick, "--out", folder)
    assert (other.returncode, other.stderr.splitlines()[-1]) == (
        2,
        f"error: --out {folder}: holds runs of capacity with different slo; choose another folder",
    )


@pytest.mark.slow
@pytest.mark.clock
def test_an_objective_that_no_rate_meets_is_a_capacity_of_none(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    quick = [*QUICK, "--output-tokens", "4", "--prompt-tokens", "30", "--requests", "5"]
    done = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<0.01", *quick, "--out", folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert found(folder)["capacity"]["rate_per_s"] == 0
    assert "capacity    none: no rate down to" in done.stdout


ASKED = ["--backend", "openai", "--model", "m", "--url", "http://127.0.0.1:9", "--slo", "ttft_ms:p90<200"]


def begun(folder: Path, *arguments: str) -> None:
    context = command.capacity.make_context("capacity", [*ASKED, *arguments, "--out", str(folder)])
    search = command._search(context.params)
    with held(search.folder, "capacity", search.asked):
        pass


@pytest.mark.parametrize(
    "other",
    [
        "--prompt-tokens 100",
        "--output-tokens 9",
        "--cache warm",
        "--concurrency 5",
        "--requests 60",
        "--max-in-flight 64",
        "--usd-per-hour 2",
        "--timeout 60s",
        "--quick-ack on",
        "--seed 3",
        "--attainment 95%",
        "--scenario smoke",
        "--model other",
        "--slo tpot_ms<50",
        "--url http://127.0.0.1:8",
        "--workers 2",
    ],
)
def test_a_search_that_differs_in_anything_asked_is_not_mixed_with_another(other: str, tmp_path: Path) -> None:
    begun(tmp_path)
    begun(tmp_path)
    with pytest.raises(
        UserError, match=f"--out {tmp_path}: holds runs of capacity with different .*; choose another folder"
    ):
        begun(tmp_path, *other.split())


@pytest.mark.parametrize("further", ["--precision 2%", "--repeats 5", "--up-to 100", "--max-usd 5"])
def test_the_same_search_can_go_further(further: str, tmp_path: Path) -> None:
    begun(tmp_path, "--max-usd", "1", "--model", "gpt-4o-mini")
    begun(tmp_path, "--max-usd", "1", "--model", "gpt-4o-mini", *further.split())


def test_server_flags_are_asked_too_and_no_key_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    launched = ["--backend", "vllm", "--slo", "ttft_ms<500", "--server-arg", "--api-key=sk-secret-0123456789"]

    def start(*more: str) -> None:
        context = command.capacity.make_context("capacity", [*launched, *more, "--out", str(tmp_path)])
        search = command._search(context.params)
        with held(search.folder, "capacity", search.asked):
            pass

    start()
    assert "sk-secret" not in (tmp_path / "campaign.json").read_text()
    for other in (["--server-arg=--enforce-eager"], ["--server-python", "/opt/python"], ["--server-cmd", "vllm"]):
        with pytest.raises(UserError, match="holds runs of capacity with different server"):
            start(*other)


def test_a_load_ends_once_the_server_surely_falls_behind() -> None:
    stop = stop_behind(0.1)

    def progress(at_s: float, sent: int, done: int) -> Progress:
        return Progress(at_s, sent, done, 0, 0, sent - done, 0)

    assert {stop(progress(t / 2, 50 * t, 50 * t - 5)) for t in range(40)} == {None}
    behind = stop_behind(0.1)
    assert [behind(progress(t / 2, 50 * t, 25 * t)) for t in range(40)][-1] == FALLS_BEHIND


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--slo", "ttft_ms<5", "--concurrency", "0"], "--concurrency: must be from 1 to 100000, got 0"),
        (["--slo", "ttft_ms<5", "--requests", "-1"], "--requests: must be from 1 to 10000000, got -1"),
        (["--slo", "ttft_ms<5", "--max-in-flight", "0"], "--max-in-flight: must be from 1 to 100000, got 0"),
        (["--slo", "ttft_ms<5", "--up-to", "0"], "--up-to: must be from 0.001 to 1000000, got 0"),
        (["--slo", "ttft_ms<5", "--precision", "nan"], "--precision: expected a share between 0 and 1"),
        (["--slo", "ttft_ms<5", "--attainment", "-5%"], "--attainment: expected a share between 0 and 1"),
        (
            [],
            "--slo: missing; capacity is the highest rate that meets objectives, so give one, such as "
            "'ttft_ms:p99<500'",
        ),
        (["--slo", "ttft_ms<5", "--precision", "wide"], "--precision: expected a share between 0 and 1, such as 5%"),
        (["--slo", "ttft_ms<5", "--attainment", "2"], "--attainment: expected a share between 0 and 1, such as 5%"),
        (["--slo", "ttft_ms<5", "--repeats", "0"], "--repeats: must be from 1 to 20, got 0"),
    ],
)
def test_a_wrong_search_is_refused_before_anything_runs(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        command.capacity.main(arguments, standalone_mode=False)


# --- with runs that are there at once -----------------------------------------------------------------------------


class Runs:
    """Makes up the runs of a server that keeps up with `keeps_per_s`, each as `ends` says of its number, from 1.

    An end is why it stopped early, an exception, or `invalid`.
    """

    def __init__(self) -> None:
        self.summary = _summary()
        self.keeps_per_s = 4.0
        self.ends: dict[int, Any] = {}
        self.made: list[str] = []

    def observe(self, request: RunRequest, server: Any = None, stop: Any = None) -> str | None:
        self.made.append(request.out.name)
        end = self.ends.get(len(self.made))
        if isinstance(end, BaseException):
            raise end
        load = request.workload.load
        ttft_ms = 80.0 if (load.rate_per_s or 0.0) <= self.keeps_per_s else 900.0
        run, requests, _ = build_run(
            load.requests or 0, 8, rate_per_s=load.rate_per_s, ttft_ms=ttft_ms, slo=request.slo, seed=len(self.made)
        )
        stopped = None if end == "invalid" else end
        with files.new(request.out):
            ended = {"load": asdict(load), "interrupted": stopped is not None, "stopped": stopped}
            files.write_json(request.out / files.RUN, run | ended | {"pricing": dump(request.costs.pricing)})
            pq.write_table(requests, request.out / files.REQUESTS)
        return stopped

    def conclude(self, folder: Path) -> RunSummary:
        summary = copy.deepcopy(self.summary)
        if self.ends.get(len(self.made)) == "invalid":
            reason = {"code": "conservation", "message": "they do not add up", "value": None, "limit": None}
            summary["verdict"] = {"status": "invalid", "reasons": [reason]}
        files.write_json(folder / files.SUMMARY, summary)
        return summary_of(summary)


@cache
def _summary() -> dict[str, Any]:
    """Of no run in particular: the search reads requests."""
    return summarize(*build_run(100, 8, rate_per_s=5.0, gpus=0))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr("bench.app.campaign.Runs", lambda view: made)
    return made


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`call(*arguments) -> (exit code, what it says)` of a search into the folder `out`."""

    def run(*arguments: str) -> tuple[int, str]:
        asked = [*ASKED, "--backend", "openai", *QUICK, "--out", str(tmp_path / "out"), *arguments]
        code = command.capacity.main(asked, standalone_mode=False)
        said = capsys.readouterr()
        return int(code), said.out + said.err

    return run


Call = Callable[..., tuple[int, str]]


def test_the_answer_lies_where_the_server_keeps_up_no_more_and_is_found_without_a_run_again(
    runs: Runs, call: Call, tmp_path: Path
) -> None:
    code, said = call()
    assert code == 0
    content = found(tmp_path / "out")
    assert content["capacity"]["rate_per_s"] <= 4 < content["capacity"]["high_per_s"]
    assert {probe["folder"] for probe in content["probes"]} == {*runs.made} - {"closed-loop"}
    assert f"capacity    {content['capacity']['rate_per_s']:g} requests/s" in said
    assert (tmp_path / "out" / "capacity.html").exists()
    made = list(runs.made)
    assert call()[0] == 0
    assert (runs.made, found(tmp_path / "out")) == (made, content)


def test_no_rate_that_meets_them_exits_with_one(runs: Runs, call: Call) -> None:
    runs.keeps_per_s = 0.0
    code, said = call()
    assert code == 1
    assert "capacity    none: no rate down to" in said


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (INTERRUPTED, 130, "stopped early: interrupted"),
        pytest.param(KeyboardInterrupt(), 130, "stopped early: interrupted", marks=pytest.mark.slow),
        pytest.param(OUT_OF_BUDGET, 4, "stopped early: the budget is spent", marks=pytest.mark.slow),
        pytest.param("the server is gone", 3, "stopped early: the server is gone", marks=pytest.mark.slow),
        ("invalid", 3, "is not to be trusted: they do not add up"),
    ],
)
def test_a_run_that_is_of_no_use_ends_it_and_the_same_command_goes_on_with_that_run(
    runs: Runs, call: Call, tmp_path: Path, end: Any, code: int, said: str
) -> None:
    runs.ends = {3: end}
    ended, out = call()
    assert ended == code
    assert f"{runs.made[2]} {said}\nto continue, repeat the command with --out {tmp_path / 'out'}\n" in out
    assert "capacity" not in found(tmp_path / "out")
    runs.ends = {}
    assert call()[0] == 0
    assert runs.made[3] == runs.made[2]
    assert len({*runs.made}) == len(runs.made) - 1


def test_a_server_that_does_not_start_leaves_no_folder(runs: Runs, call: Call, tmp_path: Path) -> None:
    runs.ends = {1: UserError("no server there")}
    with pytest.raises(UserError, match=r"^closed-loop: no server there$"):
        call()
    assert not (tmp_path / "out").exists()


def test_a_run_that_falls_behind_is_an_answer_and_not_made_again(runs: Runs, call: Call, tmp_path: Path) -> None:
    runs.ends = {4: FALLS_BEHIND}
    assert call()[0] == 0
    (stopped,) = [probe for probe in found(tmp_path / "out")["probes"] if probe["stopped"]]
    assert (stopped["folder"], stopped["outcome"]) == (runs.made[3], "saturated")
    made = list(runs.made)
    call()
    assert runs.made == made


# --- what is said on the way, and what comes next -----------------------------------------------------------------


class VirtualTime:
    """A clock that a run moves on by as long as its load takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> None:
        self.now_s = 1000.0
        for module in ("capacity", "pace"):
            monkeypatch.setattr(f"bench.app.{module}.time", SimpleNamespace(monotonic=lambda: self.now_s))
        self._observe = runs.observe
        monkeypatch.setattr(runs, "observe", self.observe)

    def observe(self, request: RunRequest, server: Any = None, stop: Any = None) -> str | None:
        load = request.workload.load
        self.now_s += (load.requests or 0) / (load.rate_per_s or 10.0)
        return self._observe(request, server, stop)


def test_where_it_searches_and_how_much_is_left_is_said_before_and_after_each_run(
    runs: Runs, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    VirtualTime(monkeypatch, runs)
    _, said = call("--up-to", "100")
    bounds = re.search(
        r"searching between [\d.,]+ and at most 100 requests/s \(--up-to looks further\), to 90%: (.*)", said
    )
    assert bounds is not None
    lines = [bounds[1], *(line.rpartition("; ")[2] for line in said.splitlines() if " required; " in line)]
    assert len(lines) == len(runs.made)
    assert all(re.fullmatch(r"about \d+ runs? left, \d+ (s|min)", line) for line in lines[:-1])
    assert lines[-1] == "no run is left"


def test_max_time_begins_no_run_that_would_end_later_and_the_answer_is_what_was_found_by_then(
    runs: Runs, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = VirtualTime(monkeypatch, runs)
    code, said = call("--precision", "2%", "--max-time", "60s")
    assert (code, clock.now_s <= 1060.0) == (0, True)
    content = found(tmp_path / "out")
    assert content["out_of_time"] and content["capacity"]["rate_per_s"] > 0
    assert re.search(r"--max-time 60 s leaves no time for a run at [\d.]+ requests/s", "".join(said.split("\n")))
    made = len(runs.made)
    assert call("--precision", "2%")[0] == 0  # goes on
    assert len(runs.made) > made and not found(tmp_path / "out")["out_of_time"]


def test_max_time_that_ends_before_any_rate_met_the_objectives_is_no_answer(
    runs: Runs, call: Call, tmp_path: Path
) -> None:
    code, said = call("--max-time", "1s")
    assert code == 3
    assert "--max-time 1 s leaves no time for a run at" in said
    assert f"to continue, repeat the command with --out {tmp_path / 'out'}" in said
    assert "capacity" not in found(tmp_path / "out")


@pytest.mark.parametrize(("wrong", "said"), [("5", "expected a time with its unit"), ("0s", "must be from 1 to")])
def test_a_wrong_max_time_is_refused(wrong: str, said: str) -> None:
    with pytest.raises(UserError, match=f"^--max-time: {said}"):
        command.capacity.main([*ASKED, "--max-time", wrong], standalone_mode=False)


@pytest.mark.parametrize("name", [pytest.param("out", marks=pytest.mark.slow), "it's (here), $HOME=1"])
@pytest.mark.parametrize("price", [[], ["--usd-per-hour", "1.10"], ["--gpu", "h100-sxm"]])
def test_the_breakeven_that_follows_can_be_pasted(
    runs: Runs, call: Call, tmp_path: Path, name: str, price: list[str]
) -> None:
    _, said = call(*price, "--out", str(tmp_path / name))
    (line,) = [line for line in said.splitlines() if line.startswith("bench.py breakeven")]
    done = bench(*shlex.split(line)[1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert "claude-haiku-5-5" in done.stdout


@pytest.mark.parametrize("text", ["5%", "0.05", "5e-2"])
def test_shares_and_dollars_are_numbers_as_they_are_printed(text: str) -> None:
    context = command.capacity.make_context("capacity", [*ASKED, "--precision", text, "--max-usd", "$1,000.00"])
    context.params["model"] = "gpt-4o-mini"
    search = command._search(context.params)
    budget = search.request.costs.budget
    assert budget is not None
    assert (search.precision, budget.cap_usd) == (0.05, Decimal(1000))


def test_no_breakeven_follows_where_nothing_met_the_objectives(runs: Runs, call: Call) -> None:
    runs.keeps_per_s = 0.0
    assert "bench.py breakeven" not in call()[1]
