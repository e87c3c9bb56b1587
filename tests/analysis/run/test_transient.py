from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.checks.identities import IDENTITIES
from analysis.checks.server import not_steady
from analysis.present.in_words import steady_window
from analysis.present.plots import FIGURES, Data
from analysis.run.sections import ProposedWindow, Steadiness
from analysis.run.transient import LEAST_CALLS, onset, proposed, steady, without
from analysis.run.window import planned
from bench.runs.manifest import NOTHING_CUT
from bench.runs.sections import dump
from tests.analysis.present.as_plotly import as_plotly
from tests.summaries import manifest_of, summarize, summary_of, typed

S = 1_000_000_000
RUNS = 150
Floats = np.ndarray[Any, np.dtype[np.float64]]


def alike(rng: np.random.Generator, calls: int, correlation: float = 0.0, spread: float = 0.6) -> Floats:
    """Latencies of RUNS runs, lognormal, each like the one before it in its run; no transient."""
    noise = rng.normal(size=(calls, RUNS))
    noise[1:] *= np.sqrt(1 - correlation**2)
    for i in range(1, calls):
        noise[i] += correlation * noise[i - 1]
    return np.asarray(100 * np.exp(spread * noise.T))


def in_one_queue(
    rng: np.random.Generator, calls: int, use: float, cold: float = 1.0, slots: int = 8, warmup: int = 50
) -> Floats:
    """Waits of RUNS runs at a server of `slots` slots, of whose capacity Poisson arrivals take the share `use`.

    In the first fifth of the calls the work takes `cold` times as long.
    """
    n = calls + warmup
    due_s = np.cumsum(rng.exponential(1 / (use * slots), (RUNS, n)), axis=1)
    work_s = rng.gamma(4, 0.25, (RUNS, n))
    work_s[:, : warmup + calls // 5] *= cold
    free_s, wait_s, rows = np.zeros((RUNS, slots)), np.empty((RUNS, n)), np.arange(RUNS)
    for i in range(n):
        slot = free_s.argmin(axis=1)
        wait_s[:, i] = np.maximum(0.0, free_s[rows, slot] - due_s[:, i])
        free_s[rows, slot] = due_s[:, i] + wait_s[:, i] + work_s[:, i]
    waits: Floats = (wait_s + 0.1 * rng.lognormal(0, 0.5, (RUNS, n)))[:, warmup:] * 1000
    return waits


def share_found(runs: Floats) -> float:
    return sum(onset(run) is not None for run in runs) / len(runs)


# --- where a series becomes steady ------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [200, 1000])
@pytest.mark.parametrize(
    "load",
    [
        lambda rng, n: alike(rng, n),
        lambda rng, n: alike(rng, n, correlation=0.8),
        lambda rng, n: 100 * (1 + rng.pareto(1.5, (RUNS, n))),
        lambda rng, n: in_one_queue(rng, n, use=0.7),
        lambda rng, n: in_one_queue(rng, n, use=0.8),
    ],
    ids=["independent", "like the one before", "heavy tail", "queue at 70%", "queue at 80%"],
)
def test_a_steady_run_is_cut_in_at_most_a_few_of_a_hundred(load: Callable[..., Floats], calls: int) -> None:
    assert share_found(load(np.random.default_rng(calls), calls)) <= 0.06


@pytest.mark.parametrize(
    ("slow", "share", "calls", "least"),
    [
        pytest.param(2.0, 0.2, 1000, 0.95, marks=pytest.mark.slow),
        (1.5, 0.2, 1000, 0.9),
        (0.5, 0.2, 1000, 0.95),
        pytest.param(3.0, 0.1, 1000, 0.9, marks=pytest.mark.slow),
        (2.0, 0.2, 200, 0.7),
    ],
)
def test_a_start_that_differs_is_found_and_where_it_ends(slow: float, share: float, calls: int, least: float) -> None:
    runs = alike(np.random.default_rng(2), calls, spread=0.4)
    runs[:, : int(calls * share)] *= slow
    found = [end for run in runs if (end := onset(run)) is not None]
    assert len(found) >= least * RUNS
    assert np.median([first for first, _ in found]) == pytest.approx(calls * share, rel=0.1)
    assert np.median([ratio for _, ratio in found]) == pytest.approx(slow, rel=0.1)


def test_a_server_that_starts_cold_and_the_queue_it_leaves_are_found() -> None:
    runs = in_one_queue(np.random.default_rng(3), 1000, use=0.6, cold=2.5)
    found = [end for run in runs if (end := onset(run)) is not None]
    assert len(found) >= 0.9 * RUNS
    # The queue takes longer to go than the cold start itself, and half of the run is the most that is cut.
    assert 200 < np.median([first for first, _ in found]) <= 500
    assert max(first for first, _ in found) <= 500


def test_too_few_calls_and_a_difference_that_does_not_matter_are_no_transient() -> None:
    cold = np.where(np.arange(LEAST_CALLS) < 40, 300.0, 100.0)
    assert onset(cold) is not None
    assert onset(cold[1:]) is None
    assert onset(np.where(np.arange(1000) < 200, 109.0, 100.0)) is None
    assert onset(np.where(np.arange(1000) < 200, 111.0, 100.0)) is not None
    assert onset(np.zeros(200)) is None


def test_a_clear_start_is_found_although_what_follows_is_not_quite_even() -> None:
    levels = np.repeat([51.0, 95.0, 51.0, *[55.0, 59.0] * 14], [4, 41, 15, *[5] * 28])
    found = onset(levels + np.random.default_rng(6).uniform(0, 0.5, len(levels)))
    assert found is not None
    assert 45 <= found[0] <= 60 and found[1] > 1.3


def test_what_drifts_to_its_end_has_no_steady_part() -> None:
    rng = np.random.default_rng(4)
    assert onset(np.linspace(100, 300, 1000) * np.exp(0.1 * rng.normal(size=1000))) is None


# --- a whole run ------------------------------------------------------------------------------------------------


def slowed(requests: pa.Table, calls: int, by_ms: float = 400.0) -> pa.Table:
    """The same table with the first tokens of the first measured calls later, and all that follows in those calls."""
    first = int(np.flatnonzero(np.array(requests["phase"].to_pylist()) == "measured")[0])
    rows = range(first, first + calls)
    columns = {}
    for name in ("first_token_ns", "first_text_ns", "last_token_ns", "end_ns"):
        values = requests[name].to_pylist()
        for row in rows:
            values[row] += int(by_ms * 1e6)
        columns[name] = pa.array(values, pa.int64())
    arrivals = requests["arrivals_ns"].to_pylist()
    for row in rows:
        arrivals[row] = [t_ns + int(by_ms * 1e6) for t_ns in arrivals[row]]
    columns["arrivals_ns"] = pa.array(arrivals, requests.schema.field("arrivals_ns").type)
    for name, values in columns.items():
        requests = requests.set_column(requests.schema.get_field_index(name), requests.schema.field(name), values)
    return requests


def test_the_proposal_is_the_window_that_its_cut_would_leave(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=400, warmup=16, rate_per_s=20, slo=["ttft_ms:p50<500"])
    requests = slowed(requests, 80)
    found = proposed(manifest_of(run), requests)
    assert found is not None
    assert found.cut_calls == pytest.approx(80, abs=10)
    assert found.why.startswith("ttft_ms of the first")
    rest, cut = steady(manifest_of(run), requests)
    assert (cut.calls, cut.s, cut.why) == (found.cut_calls, found.cut_s, found.why)
    assert rest["phase"].to_pylist() == ["warmup"] * (16 + cut.calls) + ["measured"] * (400 - cut.calls)

    before = summarize(run, requests, telemetry)
    after = summarize({**run, "cut": dump(cut), "window": "steady"}, rest, None)
    assert before["steadiness"]["proposed"] == dump(found)
    assert before["steadiness"]["cut"] == {"calls": 0, "s": 0.0, "why": None}
    assert after["steadiness"]["proposed"] is None and after["steadiness"]["cut"] == dump(cut)
    assert after["window"]["start_s"] == pytest.approx(found.start_s)
    assert after["window"]["seconds"] == pytest.approx(found.seconds)
    assert before["window"]["start_s"] + cut.s == pytest.approx(after["window"]["start_s"])
    assert before["window"]["seconds"] == pytest.approx(cut.s + after["window"]["seconds"])
    assert after["requests"]["planned"] == after["metrics"]["ttft_ms"]["count"] == 400 - cut.calls
    assert after["metrics"]["ttft_ms"]["max"] < 300 < before["metrics"]["ttft_ms"]["max"]
    assert after["slo"][0]["attainment"] == 1.0
    assert [phase["name"] for phase in after["phases"]] == ["warmup", "measured", "drain"]
    assert after["phases"][0]["end_s"] == after["window"]["start_s"]


@pytest.mark.parametrize(
    "load",
    [
        {"rate_per_s": 20.0},
        {"rate_per_s": 20.0, "duration_s": 18.0, "warmup": 0},
        {"concurrency": 4},
        {"concurrency": 4, "duration_s": 40.0, "warmup": 0},
    ],
    ids=["open, by number", "open, by time", "closed, by number", "closed, by time"],
)
def test_every_identity_that_held_holds_of_what_is_left(synthetic_run: Any, load: dict[str, Any]) -> None:
    run, requests, _ = synthetic_run(**{"requests": 400, "warmup": 16, "failed": [30, 300]} | load)
    requests = slowed(requests, 10)
    rest = without(requests, requests["sent_ns"][120].as_py())
    calls = rest["phase"].to_pylist().count("warmup") - requests["phase"].to_pylist().count("warmup")
    whole = summarize(run, requests, None)
    cut_s = (requests["sent_ns"][120].as_py() - planned(manifest_of(run), requests).start_ns) / S
    cut = {"calls": calls, "s": cut_s, "why": "x"}
    left = summarize({**run, "cut": cut, "window": "steady"}, rest, None)
    held = {identity["name"]: identity["holds"] for identity in left["identities"]}
    assert len(held) == len(IDENTITIES)
    assert held["conservation"] and held["littles_law"] and False not in held.values()
    assert left["window"]["start_s"] == pytest.approx(requests["sent_ns"][120].as_py() / S)
    ends = [found["window"]["start_s"] + found["window"]["seconds"] for found in (whole, left)]
    assert ends[0] == pytest.approx(ends[1])


def test_a_call_that_got_lost_is_missed_after_a_cut_too(synthetic_run: Any) -> None:
    run, requests, _ = synthetic_run(requests=200)
    rest = without(requests, requests["sent_ns"][50].as_py())
    cut = {"calls": rest["phase"].to_pylist().count("warmup"), "s": 1.0, "why": "x"}
    whole = summarize({**run, "cut": cut}, rest, None)
    lost = summarize({**run, "cut": cut}, rest.slice(0, 199), None)
    assert [found["identities"][0]["holds"] for found in (whole, lost)] == [True, False]


def test_calls_that_were_never_sent_are_cut_by_when_they_were_due(requests_table: Any) -> None:
    rows = [
        {"phase": "measured", "due_ns": 1 * S, "sent_ns": 3 * S},
        {"phase": "measured", "due_ns": 1 * S, "error": "dropped"},
        {"phase": "measured", "due_ns": 3 * S, "error": "dropped"},
        {"phase": "measured", "error": "unfinished"},
        {"phase": "warmup", "due_ns": 0, "sent_ns": 0},
    ]
    phases = without(requests_table(rows), 2 * S)["phase"].to_pylist()
    assert phases == ["measured", "warmup", "measured", "measured", "warmup"]


def test_a_steady_run_says_nothing_and_where_it_was_asked_for_that_nothing_was_cut(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=300)
    assert steady(manifest_of(run), requests) == (requests, NOTHING_CUT)
    assert steady_window(typed(run, requests, telemetry)[1]) is None
    _, asked = typed({**run, "window": "steady", "cut": dump(NOTHING_CUT)}, requests, telemetry)
    assert steady_window(asked) == "--window steady found nothing to cut."


def test_a_proposal_is_said_with_its_flag_and_drawn(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=400)
    requests = slowed(requests, 100)
    _, summary = typed(run, requests, telemetry)
    found = summary.steadiness.proposed
    assert found is not None
    said = steady_window(summary)
    assert said is not None
    assert said.startswith(f"The first {found.cut_calls} measured requests (") and "--window steady" in said
    figure = as_plotly(FIGURES["ttft-over-time"].draw(Data(requests, telemetry, summary)))
    assert figure.layout.shapes[-1].x0 == found.start_s
    assert "Dotted: from there on" in figure.layout.meta
    rest, cut = steady(manifest_of(run), requests)
    said = steady_window(typed({**run, "window": "steady", "cut": dump(cut)}, rest, telemetry)[1])
    assert said is not None
    assert said.startswith(f"The first {cut.calls} requests (") and "count as warm-up" in said


@pytest.mark.parametrize("named", [True, False])
def test_the_doubt_about_a_drift_names_the_flag_where_it_would_help(named: bool) -> None:
    steadiness = Steadiness(ttft_change=-0.6, ttft_trend_p=1e-5)
    if named:
        steadiness = replace(steadiness, proposed=ProposedWindow(0.0, 1.0, 1040, 1.0, "x"))
    (reason,) = not_steady(manifest_of({}), replace(summary_of({}), steadiness=steadiness))
    assert ("--window steady cuts the first 1,040 requests, raise" in reason.message) is named
