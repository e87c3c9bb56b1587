"""Draws are tested by what they promise: that 95 of 100 of their intervals hold the truth."""

from typing import Any

import numpy as np
import pytest

from analysis.stats.uncertainty import interval, interval_draws, mean_draws, mean_of
from bench.types import UserError
from tests.speed.costs import PROCESSES, held


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- draws ------------------------------------------------------------------------------------------------------


def coverage(simulate: Any, truth: float, repeats: int = 300, draws: int = 600) -> float:
    """How often the central 95% of the draws hold the truth; `simulate` gives (values, clusters)."""
    generator = rng(17)
    hits = 0
    for _ in range(repeats):
        values, clusters = simulate(generator)
        low, high = np.quantile(mean_draws(values, generator, clusters, draws), [0.025, 0.975])
        hits += low <= truth <= high
    return hits / repeats


def test_the_interval_of_a_mean_cost_holds_the_true_one() -> None:
    seen = coverage(lambda generator: (generator.gamma(2.0, 0.5, 400), None), truth=1.0)
    assert 0.92 <= seen <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 300, 1000])
@pytest.mark.parametrize("process", PROCESSES)
def test_intervals_of_skewed_costs_hold_as_often_as_the_table_says(process: str, n: int) -> None:
    assert held(process, n, 2_000, np.random.default_rng(5)) >= (0.925 if process == "lognormal, sigma 1.5" else 0.94)


def test_the_central_95_percent_of_the_draws_are_the_interval() -> None:
    costs = rng().lognormal(0, 1, 200)
    drawn = np.quantile(mean_draws(costs, rng(), draws=200_000), [0.025, 0.975])
    assert drawn == pytest.approx(interval(mean_of(costs, np.ones(200))), rel=0.01)


@pytest.mark.parametrize("runs", [2, 5, 100])
def test_so_it_does_where_requests_of_a_run_are_alike_however_few_the_runs(runs: int) -> None:
    def simulate(generator: np.random.Generator) -> Any:
        sizes = generator.integers(20, 60, runs)
        shared = generator.normal(0, 0.3, runs)
        return np.repeat(1 + shared, sizes) + generator.normal(0, 0.5, sizes.sum()), np.repeat(np.arange(runs), sizes)

    assert 0.92 <= coverage(simulate, truth=1.0) <= 0.98


def test_draws_centre_on_the_mean_and_spread_as_its_standard_error() -> None:
    values = rng().lognormal(-5, 1, 20_000)
    drawn = mean_draws(values, rng())
    assert drawn.mean() == pytest.approx(values.mean(), rel=1e-3)
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(len(values)), rel=0.06)


def test_draws_are_the_same_for_the_same_seed_and_in_the_values_own_unit() -> None:
    values = rng().lognormal(-5, 1, 300)
    assert np.array_equal(mean_draws(values, rng(1)), mean_draws(values, rng(1)))
    assert mean_draws(values * 1_000, rng(1)) == pytest.approx(1_000 * mean_draws(values, rng(1)))


def test_draws_of_an_interval_hold_it_with_95_percent() -> None:
    drawn = interval_draws(1.8, 2.2, rng())
    assert np.quantile(drawn, [0.025, 0.5, 0.975]) == pytest.approx([1.8, 2.0, 2.2], abs=0.01)
    assert interval_draws(0.0, 0.1, rng()).min() > 0
    assert set(interval_draws(2.0, 2.0, rng())) == {2.0}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mean_draws([1.0], rng()), "uncertainty needs two independent measurements"),
        (lambda: mean_draws([1.0, 2.0], rng(), ["run 1", "run 1"]), "uncertainty needs two independent measurements"),
        (lambda: mean_draws([1.0, float("nan")], rng()), "what is unknown has no mean"),
        (lambda: interval_draws(2.2, 1.8, rng()), "--capacity-rps 2.2..1.8: expected an interval"),
        (lambda: interval_draws(-1, 1.8, rng()), "--capacity-rps -1..1.8: expected an interval"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_was_expected(make: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
