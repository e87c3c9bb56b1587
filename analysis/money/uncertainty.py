"""What measured values leave open of their mean: draws of it as it might be, from the values or from an interval."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.money.numbers import at_least_zero
from analysis.stats import CONFIDENCE, Floats, Ints
from bench.types import UserError

DRAWS: Final = 10_000
Z95: Final = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)

# Up to here Student's t stands in for resampling, beyond it they agree.
FEW: Final = 100

# Independent values are resampled in so many random groups: the spread of their mean is then known to 2%.
MOST_GROUPS: Final = 2_000
INDICES_AT_ONCE: Final = 2_000_000


def mean_draws(
    values: npt.ArrayLike, rng: np.random.Generator, clusters: npt.ArrayLike | None = None, draws: int = DRAWS
) -> Floats:
    """Draws of the mean of values that are never negative: 95 of 100 of their central 95% intervals hold the true one.

    Values of one cluster depend on each other and are drawn together: those of a run, or of the same call repeated in
    several runs. Many clusters are put into random groups first, so that the work does not grow with them.
    """
    sums, counts = _clustered(np.asarray(values, np.float64), clusters)
    if len(sums) < 2:
        raise UserError("uncertainty needs two independent measurements or more: repeat the run with another --seed")
    if len(sums) > MOST_GROUPS:
        group = rng.permutation(len(sums)) % MOST_GROUPS
        sums, counts = _sums(group, sums), _sums(group, counts)
    drawn = _student(sums, counts, rng, draws) if len(sums) <= FEW else _resampled(sums, counts, rng, draws)
    return np.maximum(0.0, drawn)


def _student(sums: Floats, counts: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """The mean's own error, Student's t: what a handful of clusters can show by resampling is too narrow."""
    n, mean = len(sums), sums.sum() / counts.sum()
    residuals = sums - mean * counts
    error = math.sqrt(n / (n - 1) * float(residuals @ residuals)) / counts.sum()
    return np.asarray(mean + error * rng.standard_t(n - 1, draws), np.float64)


def _resampled(sums: Floats, counts: Floats, rng: np.random.Generator, draws: int) -> Floats:
    n, means = len(sums), np.empty(draws)
    step = max(1, INDICES_AT_ONCE // n)
    for start in range(0, draws, step):
        drawn = rng.integers(0, n, (min(step, draws - start), n), dtype=np.int32)
        means[start : start + step] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _clustered(values: Floats, clusters: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """(sum, count) of each cluster."""
    if not np.all(np.isfinite(values)):
        raise UserError("what is unknown cannot be resampled: leave out the requests or runs that lack a value")
    if clusters is None:
        return values, np.ones(len(values))
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    return _sums(member, values), _sums(member, np.ones(len(values)))


def _sums(member: Ints, values: Floats) -> Floats:
    return np.asarray(np.bincount(member, values), np.float64)


def interval_draws(low: float, high: float, rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Draws of a quantity of which only a 95% interval is known: normal about its middle, reflected at 0."""
    at_least_zero("--capacity-rps: lower end", low)
    if not low <= high < math.inf:
        raise UserError(f"--capacity-rps {low}..{high}: expected an interval, its lower end first")
    return np.abs(rng.normal((low + high) / 2, (high - low) / (2 * Z95), draws))
