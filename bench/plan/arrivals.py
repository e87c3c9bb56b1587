"""When each call of an open loop is due: a pure function of (arrival process, seed, rate).

    constant   |    |    |    |    |    |    |    |    |      evenly spaced, the first at 0
    poisson    ||  |      |  |  | ||         |   |  |         independent users: gaps are exponential

One schedule is computed whole by every worker, which then takes its share of it. Workers that each drew their own
arrivals would offer the wrong process: N copies of one seed come in bursts of N.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.plan.rng import stream, uniform
from bench.types import Arrivals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Process = Callable[[int, int], Ints]

UNIT: Final = 2.0**-32
"""Arrivals are whole numbers of this part of the mean gap, whose sums are exact."""
_LN2: Final = float.fromhex("0x1.62e42fefa39efp-1")
_ROOT_HALF: Final = float.fromhex("0x1.6a09e667f3bcdp-1")


def constant(seed: int, count: int) -> Ints:
    return np.arange(count, dtype=np.int64) << 32


def poisson(seed: int, count: int) -> Ints:
    # 1 - u is exact, as u is a multiple of 2**-53, and never 0.
    gaps = -logarithm(1 - uniform(stream(seed, "arrivals").take(count)))
    return np.cumsum(np.rint(gaps / UNIT).astype(np.int64))


def logarithm(x: Floats) -> Floats:
    """Natural logarithms of positive numbers to 1e-15, the same bits on every machine.

    Those of libraries differ in the last bit from CPU to CPU. Here are only sums, products and quotients, which IEEE
    754 rounds in one way: ln(m 2^k) = k ln 2 + 2 artanh((m - 1) / (m + 1)), with m between sqrt(1/2) and sqrt(2).
    """
    m, k = np.frexp(x)
    small = m < _ROOT_HALF
    m, k = np.where(small, 2 * m, m), k - small
    s = (m - 1) / (m + 1)
    square = s * s
    series = np.zeros_like(s)
    for power in range(21, 0, -2):
        series = series * square + 1 / power
    return np.asarray(k * _LN2 + 2 * s * series, np.float64)


# (seed, count) -> the first `count` arrivals in UNITs at one per second on average; the first n of a longer answer are
# the answer for n. The rate is applied here below, so that no process can drift from it.
PROCESSES: Mapping[Arrivals, Process] = {"constant": constant, "poisson": poisson}


def due_ns(arrivals: Arrivals, seed: int, rate_per_s: float, count: int) -> Ints:
    """The first `count` due times, ascending, in ns since the start of the load."""
    due: Ints = np.rint(PROCESSES[arrivals](seed, count) * UNIT * (1e9 / rate_per_s)).astype(np.int64)
    return due


def due_ns_before(arrivals: Arrivals, seed: int, rate_per_s: float, end_s: float) -> Ints:
    """Every due time before `end_s`, ascending, in ns since the start of the load."""
    expected = rate_per_s * end_s
    count = math.ceil(expected + 6 * math.sqrt(expected)) + 1
    while (due := due_ns(arrivals, seed, rate_per_s, count))[-1] < end_s * 1e9:
        count *= 2
    return due[: np.searchsorted(due, end_s * 1e9)]
