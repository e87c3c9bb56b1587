"""How far successive requests resemble each other, and as how many independent ones they therefore count.

Strategy: requests that wait in one queue are not independent, and an interval that takes them for that is too narrow:
at 80% load eighty of them tell as much about the mean as one. So the correlation is measured, along the order of
sending, and with an allowance for how badly a short run can know it.

A run that is short against its own correlation has a wide interval, not none: by chance it sees less correlation than
there is, and to give an interval where little was seen and none where much was would pick the very runs that are
wrong. The constants were chosen by simulation; docs/statistics.md has its table.
"""

import math
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import numpy as np

from analysis.stats.distributions import Floats, ranks

FEWEST: Final = 30
"""Fewer requests say nothing of their correlation."""
LEAST_WORTH: Final = 20
"""A run whose requests resemble each other, and that is worth fewer independent ones, has wide intervals."""

# The one-sided 95% point of the normal distribution.
_UPPER: Final = 1.645
# The allowance: a correlation time t is known to about 6 * sqrt(t / n) of itself, in both directions.
_ALLOWANCE: Final = 6.0
# From where on correlation is possible, and clear: lag one in standard errors, the correlation time as 1 + c / sqrt(n).
# Of independent runs 5 in 100 pass the first, 1 in 1,000 the second.
_POSSIBLE: Final = (2.0, 10.0)
_CLEAR: Final = (3.3, 22.0)
# What a run is taken to be worth where correlation is possible and the run is too short to tell.
_WORTH_IN_DOUBT: Final = 6.0
# What two metrics have in common counts from so many standard errors on, and then with so many more: a short run sees
# less of what wanders slowly, of a wait, and so less of it in common.
_SHARED: Final = 2.0
_MORE_SHARED: Final = 5.0

Level = Literal["none", "possible", "clear"]


class Dependence(NamedTuple):
    """The correlation of a series: `time` as measured, `alike` with the allowance, both at least 1.

    So many successive requests tell as much about a mean as an independent one.
    """

    n: int
    time: float
    alike: float
    level: Level

    @property
    def worth(self) -> float:
        """How many independent requests these are worth."""
        return self.n / self.alike

    @property
    def why_unknown(self) -> str | None:
        """Why there can be no interval; None where there can."""
        return f"an interval needs {FEWEST} requests with a value, there are {self.n:,}" if self.n < FEWEST else None

    @property
    def why_wide(self) -> str | None:
        """Why an interval will be wide; None where it will not."""
        if self.level == "none" or self.worth >= LEAST_WORTH:
            return None
        return (
            f"requests resemble those before them, over up to {self.alike:,.0f}: a narrow interval needs at least "
            f"{math.ceil(LEAST_WORTH * self.alike):,} of them, {self.n:,} have a value"
        )


class PairedSeries(NamedTuple):
    """Another series over the same requests, and its dependence: what is shared with it has its correlation."""

    values: Floats
    dependence: Dependence


def measure(series: Floats, beside: PairedSeries | None = None) -> Dependence:
    """The dependence of a series in the order of sending.

    Of values and of their ranks the longer time counts: ranks do not see how far outliers are, values little else.
    """
    n = len(series)
    if n < FEWEST or np.ptp(series) == 0:
        return Dependence(n, 1.0, 1.0, "none")
    ranked = ranks(series)
    (time, lag_one), (time_of_ranks, lag_one_of_ranks) = _correlation(series), _correlation(ranked)
    time = max(1.0, time, time_of_ranks)
    level = _level(n, time, lag_one_of_ranks)
    alike = time if level == "none" else time * (1 + _ALLOWANCE * math.sqrt(time / n)) ** 2
    # A short run sums few correlations. What its first one allows for, were it a first-order process, is the least.
    alike = max(alike, _first_order(max(lag_one, lag_one_of_ranks), n))
    # A wait wanders slowly, and noise hides that in what it is a part of (a TTFT): what is shared is as correlated.
    if beside is not None and beside.dependence.level != "none":
        shared = float(np.corrcoef(ranked, ranks(beside.values))[0, 1]) if np.ptp(beside.values) > 0 else 0.0
        if abs(shared) * math.sqrt(n) > _SHARED:
            part = min(1.0, abs(shared) + _MORE_SHARED / math.sqrt(n)) ** 2
            alike, level = max(alike, 1 + part * (beside.dependence.alike - 1)), beside.dependence.level
    if level == "possible" and n / alike < LEAST_WORTH:
        alike = max(alike, n / _WORTH_IN_DOUBT)
    return Dependence(n, time, alike, level)


def correlation_time(series: Floats) -> float:
    """The sum of all autocorrelations, 1 for independent values: the initial monotone sequence estimator.

    Geyer, Practical Markov chain Monte Carlo, Statistical Science 7 (1992), section 3.3.
    """
    return _correlation(series)[0] if np.ptp(series) > 0 else 1.0


def _correlation(series: Floats) -> tuple[float, float]:
    """The correlation time and the correlation at lag one of a series that is not constant."""
    n = len(series)
    centred = series - series.mean()
    # Twice the length, so that the end does not wrap round to the beginning.
    size = next(size for size in _sizes(n) if size >= 2 * n)
    # Autocovariance through the power spectrum (Wiener and Khinchin): n log n instead of n squared.
    spectrum = np.fft.rfft(centred, size)
    covariance = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[: n - n % 2]
    if covariance[0] <= 0:
        return 1.0, 0.0
    correlation = covariance / covariance[0]
    pairs = correlation.reshape(-1, 2).sum(axis=1)
    # Sums of neighbouring correlations of a reversible chain are positive and fall: where they cease to, it is noise.
    negative = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    # Both sides of lag 0, which the first pair holds and is counted once: 1 + 2 * (all lags from one on).
    return float(2 * pairs.sum() - 1), float(correlation[1])


def _sizes(n: int) -> Iterator[int]:
    """Lengths that transform fast, ascending."""
    power = 1 << (n - 1).bit_length()
    return (power * part // 8 for part in (8, 9, 10, 12, 15, 16, 18, 20, 24, 32))


def _level(n: int, time: float, lag_one: float) -> Level:
    def passes(limits: tuple[float, float]) -> bool:
        return lag_one * math.sqrt(n) > limits[0] or time > 1 + limits[1] / math.sqrt(n)

    return "clear" if passes(_CLEAR) else "possible" if passes(_POSSIBLE) else "none"


def _first_order(lag_one: float, n: int) -> float:
    """The correlation time of a first-order process with as large a correlation at lag one as the run allows for."""
    most = min(0.999, max(0.0, lag_one + _UPPER * math.sqrt(max(0.0, 1 - lag_one**2) / n)))
    return (1 + most) / (1 - most)
