"""What measured values leave open of their mean: draws of it as it might be, from the values or from an interval."""

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.stats.distributions import CONFIDENCE, Floats, Ints, studentised, t_quantile
from bench.types import UserError

DRAWS: Final = 10_000
Z95: Final = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)

# Below so many values their skewness is not to be seen, and Student's interval is all there is.
FEWEST_FOR_SKEWNESS: Final = 10
# The skewness of few values is less than that of what they come from: it is taken as 1 + this/√n times as much.
SKEWNESS_HIDDEN: Final = 4.0
# Student's quantile for 96%: what is left over of 95% is the skewness that is still not seen.
LEVEL: Final = 0.98


class Mean(NamedTuple):
    """A mean, or ratio of sums, of n independent values: its standard error, and the skewness of the values."""

    value: float
    error: float
    skewness: float
    n: int


def mean_of(sums: Floats, units: Floats) -> Mean:
    """Σ sums / Σ units, by the residuals of the ratio."""
    n, value = len(sums), float(sums.sum() / units.sum())
    # The linearised error of a ratio of sums (Cochran, Sampling Techniques, 1977, chapter 6).
    residuals = sums - value * units
    squares = float(residuals @ residuals)
    skewness = float(np.mean(residuals**3)) / (squares / n) ** 1.5 if squares and n >= FEWEST_FOR_SKEWNESS else 0.0
    return Mean(value, math.sqrt(n / (n - 1) * squares) / float(units.sum()), skewness, n)


def interval(mean: Mean) -> tuple[float, float]:
    """An interval of a mean that is never negative, made to hold the true one in 95 of 100 though costs be skewed."""
    t = t_quantile(LEVEL, mean.n - 1)
    low, high = (max(0.0, end) for end in _at(mean, np.array([t, -t])).tolist())
    return low, high


def _at(mean: Mean, t: Floats) -> Floats:
    """The true mean at which Student's statistic, its skewness taken out, would have come out at t."""
    skewness = mean.skewness * (1 + SKEWNESS_HIDDEN / math.sqrt(mean.n))
    return mean.value - mean.error * studentised(t, skewness / (6 * math.sqrt(mean.n)))


def mean_draws(
    values: npt.ArrayLike, rng: np.random.Generator, clusters: npt.ArrayLike | None = None, draws: int = DRAWS
) -> Floats:
    """Draws of the mean of values that are never negative; their central 95% are `interval`.

    Values of one cluster depend on each other and count as one: those of a run, or of the same call repeated in
    several runs.
    """
    sums, counts = _clustered(np.asarray(values, np.float64), clusters)
    if len(sums) < 2:
        raise UserError("uncertainty needs two independent measurements or more: repeat the run with another --seed")
    mean = mean_of(sums, counts)
    # Draws have the width of `interval`: Student's at 96%, where 95% would not cover the skewness that is still hidden.
    wider = t_quantile(LEVEL, mean.n - 1) / t_quantile(1 - (1 - CONFIDENCE) / 2, mean.n - 1)
    return np.maximum(0.0, _at(mean, wider * rng.standard_t(mean.n - 1, draws)))


def _clustered(values: Floats, clusters: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """(sum, count) of each cluster."""
    if not np.all(np.isfinite(values)):
        raise UserError("what is unknown has no mean: leave out the requests or runs that lack a value")
    if clusters is None:
        return values, np.ones(len(values))
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    return _sums(member, values), _sums(member, np.ones(len(values)))


def _sums(member: Ints, values: Floats) -> Floats:
    return np.asarray(np.bincount(member, values), np.float64)


def interval_draws(low: float, high: float, rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Draws of a quantity of which only a 95% interval is known: normal about its middle, reflected at 0."""
    if not 0 <= low <= high < math.inf:
        raise UserError(f"--capacity-rps {low}..{high}: expected an interval, its lower end first, 0 or more")
    # Reflected and not cut off: a capacity has no probability of being just 0.
    return np.abs(rng.normal((low + high) / 2, (high - low) / (2 * Z95), draws))
