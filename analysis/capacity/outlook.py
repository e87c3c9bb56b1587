"""How much of a search is left, by going through it on a server whose capacity lies where it may well lie."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from analysis.capacity.search import Limits, Probe, capacity, next_probe

_GUESS: Final = 0.7
"""Where the capacity is taken to lie: at so much of a closed loop's rate, or of one that was missed."""
_MOST: Final = 200
_MANY: Final = 1_000_000


def rates_left(probes: Sequence[Probe], limits: Limits) -> Iterator[float]:
    """The rates that are yet to be tried, where every run is sure of what it says."""
    guess, seen = _guess(probes, limits), list(probes)
    for _ in range(_MOST):
        wanted = next_probe(seen, limits)
        if wanted is None:
            return
        yield wanted[0]
        seen.append(_sure(*wanted, is_met=wanted[0] <= guess))


def _guess(probes: Sequence[Probe], limits: Limits) -> float:
    if not probes:
        return _GUESS * limits.closed_loop_rps
    met = capacity(probes).rate_per_s
    missed = min((probe.rate_per_s for probe in probes if probe.outcome != "met"), default=None)
    if missed is None or missed <= met:
        return met / _GUESS
    return math.sqrt(met * missed) if met else _GUESS * missed


def _sure(rate_per_s: float, repeat: int, *, is_met: bool) -> Probe:
    return Probe(
        rate_per_s, repeat, _MANY, (_MANY if is_met else 0,), (0.99,), rate_per_s, "", growth=0.0, growth_error=0.0,
        degrees=100, stopped=not is_met,
    )  # fmt: skip
