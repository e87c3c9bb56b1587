"""What summary.json says of a metric or a rate: moments, percentiles, and 95% intervals that know of correlation.

Means: Student's t on batches of successive requests, with Hall's correction for skewness. Percentiles: the order
statistics that enclose them, or Woodruff's bounds, for as many independent requests as these are worth. Shares:
Clopper and Pearson. What fewer than 30 requests cannot carry is None; `why` says that, or why an interval is wide.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis.stats.correlation import FEWEST, Dependence, PairedSeries, correlation_time, measure
from analysis.stats.distributions import (
    LEVELS,
    UNKNOWN,
    Floats,
    Interval,
    Ints,
    Sample,
    at_position,
    carries,
    clopper_pearson,
    order_statistics,
    quantile,
    studentised,
    t_quantile,
    value_at,
)
from analysis.stats.pool import Pool, pool_of

# The skewness that a sample shows is smaller than that of what it comes from.
SKEWNESS: Final = 1.5
# A batch of twice the correlation time leaves little between one and the next.
TIMES_A_BATCH: Final = 2
CELLS: Final = 200
"""A window is cut into at most so many equal parts, to see how a rate scatters."""
_T: Final = 0.975
_WIDE_RATE: Final = "what was served in one part of the window resembles the part before it: a longer run narrows it"


def residuals(sums: Floats, sizes: Ints) -> Floats:
    """What each request adds to the error of the mean of all values, on the scale of a value.

    Of requests that have any, from the sum and the number of the values of each.
    """
    # A mean of all values is a ratio of two sums over requests, linearised (Cochran, Sampling Techniques, ch. 6).
    n = sizes.sum()
    found: Floats = (sums - sums.sum() / n * sizes) * (len(sizes) / n)
    return found


def dependence(sample: Sample | Pool, beside: PairedSeries | None = None) -> Dependence:
    """How far the successive requests of a sample resemble each other; `beside` has a value for each request."""
    pool = pool_of(sample)
    if not pool.n:
        return Dependence(0, 1.0, 1.0, "none")
    if beside is not None:
        beside = PairedSeries(beside.values[pool.has_some], beside.dependence)
    return measure(residuals(pool.sums, pool.sizes), beside)


def describe(sample: Sample | Pool, found: Dependence | None = None) -> dict[str, Any]:
    """Count, moments, percentiles and 95% intervals of a sample by request in the order of sending.

    As summary.json holds them, unknowns None. `worth` is as how many independent requests these count, `why` says why
    there is no interval, or a wide one.
    """
    pool = pool_of(sample)
    n = pool.n
    found = found or dependence(pool)
    unknown = found.why_unknown
    of_mean = UNKNOWN if unknown else batch_interval(pool, found)
    pool.ordered.fetch(level * (n - 1) for level in LEVELS.values())
    intervals = dict.fromkeys(LEVELS, UNKNOWN) if unknown else quantile_intervals(pool, LEVELS, found, of_mean)
    return {
        "count": n,
        "mean": pool.mean if n else None,
        "std": math.sqrt(pool.squares / (n - 1)) if n > 1 else None,
        "min": pool.low if n else None,
        "max": pool.high if n else None,
        **{name: quantile(pool.ordered, level) for name, level in LEVELS.items()},
        "ci95": {"mean": of_mean, **intervals},
        "worth": None if unknown else found.worth,
        "why": unknown or found.why_wide,
    }


def batch_interval(sample: Sample | Pool, found: Dependence) -> tuple[float, float]:
    """Student's interval of the mean from batches, corrected for skewness.

    The spread of batches and the correlation that was measured each give an error, of which the larger counts.
    """
    pool = pool_of(sample)
    errors, n = residuals(pool.sums, pool.sizes), found.n
    length = max(1, round(TIMES_A_BATCH * found.time)) if found.level != "none" else 1
    # Of independent requests each is a batch of its own: fewer would give away degrees of freedom.
    batches = max(2, n // length)
    sums = np.add.reduceat(errors, np.arange(batches) * n // batches) * (batches / n)
    variance = max(float(sums @ sums) / (batches - 1) / batches, float(errors @ errors) / (n - 1) / found.worth)
    if variance == 0:
        return pool.mean, pool.mean
    skewness = SKEWNESS * float((sums**3).mean() / (sums**2).mean() ** 1.5)
    # No more degrees of freedom than there are independent requests, however many batches they were cut into.
    t = t_quantile(_T, max(1, int(min(batches - 1, found.worth))))
    ends = studentised(np.array([t, -t]), skewness / (6 * math.sqrt(batches)))
    low, high = (pool.mean - math.sqrt(variance) * ends).tolist()
    # No metric is ever negative, so no mean of it is.
    return (max(0.0, low) if pool.low >= 0 else low), high


def quantile_intervals(
    sample: Sample | Pool, levels: Mapping[str, float], found: Dependence, of_mean: Interval = UNKNOWN
) -> dict[str, Interval]:
    """The intervals of percentiles by their names; `of_mean` is that of the values' mean.

    Bounds on the share of values below each, those of as many independent values as there are worth of, carried back to
    values. Woodruff, Confidence intervals for medians and other position measures, JASA 47 (1952); Korn and Graubard,
    Confidence intervals for proportions with small expected number of positive counts, Survey Methodology 24 (1998).
    Where the values reach to neither bound, what the mean allows for.
    """
    pool = pool_of(sample)
    n, ordered = pool.n, pool.ordered
    carried = {name: level for name, level in levels.items() if carries(n, level)}
    # The share below a percentile has its own correlation: what makes the tail may come in bouts and the bulk not.
    below = pool.upto([value_at(ordered, level) for level in carried.values()])
    ends = {
        name: _ends(n, level, _worth_below(counts, pool.sizes, found))
        for (name, level), counts in zip(carried.items(), below, strict=True)
    }
    ordered.fetch(end for both in ends.values() for end in both if end is not None)
    intervals = dict.fromkeys(levels, UNKNOWN)
    for name, level in carried.items():
        low, high = (None if end is None else at_position(ordered, end) for end in ends[name])
        if low is None and high is None and of_mean[1] is not None and pool.low >= 0:
            # Markov: of what is never negative no more than a share of 1 - level lies beyond mean / (1 - level).
            high = max(of_mean[1] / (1 - level), value_at(ordered, level))
        intervals[name] = low, high
    return intervals


def _ends(n: int, level: float, worth: float) -> tuple[float | None, float | None]:
    """Where in n ascending values, from 0, the bounds of a percentile are; None where these reach to none."""
    # Independent values have exact bounds, whatever the distribution; Woodruff's are those of shares, and approximate.
    if worth >= n:
        low, high = order_statistics(n, level)
        return None if low is None else low - 1, None if high is None else high - 1
    # The value that a share of all values is below has the rank share * (n + 1), and those have ranks 1 to n.
    low_end, high_end = (share * (n + 1) - 1 for share in clopper_pearson(level * worth, worth))
    return low_end if 0 <= low_end <= n - 1 else None, high_end if 0 <= high_end <= n - 1 else None


def _worth_below(counts: Floats, sizes: Ints, found: Dependence) -> float:
    """As how many independent values these count for the share of them that `counts` of each request are below."""
    n, errors = int(sizes.sum()), residuals(counts, sizes)
    share = float(counts.sum()) / n
    alike = found.alike if found.level == "none" else max(found.alike, correlation_time(errors))
    # By how much a request with several values, or one like the one before, tells less than as many independent ones.
    spread = float(errors @ errors) / found.n / found.n * alike
    worth = share * (1 - share) / spread if spread > 0 else n / alike
    if worth >= n:
        return worth
    # Korn and Graubard: fewer by the squared ratio of t quantiles, because the spread is itself only estimated.
    batches = int(found.n / (TIMES_A_BATCH * alike)) if found.level == "clear" else found.n
    return worth * float((t_quantile(_T, 100_000) / t_quantile(_T, max(1, batches - 1))) ** 2)


# --- rates and shares -------------------------------------------------------------------------------------------


def cells_of(requests: int) -> int:
    """Into how many equal parts a window is cut for `rate_interval`, where so many requests came in it."""
    return max(1, min(CELLS, requests))


def rate_interval(units: Floats, window_ns: tuple[int, int], requests: int) -> tuple[Interval, str | None]:
    """The interval of units per second in the long run, and why there is none, or a wide one.

    Each part of the window brought some units, so many requests in all. The parts, which are equal, are to a rate what
    successive requests are to a mean.
    """
    if requests < FEWEST:
        return UNKNOWN, f"an interval needs {FEWEST} requests in the window, there were {requests}"
    cells = len(units)
    # Parts that brought as much as each other are to be ties, in whatever order their shares were added up.
    units = np.round(units, 9)
    sample = Sample(units, np.arange(cells + 1))
    found = dependence(sample)
    low, high = batch_interval(sample, found)
    per_s = cells * 1e9 / (window_ns[1] - window_ns[0])
    return (low * per_s, high * per_s), _WIDE_RATE if found.why_wide else None


def share_interval(flags: npt.NDArray[np.bool_], waits: Dependence | None = None) -> tuple[Interval, str | None]:
    """The interval of the share of requests that are flagged, in the order of the plan, and why none, or a wide one.

    `waits` is the dependence of what decides the flags, where that is known: where all are alike they show none.
    """
    if not len(flags):
        return UNKNOWN, "no request was due"
    found = measure(flags.astype(np.float64))
    if waits is not None and waits.level != "none" and waits.alike > found.alike:
        found = found._replace(alike=waits.alike, level=waits.level)
    # Of as many independent requests as these are worth, the same share: both counts may be fractions.
    return clopper_pearson(float(flags.mean()) * found.worth, found.worth), found.why_wide
