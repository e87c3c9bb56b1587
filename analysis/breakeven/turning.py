"""What would change which way is the cheapest: one input at a time, moved as far as the order stays as it is.

Everything is by the bills that are to be expected, those of the ranking. A bill grows with the price of an hour and
with an API's price in a line, and never with the capacity, which makes steps: its turning point is found by halving.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import numpy as np

from analysis.breakeven.ways import Way, expected_usd, leaves_nothing
from analysis.money.numbers import HOURS_PER_MONTH

NEAREST: Final = 3
"""Of so many ways that are not the cheapest it is said what would make them so."""
FARTHEST: Final = 1000.0
"""A capacity is looked for among those up to so many times as large or small."""
HALVINGS: Final = 60

Input = Literal["requests/month", "$ an hour", "requests/s a replica", "$ a request"]


class Turn(NamedTuple):
    """An input of a way, what it is `now`, and `at` what value the cheapest changes `to` another, all else as it is.

    `way` is empty for the volume. From the value on the other is the cheapest, or as cheap; a capacity of the cheapest
    itself is the least with which it stays so.
    """

    way: str
    what: Input
    now: float
    at: float
    to: str


def turns(month: Sequence[tuple[Way, float]], volume: int) -> tuple[Turn, ...]:
    """What would make another way the cheapest, of ways with their bills in $, the cheapest first.

    Nothing where it is not for one way alone to change: where two cost the same, or an API serves what servers leave.
    """
    if len(month) < 2 or not all(leaves_nothing(way.pair.pairing) for way, _ in month if way.is_own):
        return ()
    (cheapest, usd), (second, second_usd), *_ = month
    if not usd < second_usd or not np.isfinite(usd):
        return ()
    # Of the cheapest what makes it dearer than the next, of the others what makes them as cheap as it.
    found = list(_of(cheapest, usd, second_usd, volume, second.name))
    for way, its_usd in month[1 : 1 + NEAREST]:
        found += _of(way, its_usd, usd, volume, way.name)
    return tuple(found)


def _of(way: Way, usd: float, wanted_usd: float, volume: int, to: str) -> Iterator[Turn]:
    """The inputs of one way at which its bill becomes the wanted one."""
    pairing = way.pair.pairing
    if not way.is_own:
        if usd and np.isfinite(usd):
            yield Turn(way.name, "$ a request", usd / volume, wanted_usd / volume, to)
        return
    hour_usd, free_usd = float(pairing.host.usd_per_replica_month / HOURS_PER_MONTH), _usd(_paid(way, 0.0), volume)
    if free_usd < min(usd, wanted_usd) and np.isfinite(usd):
        yield Turn(way.name, "$ an hour", hour_usd, hour_usd * (wanted_usd - free_usd) / (usd - free_usd), to)
    factor = _factor(way, wanted_usd, volume, grows=usd > wanted_usd)
    if factor is not None:
        rps = float(np.mean(way.pair.states.rounded().capacity_rps))
        yield Turn(way.name, "requests/s a replica", rps, rps * factor, to)


def _factor(way: Way, wanted_usd: float, volume: int, *, grows: bool) -> float | None:
    """The least capacity, as times what it is, with which the bill is no more than wanted; None where there is none."""
    least, most = (1.0, FARTHEST) if grows else (1 / FARTHEST, 1.0)
    if _usd(_serving(way, least), volume) <= wanted_usd or _usd(_serving(way, most), volume) > wanted_usd:
        return None
    for _ in range(HALVINGS):
        middle = (least * most) ** 0.5
        if _usd(_serving(way, middle), volume) <= wanted_usd:
            most = middle
        else:
            least = middle
    return most


def _usd(way: Way, volume: int) -> float:
    return float(expected_usd(way, np.array([float(volume)]))[0])


def _paid(way: Way, factor: float) -> Way:
    """The way with replicas at so many times their price."""
    host = way.pair.pairing.host
    priced = replace(host, usd_per_replica_month=host.usd_per_replica_month * Decimal(factor))
    return way._replace(pair=way.pair._replace(pairing=replace(way.pair.pairing, host=priced)))


def _serving(way: Way, factor: float) -> Way:
    """The way with replicas that serve so many times as much."""
    states = way.pair.states.rounded()
    return way._replace(pair=way.pair._replace(states=replace(states, capacity_rps=states.capacity_rps * factor)))
