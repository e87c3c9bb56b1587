"""When each call of an open loop is due: a pure function of (arrival process, seed, rate).

    constant   |    |    |    |    |    |    |    |    |      evenly spaced, the first at 0
    poisson    ||  |      |  |  | ||         |   |  |         independent users: gaps are exponential
    gamma:3    |||||                |         ||| |||         bursts: the gaps' standard deviation is 3 times their mean

Where the rate changes (a `Course`), the same process runs on a clock that goes as fast as the rate: a call is due when
as many were to be expected as the process, at one per second, takes seconds for it. Its bursts stay what they are.

One schedule is computed whole by every worker, which then takes its share of it. Workers that each drew their own
arrivals would offer the wrong process: N copies of one seed come in bursts of N.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.plan import course as courses
from bench.plan.portable import Floats, exponential, logarithm
from bench.plan.resolve import gap_spread
from bench.plan.rng import stream, uniform
from bench.types import AT_ONCE, Arrivals, Course

Ints = NDArray[np.int64]
Process = Callable[[int, int], Ints]
"""(seed, count) -> the first `count` arrivals in UNITs at one per second on average; the first n of a longer answer are
the answer for n. The rate is applied to them afterwards, so that no process can drift from it."""

Pace = float | Course
"""Arrivals per second: one rate, or how it changes."""

UNIT: Final = 2.0**-32
"""Arrivals are whole numbers of this part of the mean gap, whose sums are exact."""

_NEVER_S: Final = 9e9  # the last second that 64 bits of nanoseconds hold


def constant(seed: int, count: int) -> Ints:
    return np.arange(count, dtype=np.int64) << 32


def at_once(seed: int, count: int) -> Ints:
    return np.zeros(count, np.int64)


def poisson(seed: int, count: int) -> Ints:
    # 1 - u is exact, as u is a multiple of 2**-53, and never 0.
    # By inversion, one draw a gap: the n-th gap is the same however many are asked for.
    gaps = -logarithm(1 - uniform(stream(seed, "arrivals").take(count)))
    return np.cumsum(np.rint(gaps / UNIT).astype(np.int64))


def gamma(cv: float, seed: int, count: int) -> Ints:
    """Gaps of a gamma distribution: bursts and lulls where `cv` is above 1, evener than Poisson's where it is below."""
    shape = 1 / (cv * cv)
    gaps = _gamma(shape, seed, count) / shape
    return np.cumsum(np.rint(gaps / UNIT).astype(np.int64))


def _gamma(shape: float, seed: int, count: int) -> Floats:
    """Draws of the gamma distribution of this shape, each of numbers of its own: the first n are those of n.

    Best's rejection XG (L. Devroye, Non-Uniform Random Variate Generation, 1986, IX.3.7), for a shape above 1; one
    below is that of shape + 1 times U^(1/shape).
    """
    if shape <= 1:
        u = 1 - uniform(stream(seed, "arrivals", 0).take(count))
        return _gamma(shape + 1, seed, count) * exponential(logarithm(u) / shape)
    b, c = shape - 1, 3 * shape - 0.75
    drawn, left, attempt = np.zeros(count), np.arange(count), 0
    while len(left):
        attempt += 1
        u, v = _pairs(seed, attempt, left, count).T
        w = u * (1 - u)
        y = np.sqrt(c / w) * (u - 0.5)
        x = b + y
        is_possible = x > 0
        x = np.where(is_possible, x, b)
        z = 64 * w * w * w * v * v
        taken = is_possible & (logarithm(z) <= 2 * (b * logarithm(x / b) - y))
        drawn[left[taken]] = x[taken]
        left = left[~taken]
    return drawn


def _pairs(seed: int, attempt: int, places: Ints, count: int) -> Floats:
    """Two numbers between 0 and 1, neither of which they are, for each of these places of `count`."""
    bits = stream(seed, "arrivals", attempt).take(2 * count).reshape(count, 2)[places]
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


PROCESSES: Final[Mapping[str, Process]] = {
    "constant": constant,
    "poisson": poisson,
    AT_ONCE: at_once,
}
"""The processes without a parameter; their names are read in `bench.plan.resolve`, which needs no numpy."""


def process(arrivals: Arrivals) -> Process:
    """The process of this name. Raises UserError for one that is not known."""
    if arrivals in PROCESSES:
        return PROCESSES[arrivals]
    cv = gap_spread(arrivals)
    return poisson if cv == 1 else partial(gamma, cv)


def due_ns(arrivals: Arrivals, seed: int, pace: Pace, count: int) -> Ints:
    """The first `count` due times, ascending, in ns since the start of the load."""
    expected = np.asarray(process(arrivals)(seed, count) * UNIT, np.float64)
    due: Ints = np.rint(_along(pace, expected) if isinstance(pace, tuple) else expected * (1e9 / pace)).astype(np.int64)
    return due


def due_ns_before(arrivals: Arrivals, seed: int, pace: Pace, end_s: float) -> Ints:
    """Every due time before `end_s`, ascending, in ns since the start of the load; a course is as long as that."""
    expected = courses.requests_in(pace) if isinstance(pace, tuple) else pace * end_s
    # Six standard deviations of a Poisson count are nearly always enough; bursty processes take another round.
    count = math.ceil(expected + 6 * math.sqrt(expected)) + 1
    while (due := due_ns(arrivals, seed, pace, count))[-1] < end_s * 1e9:
        count *= 2
    return due[: np.searchsorted(due, end_s * 1e9)]


def _along(course: Course, expected: Floats) -> Floats:
    """When so many arrivals are to be expected, in ns, ascending; of operations that IEEE 754 rounds in one way."""
    seconds, low, high = np.array([(part.seconds, part.from_per_s, part.to_per_s) for part in course]).T
    start_s = np.concatenate([[0.0], np.cumsum(seconds)])
    before = np.concatenate([[0.0], np.cumsum(seconds * (low + high) / 2)])
    at = np.clip(np.searchsorted(before, expected, side="right") - 1, 0, len(course) - 1)
    own, a, b = expected - before[at], low[at], high[at]
    # a t + (b - a) t^2 / 2T = own, solved for t so that nothing cancels.
    twice = a + np.sqrt(np.maximum(a * a + 2 * (b - a) / seconds[at] * own, 0.0))
    t_s = np.minimum(start_s[at] + 2 * own / np.where(twice > 0, twice, 1.0), start_s[at + 1])
    beyond = expected >= before[-1]
    rest = (expected[beyond] - before[-1]) / high[-1] if high[-1] else np.full(int(beyond.sum()), _NEVER_S)
    t_s[beyond] = np.minimum(start_s[-1] + rest, _NEVER_S)
    return np.asarray(np.maximum.accumulate(t_s) * 1e9, np.float64)
