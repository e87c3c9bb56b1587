"""Processes whose long-run values are known, to see how often intervals hold them: many runs of each at once."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from analysis.stats.distributions import LEVELS, Floats


class Truth(NamedTuple):
    """The long-run values of what is measured: `mean` and the percentiles by name; of the rate where there is one.

    `to_p90` is the share of values that are no greater than the 90th percentile.
    """

    of: Mapping[str, float]
    rate_per_s: float | None = None
    to_p90: float = 0.9


class Runs(NamedTuple):
    """Each row a run: a value for each request, when it was sent and ended (s), or None; `waits` what it waited."""

    values: Floats
    truth: Truth
    sent_s: Floats | None = None
    end_s: Floats | None = None
    waits: Floats | None = None


def lognormal(rng: Any, runs: int, n: int, sigma: float) -> Runs:
    """Independent values with median 1."""
    of = {name: math.exp(sigma * NormalDist().inv_cdf(level)) for name, level in LEVELS.items()}
    return Runs(np.exp(sigma * rng.standard_normal((runs, n))), Truth({"mean": math.exp(sigma**2 / 2), **of}))


def first_order(rng: Any, runs: int, n: int, factor: float) -> Runs:
    """Normal values around 10, each `factor` times the one before and something new."""
    x, new = np.empty((runs, n)), rng.standard_normal((runs, n))
    x[:, 0] = new[:, 0]
    for i in range(1, n):
        x[:, i] = factor * x[:, i - 1] + math.sqrt(1 - factor**2) * new[:, i]
    of = {name: 10 + NormalDist().inv_cdf(level) for name, level in LEVELS.items()}
    return Runs(10 + x, Truth({"mean": 10.0, **of}))


def one_server(rng: Any, runs: int, n: int, load: float) -> Runs:
    """Time in a system of one server in its steady state, Poisson arrivals, exponential work of 1 s: itself so."""
    sent, work = np.cumsum(rng.exponential(1 / load, (runs, n)), axis=1), rng.exponential(1.0, (runs, n))
    wait = np.where(rng.random(runs) < 1 - load, 0.0, rng.exponential(1 / (1 - load), runs))
    waits = np.empty((runs, n))
    for i in range(n):
        waits[:, i] = wait
        if i + 1 < n:
            wait = np.maximum(0.0, wait + work[:, i] - (sent[:, i + 1] - sent[:, i]))
    of = {name: -math.log(1 - level) / (1 - load) for name, level in LEVELS.items()}
    return Runs(waits + work, Truth({"mean": 1 / (1 - load), **of}, load), sent, sent + waits + work)


def in_slots(rng: Any, runs: int, n: int, load: float, slots: int = 4) -> Runs:
    """Time to the first token, 0.05 s after a slot is free, of so many slots in their steady state."""
    before = round(20 / (1 - load) ** 2)
    left, waits, per_s = np.zeros((runs, slots)), np.empty((runs, n)), slots * load
    gaps, work = rng.exponential(1 / per_s, (runs, n)), rng.exponential(1.0, (runs, n))
    for i in range(-before, n):
        if i >= 0:
            waits[:, i] = left[:, 0]
        left[:, 0] += work[:, i] if i >= 0 else rng.exponential(1.0, runs)
        gap = gaps[:, i + 1] if 0 <= i + 1 < n else rng.exponential(1 / per_s, runs)
        left -= gap[:, None]
        np.maximum(left, 0.0, out=left).sort(axis=1)
    sent, waiting, free = np.cumsum(gaps, axis=1), _waiting(load, slots), slots * (1 - load)
    of = {name: 0.05 + max(0.0, math.log(waiting / (1 - level)) / free) for name, level in LEVELS.items()}
    truth = Truth({"mean": 0.05 + waiting / free, **of}, per_s, max(0.9, 1 - waiting))
    return Runs(waits + 0.05, truth, sent, sent + waits + work)


def whole_answers(rng: Any, runs: int, n: int, load: float, slots: int = 4) -> Runs:
    """Time to the end of the answer of the same server: mostly the work of one request."""
    found = in_slots(rng, runs, n, load, slots)
    assert found.end_s is not None
    assert found.sent_s is not None
    free = slots * (1 - load)
    waiting = _waiting(load, slots)

    def beyond(t: float) -> float:
        if abs(free - 1) < 1e-9:
            return math.exp(-t) * (1 + waiting * t)
        return (1 - waiting) * math.exp(-t) + waiting * (free * math.exp(-t) - math.exp(-free * t)) / (free - 1)

    of = {name: _inverse(beyond, 1 - level) for name, level in LEVELS.items()}
    truth = Truth({"mean": 1 + waiting / free, **of}, found.truth.rate_per_s)
    return Runs(found.end_s - found.sent_s, truth, found.sent_s, found.end_s, found.values)


def _waiting(load: float, slots: int) -> float:
    """The share of requests that wait (Erlang C)."""
    work = slots * load
    full = work**slots / math.factorial(slots) / (1 - load)
    return full / (sum(work**k / math.factorial(k) for k in range(slots)) + full)


def _inverse(falling: Callable[[float], float], value: float) -> float:
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > value else (low, middle)
    return low


LOADS = (0.5, 0.8, 0.95)
PROCESSES: Mapping[str, Callable[[Any, int, int], Runs]] = {
    **{f"lognormal, σ {sigma}": partial(lognormal, sigma=sigma) for sigma in (0.5, 1.0, 1.5)},
    "first order, 0.8": partial(first_order, factor=0.8),
    **{f"one server, {load:.0%}": partial(one_server, load=load) for load in LOADS},
    **{f"four slots, {load:.0%}": partial(in_slots, load=load) for load in LOADS},
    **{f"whole answers, {load:.0%}": partial(whole_answers, load=load) for load in LOADS},
}
# Processes that no constant was chosen by.
OTHERS: Mapping[str, Callable[[Any, int, int], Runs]] = {
    **{f"first order, {factor}": partial(first_order, factor=factor) for factor in (0.5, 0.9)},
    **{f"one server, {load:.0%}": partial(one_server, load=load) for load in (0.6, 0.7, 0.9)},
    **{
        f"{slots} slots, {load:.0%}": partial(in_slots, load=load, slots=slots)
        for slots in (2, 8)
        for load in (0.6, 0.7, 0.9)
    },
    **{f"whole answers of 8, {load:.0%}": partial(whole_answers, load=load, slots=8) for load in (0.6, 0.7, 0.9)},
}
