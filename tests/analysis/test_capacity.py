import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.capacity import Probe, calls_needed, capacity, next_probe, probe, wilson


def run(rate: float, share: float, *, repeat: int = 0, calls: int = 500, completed: float | None = None) -> Probe:
    """A run in which `share` of the calls kept a bound that 99% must keep."""
    return Probe(rate, repeat, calls, (round(share * calls),), (0.99,), rate if completed is None else completed, "")


def search(true_rps: float, closed_loop_rps: float, precision: float = 0.05, repeats: int = 1) -> list[Probe]:
    probes: list[Probe] = []
    while (wanted := next_probe(probes, closed_loop_rps, precision, repeats)) is not None:
        rate, repeat = wanted
        probes.append(run(rate, 1.0 if rate <= true_rps else 0.5, repeat=repeat))
        assert len(probes) < 60
    return probes


@settings(max_examples=200, deadline=None)
@given(st.floats(0.05, 500), st.floats(0.1, 20), st.sampled_from([0.02, 0.05, 0.2]))
def test_the_search_ends_at_the_true_capacity_to_the_precision(true: float, guess: float, precision: float) -> None:
    """Whatever the closed loop had said, from a twentieth to ten times the truth."""
    found = capacity(search(true, true * guess, precision))
    assert found.rate_per_s <= true < (found.high_per_s or math.inf)
    assert found.high_per_s is not None
    assert found.high_per_s / found.rate_per_s - 1 <= precision


def test_a_server_that_never_meets_the_objective_has_no_capacity() -> None:
    found = capacity(search(0.0, 10))
    assert (found.rate_per_s, found.low_per_s) == (0.0, 0.0)
    assert found.reason == "no rate down to 0.0781/s meets the objectives"


def test_a_rate_that_the_server_cannot_complete_is_saturated_even_if_the_answers_were_fast() -> None:
    assert run(10, 1.0, completed=8.9).outcome == "saturated"
    assert run(10, 1.0, completed=9.1).outcome == "met"
    assert run(10, 0.98).outcome == "missed"


def test_the_interval_reaches_from_a_rate_that_surely_meets_to_one_that_surely_does_not() -> None:
    probes = [run(4, 1.0), run(5, 0.992), run(6, 0.988), run(7, 0.9)]
    assert [p.is_sure for p in probes] == [True, False, False, True]
    assert capacity(probes)[:3] == (5, 4, 7)


def test_repeats_decide_by_majority_and_disagreement_widens_the_interval() -> None:
    probes = [run(4, 1.0), run(5, 1.0), run(5, 0.9, repeat=1), run(5, 1.0, repeat=2), run(6, 0.5)]
    assert capacity(probes)[:3] == (5, 4, 6)


def test_both_ends_of_the_gap_are_repeated() -> None:
    probes = search(10.0, 10.0, precision=0.5, repeats=3)
    repeats = {
        rate: sorted(p.repeat for p in probes if p.rate_per_s == rate) for rate in {p.rate_per_s for p in probes}
    }
    found = capacity(probes)
    assert repeats[found.rate_per_s] == repeats[found.high_per_s or 0.0] == [0, 1, 2]


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe 1998, Statistics in Medicine 17: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilsons_interval_covers() -> None:
    draw = random.Random(1)
    hits = 0
    for _ in range(2000):
        low, high = wilson(sum(draw.random() < 0.95 for _ in range(300)), 300)
        hits += low <= 0.95 <= high
    assert 0.93 < hits / 2000 < 0.97


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
def test_with_the_calls_needed_a_run_without_a_miss_is_sure(share: float) -> None:
    calls = calls_needed([0.5, share])
    assert Probe(1, 0, calls, (calls,), (share,), 1, "").is_sure


def test_a_summary_is_read_by_each_objective_or_by_all_at_once() -> None:
    summary = {
        "requests": {"planned": 200},
        "throughput": {"requests_per_s": 4.0, "slo_attainment": 0.9},
        "slo": [{"attainment": 0.95, "percentile": 90.0}, {"attainment": 0.925, "percentile": None}],
    }
    by_objective = probe(summary, 4.0, 0, None, "x")
    assert (by_objective.kept, by_objective.wanted, by_objective.outcome) == ((190, 185), (0.9, 1.0), "missed")
    assert probe(summary, 4.0, 0, 0.9, "x").outcome == "met"
