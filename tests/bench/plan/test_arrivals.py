import functools
import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan.arrivals import due_ns, due_ns_before, process
from bench.types import Arrivals, UserError

GOLDEN = [32099993, 60322907, 62880386, 62965426]
GOLDEN_HASH = "700e6d513ca02760"
RATES = st.floats(0.01, 1e5)
PROCESS = st.sampled_from(["constant", "poisson", "gamma:0.3", "gamma:2.5", "gamma:20"])


def index_of_dispersion(due: np.ndarray, rate_per_s: float, arrivals_per_bin: float = 5) -> float:
    """Variance over mean of the arrivals in bins of equal time."""
    bins = np.bincount((due * (rate_per_s / arrivals_per_bin / 1e9)).astype(int))[:-1]
    return float(bins.var() / bins.mean())


def test_constant_arrivals_are_evenly_spaced_and_start_at_zero() -> None:
    assert due_ns("constant", 1, 4.0, 4).tolist() == [0, 250_000_000, 500_000_000, 750_000_000]


@pytest.mark.parametrize("rate_per_s", [3.0, 7.7, 333.3, 20_000.0])
def test_a_constant_rate_has_not_drifted_by_a_nanosecond_after_an_hour(rate_per_s: float) -> None:
    count = min(int(rate_per_s * 3600), 1_000_000)
    assert abs(int(due_ns("constant", 1, rate_per_s, count)[-1]) - (count - 1) * 1e9 / rate_per_s) <= 1


def test_poisson_arrivals_keep_the_rate_and_have_exponential_gaps() -> None:
    due = due_ns("poisson", 7, 50.0, 200_000)
    gaps_s = np.diff(due) / 1e9
    assert due[-1] / 1e9 == pytest.approx(200_000 / 50.0, rel=0.01)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1, abs=0.02)
    assert np.median(gaps_s) == pytest.approx(np.log(2) / 50.0, rel=0.02)


@pytest.mark.parametrize(("arrivals", "dispersion"), [("poisson", 1.0), ("constant", 0.0)])
@pytest.mark.parametrize("workers", [1, 2, 10])
def test_the_arrivals_of_all_workers_together_are_the_process(
    arrivals: Arrivals, dispersion: float, workers: int
) -> None:
    shares = [due_ns(arrivals, 3, 100.0, 50_000)[worker::workers] for worker in range(workers)]
    merged = np.sort(np.concatenate(shares))
    assert index_of_dispersion(merged, 100.0) == pytest.approx(dispersion, abs=0.05)


@pytest.mark.parametrize("cv", [0.05, 0.5, 0.99, 1.01, 2.0, 6.0])
def test_gamma_gaps_have_the_spread_that_was_asked_for_at_the_rate_that_was(cv: float) -> None:
    due = due_ns(f"gamma:{cv}", 11, 50.0, 200_000)
    gaps_s = np.diff(due) / 1e9
    assert gaps_s.mean() == pytest.approx(1 / 50.0, rel=0.04 * max(cv, 0.5))
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.04)


def test_gamma_gaps_are_distributed_as_numpy_s() -> None:
    for cv in (0.4, 0.8, 1.5):  # above, many gaps are shorter than a nanosecond
        ours = np.sort(np.diff(due_ns(f"gamma:{cv}", 5, 1.0, 20_001)) / 1e9)
        shape = 1 / cv**2
        theirs = np.sort(np.random.default_rng(1).gamma(shape, 1 / shape, 100_000))
        distance = np.abs(np.searchsorted(theirs, ours) / len(theirs) - np.arange(1, 20_001) / 20_000).max()
        assert distance < 2.2 * np.sqrt(1 / 20_000 + 1 / 100_000), cv  # Kolmogorov and Smirnov, one in ten thousand


@functools.cache
def long_due_ns(cv: float) -> Any:
    """What every worker computes."""
    return due_ns(f"gamma:{cv}", 3, 100.0, 400_000)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("cv", [0.5, 2.0])
def test_bursts_are_those_of_the_process_for_any_number_of_workers(cv: float, workers: int) -> None:
    due = long_due_ns(cv)
    shares = [due[worker::workers] for worker in range(workers)]
    merged = np.sort(np.concatenate(shares))
    assert index_of_dispersion(merged, 100.0, arrivals_per_bin=200) == pytest.approx(cv**2, rel=0.15)


def test_gamma_of_spread_one_is_poisson() -> None:
    assert (due_ns("gamma:1", 9, 3.0, 500) == due_ns("poisson", 9, 3.0, 500)).all()


@pytest.mark.parametrize(
    "name", ["gamma", "gamma:", "gamma:0", "gamma:-1", "gamma:nan", "gamma:1e9", "gama:2", "", "x"]
)
def test_a_process_that_is_not_known_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match="--arrivals") as caught:
        process(name)
    assert "gamma:" in str(caught.value) and "\n" not in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(PROCESS, st.integers(0, 2**63), RATES, st.integers(1, 500), st.integers(1, 500))
def test_due_times_ascend_and_a_longer_schedule_begins_with_the_shorter(
    arrivals: Arrivals, seed: int, rate_per_s: float, count: int, more: int
) -> None:
    long = due_ns(arrivals, seed, rate_per_s, count + more)
    assert long[0] >= 0
    assert (np.diff(long) >= 0).all()
    assert (due_ns(arrivals, seed, rate_per_s, count) == long[:count]).all()


@settings(deadline=None, max_examples=50)
@given(PROCESS, st.integers(0, 2**63), RATES, st.floats(0.0, 50.0))
def test_a_schedule_by_time_has_all_arrivals_before_the_end_and_no_other(
    arrivals: Arrivals, seed: int, rate_per_s: float, expected: float
) -> None:
    end_s = expected / rate_per_s
    due = due_ns_before(arrivals, seed, rate_per_s, end_s)
    following = due_ns(arrivals, seed, rate_per_s, len(due) + 1)
    assert (following[:-1] == due).all()
    assert (due < end_s * 1e9).all()
    assert following[-1] >= end_s * 1e9


def test_poisson_due_times_are_the_same_on_every_machine() -> None:
    due = due_ns("poisson", 7, 33.3, 200_000)
    assert due[:4].tolist() == GOLDEN
    assert hashlib.sha256(due.astype("<i8").tobytes()).hexdigest()[:16] == GOLDEN_HASH


def test_seeds_give_different_poisson_arrivals() -> None:
    assert due_ns("poisson", 1, 10.0, 5).tolist() != due_ns("poisson", 2, 10.0, 5).tolist()
