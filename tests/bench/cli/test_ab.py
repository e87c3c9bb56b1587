"""`bench.py ab` with runs that are there at once: their order, when it stops, what it leaves and what it refuses."""

import copy
import json
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.run.summary import RunSummary
from bench.cli import ab as command
from bench.cli.compare import compare
from bench.errors import INTERRUPTED, OUT_OF_BUDGET
from bench.runs import folder as files
from bench.types import UserError
from tests.conftest import build_run
from tests.summaries import summarize, summary_of

Call = Callable[..., tuple[int, str]]
SERVER_DIED = "the server ended (exit code 1); server.log may say why"


class Fake:
    """Stands in for what makes a run: each is there at once, `ttft_ms` by side.

    `outcomes` of the the runs made, from 1: why it stopped early, or the error that it raises. `made` are the
    runs in their order, `accounts` where each writes what it spends.
    """

    def __init__(self, run: dict[str, Any], requests: pa.Table, summary: dict[str, Any]) -> None:
        self.run, self.requests, self.summary = run, requests, summary
        self.ttft_ms = {"a": 80.0, "b": 80.0}
        self.outcomes: dict[int, str | BaseException] = {}
        self.of_run: dict[str, Any] = {}
        self.invalid: set[int] = set()
        self.made: list[str] = []
        self.accounts: list[Path] = []

    def observe(self, request: Any, server: Any = None, stop: Any = None) -> str | None:
        folder = request.out
        side = folder.parent.name
        self.made.append(f"{side}/{folder.name}")
        outcome = self.outcomes.get(len(self.made))
        if isinstance(outcome, BaseException):
            raise outcome
        with files.new(folder):
            ended = {"interrupted": outcome is not None, "stopped": outcome}
            files.write_json(folder / files.RUN, self.run | ended | self.of_run.get(side, {}))
            pq.write_table(self.requests, folder / files.REQUESTS)
            if request.costs.budget is not None:
                self.accounts.append(request.costs.budget.account)
        return outcome

    def conclude(self, folder: Path) -> RunSummary:
        found, number = copy.deepcopy(self.summary), len(self.made)
        found["metrics"]["ttft_ms"]["p50"] = self.ttft_ms[folder.parent.name] * (1 + 0.001 * (7 * number % 5))
        if number in self.invalid:
            reason = {"code": "none", "message": "none succeeded", "value": None, "limit": None}
            found["verdict"] = {"status": "invalid", "reasons": [reason]}
        files.write_json(folder / files.SUMMARY, found)
        return summary_of(found)


@cache
def _measured() -> tuple[dict[str, Any], pa.Table, dict[str, Any]]:
    run, requests, telemetry = build_run(requests=100, tokens=8, rate_per_s=20.0, gpus=0)
    return run, requests, summarize(run, requests, telemetry)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Runs of a fake, below a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    run, requests, summary = copy.deepcopy(_measured())
    # So many that no failure is known to be none that matters after four pairs.
    summary["requests"] |= {"planned": 1000, "succeeded": 1000}
    made = Fake(run, requests, summary)
    monkeypatch.setattr("bench.app.campaign.Runs", lambda with_report: made)
    return made


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """`call(*arguments) -> (exit code, standard output, and what was said beside it)` of an ab into `out`."""

    def run(*arguments: str) -> tuple[int, str]:
        code = command.ab.main(["--out", "out", "--b", "--seed 1", *arguments], standalone_mode=False)
        said = capsys.readouterr()
        return int(code), said.out + said.err * ("--json" not in arguments)

    return run


def test_sides_without_a_difference_are_the_same_after_one_look_in_the_order_a_b_b_a(fake: Fake, call: Call) -> None:
    code, out = call()
    assert code == 0
    assert fake.made == ["a/01", "b/01", "b/02", "a/02", "a/03", "b/03", "b/04", "a/04"]
    assert "verdict     Same" in out
    assert "after 4 pairs   decided" in out
    assert [line[:7] for line in out.splitlines() if line.startswith("pair")] == [f"pair {n:2}" for n in (1, 2, 3, 4)]
    found = json.loads(Path("out/ab.json").read_text())
    assert (found["comparison"]["verdict"], found["comparison"]["unit"]) == ("same", "pair")
    assert "Comparison of runs" in Path("out/ab.html").read_text(encoding="utf-8")


def test_how_many_runs_are_left_and_how_long_they_take_is_said_after_each_pair(
    fake: Fake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.app.pace.time", SimpleNamespace(monotonic=count(0, 30).__next__))
    _, out = call("--threshold", "ttft_ms:p50=0.0001%", "--max-pairs", "6")
    assert "at most 6 pairs (12 runs)" in out
    left = [line.strip() for line in out.splitlines() if "runs left" in line]
    assert left == [
        "runs left: 6 to the next analysis, about 90 s; 10 at most, about 2 min",
        "runs left: 4 to the next analysis, about 60 s; 8 at most, about 2 min",
        "runs left: 2 to the next analysis, about 30 s; 6 at most, about 90 s",
        "runs left: 4 at most, about 60 s",
        "runs left: 2 at most, about 30 s",
    ]
    # What is there already took no time of this command's.
    assert "about" not in call("--threshold", "ttft_ms:p50=0.0001%", "--max-pairs", "6")[1]


def test_a_slower_candidate_is_worse_and_exits_with_one(fake: Fake, call: Call) -> None:
    fake.ttft_ms["b"] = 96.0
    code, out = call("--junit", "junit.xml")
    assert code == 1
    assert "verdict     Worse" in out
    cases = {
        case.get("name"): [child.tag for child in case] for case in ElementTree.parse("junit.xml").iter("testcase")
    }
    assert cases["ttft_ms:p50"] == ["failure"]
    assert cases["ttft_ms:p99"] != ["failure"]


def test_compare_reads_what_it_leaves(fake: Fake, call: Call, capsys: pytest.CaptureFixture[str]) -> None:
    call()
    assert compare.main(["out/a", "out/b"], standalone_mode=False) == 0
    assert "4 runs" in capsys.readouterr().out


def test_json_is_all_that_standard_output_has(fake: Fake, call: Call) -> None:
    assert json.loads(call("--json")[1])["verdict"] == "same"


def test_what_cannot_be_decided_ends_at_the_bound(fake: Fake, call: Call) -> None:
    code, out = call("--threshold", "ttft_ms:p50=0.0001%", "--max-pairs", "6")
    assert code == 0
    assert len(fake.made) == 12
    assert "verdict     Inconclusive" in out
    assert call("--threshold", "ttft_ms:p50=0.0001%", "--max-pairs", "6", "--inconclusive", "fail")[0] == 1
    assert len(fake.made) == 12


# --- what ends it before, and how it goes on ------------------------------------------------------------------


def test_the_same_command_goes_on_and_makes_a_pair_anew_that_was_cut_in_two(fake: Fake, call: Call) -> None:
    fake.outcomes[6] = INTERRUPTED
    code, out = call("--max-pairs", "8")
    assert code == 130
    assert "b/03 stopped early: interrupted" in out
    assert "no verdict yet; to continue, repeat" in out
    fake.made.clear()
    fake.outcomes.clear()
    code, out = call("--max-pairs", "8")
    assert (code, fake.made) == (0, ["a/03", "b/03", "b/04", "a/04"])
    assert sorted(path.name for path in Path("out/unfinished").iterdir()) == ["a-03-1", "b-03-1"]


def test_ctrl_c_after_a_look_tells_the_verdict_so_far(fake: Fake, call: Call) -> None:
    fake.outcomes[10] = KeyboardInterrupt()
    code, out = call("--threshold", "ttft_ms:p50=0.0001%")
    assert code == 130
    assert "verdict     Inconclusive" in out
    assert "the verdict so far is of 4 pairs; to continue, repeat" in out


@pytest.mark.parametrize(("outcome", "expected"), [(SERVER_DIED, 3), (OUT_OF_BUDGET, 4)])
def test_a_run_that_stopped_early_ends_it_and_is_named(fake: Fake, call: Call, outcome: str, expected: int) -> None:
    fake.outcomes[3] = outcome
    code, out = call()
    assert code == expected
    assert f"b/02 stopped early: {outcome}" in out


def test_a_server_that_does_not_start_is_said_with_its_side(fake: Fake, call: Call) -> None:
    fake.outcomes[2] = UserError("llama-server ended (exit code 1)")
    with pytest.raises(UserError, match=r"^b/01: llama-server ended \(exit code 1\)$"):
        call()


def test_a_run_that_is_invalid_ends_it_and_is_made_anew(fake: Fake, call: Call) -> None:
    fake.invalid = {4}
    code, out = call()
    assert code == 3
    assert "a/02 is not to be trusted: none succeeded" in out
    fake.made.clear()
    fake.invalid = set()
    assert call()[0] == 0
    assert fake.made[:2] == ["b/02", "a/02"]


def test_an_invalid_run_is_used_where_asked_to_and_said(fake: Fake, call: Call) -> None:
    fake.invalid = {4}
    code, out = call("--untrusted")
    assert code == 0
    assert "a/02 is invalid: none succeeded" in out


def test_other_plans_are_refused_after_the_first_pair_unless_asked_for(fake: Fake, call: Call) -> None:
    fake.of_run["b"] = {"plan_hash": "1" * 64}
    with pytest.raises(UserError, match="different plans"):
        call()
    assert len(fake.made) == 2
    assert "the two sides have different plans" in call("--different-plans")[1]


def test_the_limit_on_spending_is_one_for_all_runs(fake: Fake, call: Call) -> None:
    fake.outcomes[2] = INTERRUPTED
    paid = ("--backend", "claude", "--model", "claude-haiku-4-5", "--max-usd")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANTHROPIC_API_KEY", "sk-very-secret")
        call(*paid, "2")
        fake.outcomes.clear()
        call(*paid, "3")
    # Also for the pair that was cut in two, wherever its folder is.
    assert set(fake.accounts) == {Path("out").absolute() / files.LEDGER}
    assert "sk-very-secret" not in Path("out/ab.json").read_text()


# --- wrong use --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--max-pairs", "5"], "--max-pairs: expected an even number"),
        (["--max-pairs", "2"], "--max-pairs: must be from 4 to 96, got 2"),
        (["--decide", "ttft"], "--decide 'ttft': expected a measure that is compared; did you mean"),
        (["--threshold", "ttft=5%"], "--threshold 'ttft=5%'"),
        (["--junit", "nowhere/x.xml"], "--junit nowhere/x.xml: the folder nowhere does not exist"),
        (["--b", "--modle x"], "--b: No such option"),
        (["--b", ""], "--a and --b describe the same run"),
        (["--a", "--model tiny", "--b", "--server xllamacpp --port 40123"], "--a and --b describe the same run"),
    ],
)
def test_wrong_use_is_said_before_anything_runs(fake: Fake, call: Call, arguments: list[str], says: str) -> None:
    with pytest.raises(UserError) as refused:
        call(*arguments)
    assert str(refused.value).startswith(says)
    assert (fake.made, Path("out").exists()) == ([], False)


def test_a_measure_that_the_runs_do_not_know_is_refused_after_the_first_pair(fake: Fake, call: Call) -> None:
    with pytest.raises(UserError, match=r"--decide usd_per_request: .* could not measure it"):
        call("--decide", "usd_per_request")
    assert len(fake.made) == 2


def test_failures_decide_whatever_else_does(fake: Fake, call: Call) -> None:
    call("--decide", "ttft_ms:p99")
    asked = json.loads(Path("out/ab.json").read_text())["asked"]
    assert asked["deciding"] == ["ttft_ms:p99", "error_share"]


def test_a_folder_of_another_ab_is_refused(fake: Fake, call: Call) -> None:
    call()
    with pytest.raises(UserError, match="holds runs of ab with different b; choose another folder"):
        call("--b", "--seed 2")
    Path("out/campaign.json").unlink()
    with pytest.raises(UserError, match="expected a new or empty folder"):
        call()
