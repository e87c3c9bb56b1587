from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.checks.server import not_steady
from analysis.run.sections import Steadiness
from analysis.run.steady import BLOCKS, change, steadiness, trend_p
from tests.simulations import few_or_many
from tests.summaries import manifest_of, summary_of

S = 1e9
CLOSED, OPEN = manifest_of({}), manifest_of({"load": {"rate_per_s": 1.0}})


def calls(due_s: Any, ttft_s: Any, service_s: Any, warmup: int = 0) -> pa.Table:
    n = len(due_s)
    sent_ns = (np.asarray(due_s) * S).astype(np.int64)
    return pa.table(
        {
            "phase": ["warmup"] * warmup + ["measured"] * (n - warmup),
            "due_ns": sent_ns,
            "sent_ns": sent_ns,
            "first_token_ns": sent_ns + (np.asarray(ttft_s) * S).astype(np.int64),
            "end_ns": sent_ns + (np.asarray(service_s) * S).astype(np.int64),
            "last_token_ns": pa.nulls(n, pa.int64()),
            "error": pa.nulls(n, pa.string()),
        }
    )


def doubted(run: Any, table: pa.Table) -> list[str]:
    summary = replace(summary_of({"requests": {"planned": table.num_rows}}), steadiness=steadiness(run, table))
    return [reason.code for reason in not_steady(run, summary)]


def in_one_queue(rng: np.random.Generator, n: int, use: float, slots: int = 8, warmup: int = 50) -> pa.Table:
    """Poisson arrivals at a server of `slots` slots, of whose capacity they take the share `use`."""
    due_s = np.cumsum(rng.exponential(1 / (use * slots), n + warmup))
    work_s = rng.gamma(4, 0.25, n + warmup)
    free_s, wait_s = np.zeros(slots), np.empty(n + warmup)
    for i, due in enumerate(due_s):
        slot = free_s.argmin()
        wait_s[i] = max(0.0, free_s[slot] - due)
        free_s[slot] = due + wait_s[i] + work_s[i]
    return calls(due_s, wait_s + 0.1 * rng.lognormal(0, 0.5, n + warmup), wait_s + work_s, warmup)


def autocorrelated(rng: np.random.Generator, n: int, correlation: float) -> pa.Table:
    """First tokens with a heavy tail, each like the one before it; no trend."""
    noise = rng.normal(size=n) * np.sqrt(1 - correlation**2)
    for i in range(1, n):
        noise[i] += correlation * noise[i - 1]
    return calls(np.arange(n) * 0.05, 0.1 * np.exp(0.6 * noise), np.ones(n))


def test_mann_kendalls_probability_is_that_of_the_literature() -> None:
    rising = np.arange(10.0)
    # S = 45 of 10 values: variance 125, z = 44 / sqrt(125).
    assert trend_p(rising) == pytest.approx(8.303e-5, rel=1e-3)
    assert trend_p(-rising) == trend_p(rising)
    assert trend_p(np.ones(12)) == 1.0
    assert trend_p(np.array([1.0, 3.0, 2.0, 4.0, 1.0, 3.0])) > 0.3


def test_the_change_is_that_of_the_line_and_one_outlier_does_not_move_it() -> None:
    values = np.linspace(5.0, 27.0, BLOCKS)
    assert change(values) == pytest.approx(22.0)
    values[4] = 1000.0
    assert change(values) == pytest.approx(22.0, rel=0.05)


def test_fewer_calls_than_five_a_block_say_nothing() -> None:
    few = calls(np.arange(59) * 0.1, np.linspace(0.1, 1, 59), np.ones(59))
    assert steadiness(OPEN, few) == Steadiness()


def test_a_closed_loop_has_no_backlog() -> None:
    found = steadiness(CLOSED, calls(np.arange(100) * 0.1, np.full(100, 0.1), np.ones(100)))
    assert (found.ttft_change, found.backlog_growth, found.backlog_trend_p) == (0.0, None, None)


def test_a_first_token_that_comes_later_and_later_drifts_and_one_slow_burst_does_not() -> None:
    rng = np.random.default_rng(1)
    ttft_s = 0.1 * rng.gamma(10, 0.1, 240)
    burst = ttft_s.copy()
    burst[:20] *= 5
    at_s = np.arange(240) * 0.1
    assert doubted(CLOSED, calls(at_s, ttft_s, np.ones(240))) == []
    assert doubted(CLOSED, calls(at_s, burst, np.ones(240))) == []
    assert doubted(CLOSED, calls(at_s, ttft_s * np.linspace(1, 1.6, 240), np.ones(240))) == ["ttft_drifts"]
    assert doubted(CLOSED, calls(at_s, ttft_s * np.linspace(1.6, 1, 240), np.ones(240))) == ["ttft_drifts"]


@few_or_many("runs", 50, 250)
def test_steady_runs_raise_fewer_false_alarms_than_one_in_a_hundred(runs: int) -> None:
    alarms = sum(bool(doubted(CLOSED, autocorrelated(np.random.default_rng(i), 200, 0.8))) for i in range(runs))
    alarms += sum(bool(doubted(OPEN, in_one_queue(np.random.default_rng(i), 200, 0.7))) for i in range(runs))
    assert alarms < 2 * runs / 100


def test_a_load_above_capacity_is_found() -> None:
    found = [doubted(OPEN, in_one_queue(np.random.default_rng(i), 200, 1.5)) for i in range(40)]
    assert found.count(["backlog_grows"]) >= 38


def test_calls_that_never_ended_are_part_of_the_backlog() -> None:
    table = calls(np.arange(120) * 0.1, np.full(120, 0.05), np.full(120, 0.2))
    at = table.schema.get_field_index("end_ns")
    ends_ns = [end_ns if i < 30 else None for i, end_ns in enumerate(table["end_ns"].to_pylist())]
    assert doubted(OPEN, table.set_column(at, "end_ns", pa.array(ends_ns, pa.int64()))) == ["backlog_grows"]


def test_calls_that_an_interrupted_run_never_came_to_are_no_backlog() -> None:
    table = calls(np.arange(120) * 0.1, np.full(120, 0.05), np.full(120, 0.2))
    for name in ("sent_ns", "first_token_ns", "end_ns"):
        reached = [value if i < 70 else None for i, value in enumerate(table[name].to_pylist())]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(reached, pa.int64()))
    assert doubted(OPEN, table) == []


def test_calls_that_come_while_the_first_answers_are_on_their_way_are_no_backlog_that_grows() -> None:
    """Ten requests a second of 5 s each: fifty are under way from then on, and the server keeps up."""
    table = calls(np.arange(300) * 0.1, np.full(300, 0.1), np.full(300, 5.0))
    assert steadiness(OPEN, table).backlog_growth == pytest.approx(0, abs=1)
    assert steadiness(OPEN, table.slice(0, 100)).backlog_growth is None
