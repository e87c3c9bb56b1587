"""Quantiles and means with intervals that assume no distribution, for independent values and for values in clusters.

Values of one request (its token gaps) depend on each other, so a `Sample` remembers which request each value came
from, and the intervals count requests, taken as independent, where one has several values. An interval's bound is
None where the sample cannot carry it.
"""

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Interval = tuple[float | None, float | None]

LEVELS = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
CONFIDENCE = 0.95
UNKNOWN: Interval = (None, None)
ARRIVALS_PER_BIN = 10


class Sample(NamedTuple):
    """Values by request: request i owns `values[offsets[i]:offsets[i + 1]]`, which may be none at all."""

    values: Floats
    offsets: Ints


def describe(sample: Sample) -> dict[str, Any]:
    """Count, moments, percentiles and 95% intervals of a sample, as summary.json holds them; unknowns are None."""
    values, n = sample.values, len(sample.values)
    ordered = np.sort(values)
    mean = float(values.mean()) if n else None
    return {
        "count": n,
        "mean": mean,
        "std": float(values.std(ddof=1)) if n > 1 else None,
        "min": float(ordered[0]) if n else None,
        "max": float(ordered[-1]) if n else None,
        **{name: quantile(ordered, level) for name, level in LEVELS.items()},
        "ci95": {
            "mean": list(mean_interval(sample)),
            "p50": list(quantile_interval(sample, ordered, LEVELS["p50"])),
            "p99": list(quantile_interval(sample, ordered, LEVELS["p99"])),
        },
    }


def carries(n: int, level: float) -> bool:
    """Whether n values reach beyond the quantile: a p99 wants 100, a median 2."""
    return n * (1 - level) >= 1 - 1e-9


def values_needed(level: float) -> int:
    """The smallest sample that carries this quantile."""
    return math.ceil(1 / (1 - level) - 1e-6)


def quantile(ordered: Floats, level: float) -> float | None:
    """The quantile of ascending values by linear interpolation (Hyndman and Fan's type 7), None if not carried."""
    return _at_level(ordered, level) if carries(len(ordered), level) else None


def quantile_with_failures(ordered: Floats, level: float, failures: int) -> float | None:
    """The quantile when each failure counts as an infinite value; `inf` where it falls among them."""
    n = len(ordered) + failures
    if not carries(n, level):
        return None
    position = level * (n - 1)
    if position > len(ordered) - 1:
        return math.inf
    return _at_position(ordered, position)


def quantile_interval(sample: Sample, ordered: Floats, level: float) -> Interval:
    """An interval that holds the true quantile with 95% probability; `ordered` is the sample's values, ascending."""
    if not carries(len(ordered), level):
        return UNKNOWN
    sizes = _sizes(sample)
    if sizes.max() > 1:
        return _woodruff_interval(sample, sizes, ordered, level)
    low, high = order_statistics(len(ordered), level)
    return (
        float(ordered[low - 1]) if low is not None else None,
        float(ordered[high - 1]) if high is not None else None,
    )


def order_statistics(n: int, level: float) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the two order statistics that enclose the quantile of n independent values, each side 97.5%.

    The number of values below the quantile is binomial(n, level) whatever the distribution
    (David and Nagaraja, Order Statistics, 7.1).
    """
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
    """Student's interval of the mean, over requests where a request has several values (cluster-robust variance)."""
    n = len(sample.values)
    sizes = _sizes(sample)
    if len(sizes) < 2:
        return UNKNOWN
    mean = float(sample.values.mean())
    sums = np.add.reduceat(sample.values, _starts(sample))
    margin = _t95(len(sizes)) * _cluster_error(sums - mean * sizes, n)
    return mean - margin, mean + margin


def _woodruff_interval(sample: Sample, sizes: Ints, ordered: Floats, level: float) -> Interval:
    """Woodruff's interval: bounds on the share of values below the quantile, carried back to values.

    The bounds on the share are those of as many independent values as the clusters are worth. Woodruff, Confidence
    intervals for medians and other position measures, JASA 47 (1952); Korn and Graubard, Confidence intervals for
    proportions with small expected number of positive counts, Survey Methodology 24 (1998).
    """
    if len(sizes) < 2:
        return UNKNOWN
    below = sample.values <= _at_level(ordered, level)
    counts = np.add.reduceat(below, _starts(sample), dtype=np.int64)
    share = counts.sum() / len(ordered)
    error = _cluster_error(counts - share * sizes, len(ordered)) * _t95(len(sizes)) / _t95(len(ordered))
    worth = min(len(ordered), int(share * (1 - share) / error**2)) if error else len(ordered)
    if worth < 2:
        return UNKNOWN
    low, high = order_statistics(worth, level)
    return (
        _at_level(ordered, (low - 1) / (worth - 1)) if low is not None else None,
        _at_level(ordered, (high - 1) / (worth - 1)) if high is not None else None,
    )


def _cluster_error(residuals: Floats, n: int) -> float:
    """Standard error of a mean of n values from each cluster's summed residual (ratio estimator)."""
    clusters = len(residuals)
    return math.sqrt(clusters / (clusters - 1) * float(residuals @ residuals)) / n


def _sizes(sample: Sample) -> Ints:
    sizes = np.diff(sample.offsets)
    return sizes[sizes > 0]


def _starts(sample: Sample) -> Ints:
    return sample.offsets[:-1][np.diff(sample.offsets) > 0]


def _at_level(ordered: Floats, level: float) -> float:
    return _at_position(ordered, level * (len(ordered) - 1))


def _at_position(ordered: Floats, position: float) -> float:
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (position - below) * (ordered[above] - ordered[below]))


def _t95(n: int) -> float:
    return t_quantile(1 - (1 - CONFIDENCE) / 2, n - 1)


def t_quantile(level: float, degrees: int) -> float:
    """Student's t quantile for a level above one half, to five significant digits.

    Hill, Algorithm 396: Student's t-quantiles, CACM 13 (1970).
    """
    p, n = 2 * (1 - level), degrees
    if n == 1:
        return 1 / math.tan(p * math.pi / 2)
    if n == 2:
        return math.sqrt(2 / (p * (2 - p)) - 2)
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * p) ** (2 / n)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(p / 2)
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * x**2 + 6.3) * x**2 + 36) * x**2 + 94.5) / c - x**2 - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        z = 1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)
        y = (z * y - 1) * (n + 1) / (n + 2) + 1 / y
    return math.sqrt(n * y)


def index_of_dispersion(t_ns: Floats) -> float | None:
    """Variance over mean of the arrivals per bin of about ten: 0 for constant arrivals, 1 for Poisson, more if bursty.

    None with fewer than ten bins.
    """
    bins = len(t_ns) // ARRIVALS_PER_BIN
    if bins < 10 or np.ptp(t_ns) == 0:
        return None
    counts, _ = np.histogram(t_ns, bins)
    return float(counts.var(ddof=1) / counts.mean())
