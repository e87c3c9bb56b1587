"""Differences of shares, few failures or none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare.measures import POINTS
from analysis.compare.sequential import interim_analyses
from analysis.stats.shares import FailureCounts


def test_no_failure_on_both_sides_may_be_as_many_as_the_counts_allow() -> None:
    low, high = FailureCounts(0, 80, 0, 80).interval(0.05)
    assert (low, high) == pytest.approx((-0.04507, 0.04507), abs=1e-5)
    assert FailureCounts(0, 80, 0, 80).p == 1.0


# Newcombe's intervals are of Wilson's; with those of Clopper and Pearson they are a little wider.
def test_the_interval_of_a_difference_holds_that_of_the_textbook() -> None:
    low, high = FailureCounts(48, 80, 56, 70).interval(0.05)
    assert low < 0.0524
    assert high > 0.3339
    assert high - low < 0.32


@pytest.mark.parametrize(("counts", "p"), [((3, 10, 7, 10), 0.17890), ((0, 20, 5, 20), 0.04712), ((1, 5, 1, 5), 1.0)])
def test_p_is_that_of_fishers_exact_test(counts: tuple[int, int, int, int], p: float) -> None:
    assert FailureCounts(*counts).p == pytest.approx(p, abs=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 40), st.integers(1, 40))
def test_swapped_sides_have_the_opposite_interval_and_the_same_p(a: int, more_a: int, b: int, more_b: int) -> None:
    there, back = FailureCounts(a, a + more_a, b, b + more_b), FailureCounts(b, b + more_b, a, a + more_a)
    low, high = there.interval(0.05)
    assert (-high, -low) == pytest.approx(back.interval(0.05))
    assert low < b / (b + more_b) - a / (a + more_a) < high
    assert there.p == pytest.approx(back.p)
    assert 0 < there.p <= 1


def test_a_server_that_fails_two_in_a_hundred_is_not_called_the_same_after_any_look() -> None:
    rng, called, requests = np.random.default_rng(1), 0, 20
    for _ in range(300):
        failed = rng.binomial(requests, 0.02, 48).cumsum()
        for interim in interim_analyses(48):
            n = requests * interim.pairs
            low, high = FailureCounts(0, n, int(failed[interim.pairs - 1]), n).interval(interim.share * 0.05)
            called += low >= -POINTS and high <= POINTS
    assert called / 300 <= 0.025
