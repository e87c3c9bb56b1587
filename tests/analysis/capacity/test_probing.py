"""A run at one rate as the search for capacity reads it."""

from typing import Any

import numpy as np
import pytest

from analysis.capacity.probing import LoadWatch, ProbedRun, bounds, of_closed_loop, probe, read
from analysis.run import slo


def run(due_s: Any, lasts_s: Any, keeps: Any = None) -> ProbedRun:
    due_s, lasts_s = np.asarray(due_s, float), np.asarray(lasts_s, float)
    keeps = np.ones(len(due_s), bool) if keeps is None else keeps
    return ProbedRun(due_s, due_s + lasts_s, lasts_s, (keeps,))


def test_waits_that_grow_are_growth_and_what_is_completed_is_the_less() -> None:
    due_s = np.arange(400) / 10
    found: Any = probe(run(due_s, 1 + 0.25 * due_s), (0.9,), 10.0, 0, "x", stopped=False)
    assert found.growth == pytest.approx(0.25) and found.completed_per_s == pytest.approx(8, rel=0.01)
    assert (found.outcome, found.is_sure, found.sent_per_s) == ("saturated", True, pytest.approx(10))
    even = probe(run(due_s, np.ones(400)), (0.9,), 10.0, 0, "x", stopped=False)
    assert (even.outcome, even.is_sure, even.service_s) == ("met", True, 1.0)


def test_a_load_that_was_ended_early_completed_what_it_had_until_then() -> None:
    lasts_s = np.where(np.arange(400) < 100, 1.0, np.nan)
    found = probe(run(np.arange(400) / 10, lasts_s), (0.9,), 10.0, 0, "x", stopped=True)
    assert (found.outcome, found.is_sure) == ("saturated", True)
    assert found.completed_per_s is not None and abs(found.completed_per_s - 100 / 10.9) < 1e-6


def test_calls_that_miss_a_bound_together_are_worth_fewer() -> None:
    due_s, rng = np.arange(600) / 10, np.random.default_rng(1)
    scattered = probe(run(due_s, np.ones(600), rng.random(600) > 0.1), (0.8,), 10, 0, "x", stopped=False)
    together = probe(run(due_s, np.ones(600), np.arange(600) >= 60), (0.8,), 10, 0, "x", stopped=False)
    assert scattered.worth[0] > 250 and together.worth[0] < 60
    assert scattered.is_sure and not together.is_sure


def test_a_run_that_ended_nothing_is_missed_and_too_short_to_tell_of_growth() -> None:
    nothing = probe(run([0, 1, 2], [np.nan] * 3, np.zeros(3, bool)), (0.9,), 1, 0, "x", stopped=False)
    assert (nothing.outcome, nothing.completed_per_s, nothing.growth, nothing.service_s) == ("missed", None, None, None)
    empty = probe(run([], []), (0.9,), 1, 0, "x", stopped=False)
    assert (empty.outcome, empty.calls) == ("missed", 0)


def test_requests_are_read_by_each_objective_or_by_all_at_once(synthetic_run: Any) -> None:
    _, table, _ = synthetic_run(requests=200, warmup=20, rate_per_s=20, failed=[30], dropped=[40])
    objectives = [slo.parse("ttft_ms:p90<80"), slo.parse("tpot_ms:p90<1000")]
    each = read(table, bounds(objectives, None))
    assert [len(each.due_s), *map(len, each.keeps)] == [200] * 3
    assert np.isnan(each.end_s).sum() == 2 and each.keeps[1].sum() == 198
    (together,) = read(table, bounds(objectives, 0.9)).keeps
    assert (together == each.keeps[0] & each.keeps[1]).all()


def test_a_closed_loop_says_roughly_what_a_server_does(synthetic_run: Any, requests_table: Any) -> None:
    _, table, _ = synthetic_run(requests=200, concurrency=8, jitter=0)
    found = of_closed_loop(table)
    assert found is not None and found[0] * found[1] == pytest.approx(8, rel=0.1)
    assert of_closed_loop(requests_table([])) is None


def test_a_load_is_not_called_hopeless_while_its_first_answers_are_on_their_way() -> None:
    watch = LoadWatch(service_s=5.0)
    assert not any(watch.falls_behind(t / 2, 10 * t, 0) for t in range(79))
    assert watch.falls_behind(40.5, 810, 0)
