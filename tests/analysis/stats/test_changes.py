import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.stats.changes import (
    ChangeEstimate,
    between_pairs,
    between_runs,
    holm,
    verdict,
    why_undecided,
)
from analysis.stats.distributions import t_quantile, two_sided_p

FIVE_PERCENT = math.log1p(0.05)


def test_welchs_estimate_is_that_of_the_textbook() -> None:
    """Means 2 and 5, variances 1 and 4 over 3 runs each: error² = 1/3 + 4/3, degrees (5/3)² / (1/18 + 16/18)."""
    found = between_runs(np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 7.0]))
    assert found.change == 3
    assert found.error == pytest.approx(math.sqrt(5 / 3))
    assert found.degrees == 2  # 2.94, rounded to the careful side
    low, high = found.ci95
    assert (high - 3) / found.error == pytest.approx(4.3027, abs=1e-3)
    assert low + high == pytest.approx(6)


@pytest.mark.parametrize(("t", "degrees", "p"), [(12.7062, 1, 0.05), (4.3027, 2, 0.05), (2.3060, 8, 0.05),
                                                (5.0413, 8, 0.001), (1.9600, 10**6, 0.05), (0.0, 5, 1.0)])  # fmt: skip
def test_p_is_that_of_the_tables_of_students_t(t: float, degrees: int, p: float) -> None:
    assert two_sided_p(t, degrees) == pytest.approx(p, rel=3e-3)
    assert two_sided_p(-t, degrees) == two_sided_p(t, degrees)


@given(st.floats(0.6, 0.9999), st.integers(1, 900))
def test_p_turns_the_quantile_around(level: float, degrees: int) -> None:
    assert two_sided_p(t_quantile(level, degrees), degrees) == pytest.approx(2 * (1 - level), rel=0.01)


def test_equal_runs_have_no_error_and_no_change() -> None:
    found = between_runs(np.log([80.1, 80.1, 80.1]), np.log([80.1, 80.1, 80.1]))
    assert (found.change, found.error, found.p) == (0, 0, 1)


def test_the_estimate_of_pairs_is_that_of_the_textbook() -> None:
    """Differences 1, 2, 3: mean 2, standard deviation 1, error 1/√3."""
    found = between_pairs(np.array([1.0, 2.0, 3.0]), share=0.5)
    assert (found.change, found.degrees, found.share) == (2, 2, 0.5)
    assert found.error == pytest.approx(1 / math.sqrt(3))
    assert between_pairs(np.log([1.2, 1.2, 1.2]), share=1.0).error == 0


def test_an_estimate_that_may_use_up_half_of_the_error_has_twice_the_p() -> None:
    whole, half = ChangeEstimate(1.0, 0.4, 5), ChangeEstimate(1.0, 0.4, 5, share=0.5)
    assert half.p == pytest.approx(2 * whole.p)
    assert half.ci95[1] == pytest.approx(1.0 + t_quantile(1 - 0.0125, 5) * 0.4)
    assert ChangeEstimate(0.1, 0.4, 5, share=0.01).p == 1.0


def test_exact_numbers_that_differ_surely_differ() -> None:
    found = between_runs(np.log([100.0] * 3), np.log([120.0] * 3))
    assert (found.error, found.p) == (0, 0)
    assert found.change == pytest.approx(math.log(1.2))


def test_holm_multiplies_the_smallest_by_all_the_next_by_one_less_and_never_falls() -> None:
    assert holm([0.03, 0.01, 0.04, 0.5]) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=15))
def test_holm_keeps_the_order_and_is_never_below_the_plain_p(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))
    ranked = [q for _, q in sorted(zip(ps, adjusted, strict=True))]
    assert ranked == sorted(ranked)


@pytest.mark.parametrize(
    ("change", "error", "p", "expected"),
    [
        (0.10, 0.01, 0.001, "worse"),
        (-0.10, 0.01, 0.001, "better"),
        (0.03, 0.001, 0.001, "same"),  # surely there, and too small to matter
        (0.04, 0.01, 0.001, "inconclusive"),  # surely there, perhaps large enough
        (0.10, 0.04, 0.2, "inconclusive"),  # not sure in so many measures
        (0.00, 0.01, 1.0, "same"),
        (0.00, 0.10, 1.0, "inconclusive"),
        (math.log1p(0.05), 0.001, 0.001, "worse"),  # as much as matters
    ],
)
def test_the_verdict_needs_both_surety_and_size(change: float, error: float, p: float, expected: str) -> None:
    found = ChangeEstimate(change, error, 100)
    assert verdict(found, p, FIVE_PERCENT, "lower") == expected
    flipped = {"worse": "better", "better": "worse"}
    assert verdict(found, p, FIVE_PERCENT, "higher") == flipped.get(expected, expected)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [(0.1, 0.2, "both no change and one that matters"), (0.04, 0.01, "perhaps none that matters"),
     (0.1, 0.04, "one of so many measures may move as far by chance")],
)  # fmt: skip
def test_what_is_inconclusive_says_why(change: float, error: float, says: str) -> None:
    assert says in why_undecided(ChangeEstimate(change, error, 100), FIVE_PERCENT)
