"""Quantiles, and the distributions that intervals are made of. analysis/stats/describe.py makes them.

Values of one request (its token gaps) depend on each other, so a `Sample` remembers which request each value came
from. A bound is None where the sample cannot carry it.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = tuple[float | None, float | None]

LEVELS = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
CONFIDENCE = 0.95
UNKNOWN: Interval = (None, None)
ARRIVALS_PER_BIN = 10

V = TypeVar("V")


def all_known(values: Iterable[V | None]) -> list[V] | None:
    """The values, None where one of them is unknown: a sum or a maximum of the others would be taken for the whole."""
    given = list(values)
    known = [value for value in given if value is not None]
    return known if len(known) == len(given) else None


class Sample(NamedTuple):
    """Values by request: request i owns `values[offsets[i]:offsets[i + 1]]`, which may be none at all."""

    values: Floats
    offsets: Ints


class Ascending(Protocol):
    """Values ascending: an array of them, or what finds them when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rank: int, /) -> Any: ...


def carries(n: int, level: float) -> bool:
    """Whether n values reach beyond the quantile: a p99 wants 100, a median 2."""
    # 10 * (1 - 0.9) is 0.9999999999999998 in float64, and ten values do carry a p90.
    return n * (1 - level) >= 1 - 1e-9


def values_needed(level: float) -> int:
    """The smallest sample that carries this quantile."""
    return math.ceil(1 / (1 - level) - 1e-6)


def quantile(ordered: Ascending, level: float) -> float | None:
    """The quantile of ascending values by linear interpolation (Hyndman and Fan's type 7), None if not carried."""
    return value_at(ordered, level) if carries(len(ordered), level) else None


def quantile_with_failures(ordered: Ascending, level: float, failures: int) -> float | None:
    """The quantile when each failure counts as an infinite value; `inf` where it falls among them."""
    # They did not answer, so they are slower than every answer: to leave them out would reward a server that fails.
    n = len(ordered) + failures
    if not carries(n, level):
        return None
    position = level * (n - 1)
    if position > len(ordered) - 1:
        return math.inf
    return at_position(ordered, position)


def order_statistics(n: int, level: float) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the two order statistics that enclose the quantile of n independent values, each side 97.5%.

    The number of values below the quantile is binomial(n, level) whatever the distribution
    (David and Nagaraja, Order Statistics, 7.1).
    """
    # By the ratio of each term to the one before: binomial coefficients of such n are beyond float64.
    # Beyond ten standard deviations the binomial has nothing left that float64 could add to a sum of 1.
    spread = 10 * math.sqrt(n * level * (1 - level)) + 20
    first = max(0, math.floor(n * level - spread))
    k = np.arange(first, min(n, math.ceil(n * level + spread)) + 1)
    log_ratio = np.log((n - k[:-1]) / (k[:-1] + 1)) + math.log(level / (1 - level))
    log_pmf = np.concatenate([[0.0], np.cumsum(log_ratio)])
    pmf = np.exp(log_pmf - log_pmf.max())
    below = np.cumsum(pmf) / pmf.sum()
    tail = (1 - CONFIDENCE) / 2
    low = first + int(np.searchsorted(below, tail, side="right"))
    high = first + int(np.searchsorted(below, 1 - tail, side="left")) + 1
    return (low if low >= 1 else None), (high if high <= n else None)


def mean_interval(sample: Sample) -> Interval:
    """Student's interval of the mean of independent values, one each, such as those of runs."""
    values, n = sample.values, len(sample.values)
    if n < 2:
        return UNKNOWN
    mean = float(values.mean())
    margin = t_quantile(1 - (1 - CONFIDENCE) / 2, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return mean - margin, mean + margin


@lru_cache(4096)
def clopper_pearson(count: float, n: float, error: float = 1 - CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share of which `count` of `n` were seen, each end wrong in half of `error`.

    Never of no width: none of n seen may be up to 3.7 / n at 95%. Both may be fractions, of requests that count for
    less than one. Clopper and Pearson, Biometrika 26 (1934).
    """
    if n <= 0:
        return 0.0, 1.0
    low = _beta_quantile(error / 2, count, n - count + 1) if count > 0 else 0.0
    high = _beta_quantile(1 - error / 2, count + 1, n - count) if count < n else 1.0
    return low, high


def _beta_quantile(level: float, a: float, b: float) -> float:
    """By Newton's steps, and halving where one would leave what is known to hold the quantile."""
    # Newton alone leaves [0, 1] where the density is flat; halving alone would take fifty evaluations of `_beta`.
    low, high, x = 0.0, 1.0, a / (a + b)
    log_scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(100):
        off = _beta(x, a, b) - level
        low, high = (x, high) if off < 0 else (low, x)
        density = math.exp(log_scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        step = x - off / density if density > 0 else low
        following = step if low < step < high else (low + high) / 2
        if abs(following - x) <= 1e-14 * x or not low < following < high:
            return following
        x = following
    return x


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22, Lentz's method)."""
    # The fraction converges fast below the mean; above it the other tail is computed.
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    if x <= 0:
        return 0.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    fraction, c, d = 1.0, 1.0, 0.0
    for i in range(500):
        m = i // 2
        if i == 0:
            step = 1.0
        elif i % 2 == 0:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        # Lentz: a partial denominator of 0 becomes a tiny number, which the next step divides out again.
        d = 1 / (1 + step * d or 1e-300)
        c = 1 + step / c or 1e-300
        fraction *= c * d
        if abs(1 - c * d) < 1e-12:
            break
    return front * (fraction - 1)


def value_at(ordered: Ascending, level: float) -> float:
    """The value at a share of the way from the least to the greatest, by linear interpolation."""
    return at_position(ordered, level * (len(ordered) - 1))


def at_position(ordered: Ascending, position: float) -> float:
    """The value at a place, from 0, between two of them by linear interpolation."""
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (position - below) * (ordered[above] - ordered[below]))


@lru_cache(4096)
def t_quantile(level: float, degrees: int) -> float:
    """Student's t quantile for a level above one half: n / (n + t²) of n degrees is beta(n/2, 1/2) (DLMF 8.17.20)."""
    x = _beta_quantile(2 * (1 - level), degrees / 2, 0.5)
    return math.sqrt(degrees * (1 - x) / x)


def two_sided_p(t: float, degrees: int) -> float:
    """The probability that Student's t is at least so far from 0: the beta tail that `t_quantile` turns over."""
    return _beta(degrees / (degrees + t**2), degrees / 2, 0.5)


def studentised(t: Floats, skew: float) -> Floats:
    """How many standard errors below its estimate a mean lies where Student's statistic without its skewness is t.

    `skew` is the values' skewness / (6 sqrt n). Hall makes the statistic nearly Student's by a cubic in it, which this
    is the inverse of: On the removal of skewness by transformation, JRSS B 54 (1992), section 3.
    """
    # Without skewness the cubic is the line through it, and its inverse would be 0 / 0.
    return t if abs(skew) < 1e-9 else np.asarray((np.cbrt(1 + 6 * skew * (t - skew)) - 1) / (2 * skew), np.float64)


def ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place], np.float64)


def index_of_dispersion(t_ns: Floats) -> float | None:
    """Variance over mean of the arrivals per bin of about ten: 0 for constant arrivals, 1 for Poisson, more if bursty.

    None with fewer than ten bins.
    """
    bins = len(t_ns) // ARRIVALS_PER_BIN
    if bins < 10 or np.ptp(t_ns) == 0:
        return None
    # Bins by number of arrivals, not of a fixed length: so the index of a given process is the same at every rate.
    counts, _ = np.histogram(t_ns, bins)
    return float(counts.var(ddof=1) / counts.mean())
