import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.distributions import (
    Sample,
    carries,
    clopper_pearson,
    index_of_dispersion,
    mean_interval,
    order_statistics,
    quantile,
    quantile_with_failures,
    ranks,
    t_quantile,
    values_needed,
)


def independent(values: Any) -> Sample:
    values = np.asarray(values, np.float64)
    return Sample(values, np.arange(len(values) + 1))


# Two-sided 95% and 99% points of Student's t, from the printed tables.
@pytest.mark.parametrize(
    ("level", "degrees", "table"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 3, 3.18245),
        (0.975, 4, 2.77645),
        (0.975, 5, 2.57058),
        (0.975, 10, 2.22814),
        (0.975, 30, 2.04227),
        (0.975, 120, 1.97993),
        (0.975, 100_000, 1.95999),
        (0.995, 1, 63.6567),
        (0.995, 3, 5.84091),
        (0.995, 8, 3.35539),
        (0.95, 4, 2.13185),
        (0.95, 20, 1.72472),
    ],
)
def test_t_quantile_agrees_with_the_printed_table(level: float, degrees: int, table: Any) -> None:
    assert t_quantile(level, degrees) == pytest.approx(table, rel=2e-6)


def test_quantile_interpolates_linearly_on_raw_values() -> None:
    assert quantile(np.arange(1.0, 102.0), 0.99) == pytest.approx(100.0)
    assert quantile(np.array([10.0, 20.0]), 0.5) == 15.0


@pytest.mark.parametrize(("level", "needed"), [(0.5, 2), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000)])
def test_a_percentile_is_unknown_until_the_sample_carries_it(level: float, needed: int) -> None:
    assert values_needed(level) == needed
    assert carries(needed, level)
    assert not carries(needed - 1, level)
    assert quantile(np.ones(needed - 1), level) is None
    assert quantile(np.ones(needed), level) == 1.0


# Ranks from the binomial tables: 10 and 100 values as in David and Nagaraja; a p99 has an upper bound from
# 0.99^n <= 0.025, that is 368 values.
@pytest.mark.parametrize(
    ("n", "level", "ranks"),
    [
        (5, 0.5, (None, None)),
        (6, 0.5, (1, 6)),
        (10, 0.5, (2, 9)),
        (100, 0.5, (40, 61)),
        (367, 0.99, (359, None)),
        (368, 0.99, (360, 368)),
    ],
)
def test_order_statistics_agree_with_the_binomial_tables(
    n: int, level: float, ranks: tuple[int | None, int | None]
) -> None:
    assert order_statistics(n, level) == ranks


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 300), level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_order_statistics_are_the_closest_pair_with_their_probability(n: int, level: float) -> None:
    pmf = [math.comb(n, k) * level**k * (1 - level) ** (n - k) for k in range(n + 1)]
    low, high = order_statistics(n, level)
    fits = [rank for rank in range(1, n + 1) if math.fsum(pmf[:rank]) <= 0.025]
    assert low == max(fits, default=None)
    fits = [rank for rank in range(1, n + 1) if math.fsum(pmf[rank:]) <= 0.025]
    assert high == min(fits, default=None)


def test_failures_count_as_infinite_values() -> None:
    ordered = np.arange(1.0, 100.0)
    assert quantile_with_failures(ordered, 0.5, 1) == 50.5
    assert quantile_with_failures(ordered, 0.99, 1) == math.inf
    assert quantile_with_failures(np.empty(0), 0.5, 10) == math.inf
    assert quantile_with_failures(ordered[:50], 0.99, 0) is None


@given(values=st.lists(st.floats(0, 1e6), min_size=2, max_size=200))
def test_without_failures_the_adjusted_quantile_is_the_quantile(values: Any) -> None:
    ordered = np.sort(values)
    assert quantile_with_failures(ordered, 0.5, 0) == quantile(ordered, 0.5)


def test_ranks_share_the_mean_where_values_are_equal() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_index_of_dispersion_tells_constant_from_poisson_from_bursts() -> None:
    rng = np.random.default_rng(3)
    end_ns = 100e9
    constant = np.arange(0, end_ns, end_ns / 5000)
    poisson = rng.uniform(0, end_ns, 5000)
    ten_at_once = np.repeat(rng.uniform(0, end_ns, 500), 10)
    assert index_of_dispersion(constant) == pytest.approx(0.0, abs=0.05)
    assert index_of_dispersion(poisson) == pytest.approx(1.0, abs=0.2)
    assert index_of_dispersion(ten_at_once) == pytest.approx(10.0, rel=0.3)
    assert index_of_dispersion(constant[:99]) is None


# Printed tables, and for no failures 1 - 0.025 ** (1 / n).
@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 20, 0, 0.16843), (1, 20, 0.00127, 0.24873), (5, 10, 0.18709, 0.81291), (10, 10, 0.69150, 1), (0, 0, 0, 1)],
)
def test_clopper_pearson_agrees_with_the_printed_tables(count: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(count, n) == pytest.approx((low, high), abs=2e-5)


@given(n=st.integers(1, 400), part=st.floats(0, 1), error=st.sampled_from([0.05, 0.01, 0.001]))
def test_clopper_pearson_is_where_the_binomial_tails_are_half_the_error(n: int, part: float, error: float) -> None:
    count = round(part * n)
    low, high = clopper_pearson(count, n, error)
    pmf = [[math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)] for p in (low, high)]
    assert count == 0 or math.fsum(pmf[0][count:]) == pytest.approx(error / 2, rel=1e-6)
    assert count == n or math.fsum(pmf[1][: count + 1]) == pytest.approx(error / 2, rel=1e-6)
    assert 0 <= low <= count / n <= high <= 1
    assert low < high


def test_the_interval_of_independent_values_is_students() -> None:
    assert mean_interval(independent([4.0, 1.0, 3.0, 2.0])) == pytest.approx(
        (2.5 - 3.182446 * math.sqrt(5 / 12), 2.5 + 3.182446 * math.sqrt(5 / 12)), rel=1e-5
    )
    assert mean_interval(independent([4.0])) == (None, None)
