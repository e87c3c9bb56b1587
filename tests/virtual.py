"""Servers in virtual time: when calls end at a server whose capacity is known by construction, without waiting."""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

KINDS = ("deterministic", "exponential", "lognormal 0.4", "lognormal 1", "lognormal 1.5")


def services_s(kind: str, mean_s: float, count: int, rng: np.random.Generator) -> Floats:
    """How long the server works on each call, `mean_s` on average; a lognormal has its sigma behind its name."""
    name, _, sigma = kind.partition(" ")
    if name == "deterministic":
        return np.full(count, mean_s)
    if name == "exponential":
        return rng.exponential(mean_s, count)
    return rng.lognormal(np.log(mean_s) - float(sigma) ** 2 / 2, float(sigma), count)


class Server:
    """So many slots, each works on one call at a time and those who wait are served as they came; None: a slot each."""

    def __init__(self, slots: int | None) -> None:
        self._free_s = None if slots is None else [0.0] * slots

    def begin_s(self, sent_s: float, works_s: float) -> float:
        """When the work on a call begins; calls are given in the order of sending."""
        if self._free_s is None:
            return sent_s
        begin_s = max(sent_s, self._free_s[0])
        heapq.heapreplace(self._free_s, begin_s + works_s)
        return begin_s


def open_loop(due_s: Sequence[float] | Floats, works_s: Floats, slots: int | None) -> tuple[Floats, Floats]:
    """(when the work on each call begins, when it ends), sent when they are due."""
    server = Server(slots)
    calls = zip(np.asarray(due_s).tolist(), works_s.tolist(), strict=True)
    begin_s = np.array([server.begin_s(due, work) for due, work in calls])
    return begin_s, begin_s + works_s


def closed_loop(concurrency: int, works_s: Floats, slots: int | None) -> tuple[Floats, Floats, Floats]:
    """(sent, begin of the work, end) of each call, with so many in flight, whose first are sent within a second."""
    server, stagger_s = Server(slots), min(0.002, 1 / concurrency)
    users = [stagger_s * seat for seat in range(concurrency)]
    sent_s, begin_s = np.empty(len(works_s)), np.empty(len(works_s))
    for n, work in enumerate(works_s):
        sent_s[n] = users[0]
        begin_s[n] = server.begin_s(sent_s[n], work)
        heapq.heapreplace(users, begin_s[n] + work)
    return sent_s, begin_s, begin_s + works_s


def due_s(arrivals: str, rate_per_s: float, count: int, rng: np.random.Generator) -> Any:
    """When calls are due; poisson or constant."""
    gaps = rng.exponential(1 / rate_per_s, count) if arrivals == "poisson" else np.full(count, 1 / rate_per_s)
    return np.cumsum(gaps)
