"""When each call of an open loop is due: a pure function of (arrival process, seed, rate).

    constant   |    |    |    |    |    |    |    |    |      evenly spaced, the first at 0
    poisson    ||  |      |  |  | ||         |   |  |         independent users: gaps are exponential

One schedule is computed whole by every worker, which then takes its share of it. Workers that each drew their own
arrivals would offer the wrong process: N copies of one seed come in bursts of N.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from bench.streams import stream, uniform
from bench.types import Arrivals

Floats = NDArray[np.float64]
Process = Callable[[int, int], Floats]


def constant(seed: int, count: int) -> Floats:
    return np.arange(count, dtype=np.float64)


def poisson(seed: int, count: int) -> Floats:
    gaps = -np.log1p(-uniform(stream(seed, "arrivals").take(count)))
    return np.cumsum(gaps)


# (seed, count) -> the first `count` arrivals at one per second on average, in seconds; the first n of a longer answer
# are the answer for n. The rate is applied here below, so that no process can drift from it.
PROCESSES: Mapping[Arrivals, Process] = {"constant": constant, "poisson": poisson}


def due_ns(arrivals: Arrivals, seed: int, rate_per_s: float, count: int) -> NDArray[np.int64]:
    """The first `count` due times, ascending, in ns since the start of the load."""
    return np.rint(PROCESSES[arrivals](seed, count) * (1e9 / rate_per_s)).astype(np.int64)


def due_ns_before(arrivals: Arrivals, seed: int, rate_per_s: float, end_s: float) -> NDArray[np.int64]:
    """Every due time before `end_s`, ascending, in ns since the start of the load."""
    expected = rate_per_s * end_s
    count = math.ceil(expected + 6 * math.sqrt(expected)) + 1
    while (due := due_ns(arrivals, seed, rate_per_s, count))[-1] < end_s * 1e9:
        count *= 2
    return due[: np.searchsorted(due, end_s * 1e9)]
