"""All ways to be served by what a month of them costs: the cheapest at a volume, and where the order of them changes.

A way is servers of one's own (beside an API where one serves the rest), or an API alone. Their bills are those of
`decide`: means over the capacities at the price that was measured. How sure the cheapest is, is counted over the
states that the measurements leave possible, as of a single pairing.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from analysis.breakeven.decision import WORST
from analysis.breakeven.states import at_level
from analysis.breakeven.sweep import steps_of
from analysis.breakeven.turning import Turn, turns
from analysis.breakeven.ways import CostedPairing, Way, expected_usd, usd_of_states, ways_of
from analysis.stats.distributions import CONFIDENCE, Floats

MOST_CHANGES: Final = 40
# What is left of equal amounts after rounding is no difference.
ROUNDING: Final = 1e-12


class Bill(NamedTuple):
    """A month of one way, in $: to be expected, and what one state in ten stays below and one exceeds.

    `p_cheapest` is the share of the states in which no other way is cheaper.
    """

    name: str
    usd: float
    low_usd: float
    high_usd: float
    p_cheapest: float


class Cheapest(NamedTuple):
    """Who is the cheapest at all whole volumes from `first` to `last`."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ways, our own first; who is the cheapest from one request a month up to as many as were looked at.

    `month` has their bills at the volume asked about, the lowest first, and `turns` what would make another bill the
    lowest there; empty where no volume was asked about. `is_whole`: the order changes no more often than told.
    """

    ways: tuple[Way, ...]
    spans: tuple[Cheapest, ...]
    month: tuple[Bill, ...] = ()
    turns: tuple[Turn, ...] = ()
    is_whole: bool = True

    @property
    def named(self) -> Bill:
        """The bill, of a volume asked about, of the way that is surely the cheapest there; else the lowest one.

        They may differ: what is the cheapest in nearly all states may cost so much in the rest that more is expected.
        """
        surest = max(self.month, key=lambda bill: bill.p_cheapest)
        return surest if surest.p_cheapest >= CONFIDENCE else self.month[0]

    @property
    def choice(self) -> str | None:
        """The way that is surely the cheapest at the volume asked about; None where that is open, or none was asked."""
        return self.named.name if self.month and self.named.p_cheapest >= CONFIDENCE else None

    @property
    def undecided(self) -> bool:
        """Whether a volume was asked about and the measurements do not tell which way is the cheapest there."""
        return bool(self.month) and self.choice is None


def rank(pairs: Sequence[CostedPairing], up_to: int, requests_per_month: int | None) -> Ranking:
    """Order the ways that these pairs give; servers that have no API beside them are ways of their own."""
    ways = ways_of(pairs)
    spans, is_whole = _spans(ways, up_to)
    if requests_per_month is None:
        return Ranking(ways, spans, is_whole=is_whole)
    month, by_name = _month(ways, requests_per_month), {way.name: way for way in ways}
    ranking = Ranking(ways, spans, month, is_whole=is_whole)
    if ranking.named is not month[0]:
        return ranking  # what would make another bill the lowest would not change the answer
    found = turns([(by_name[bill.name], bill.usd) for bill in month], requests_per_month)
    return replace(ranking, turns=(*_of_volume(spans, requests_per_month), *found))


def _of_volume(spans: Sequence[Cheapest], asked: int) -> Iterator[Turn]:
    """The nearest volumes, below and above the one asked about, at which another way is the cheapest."""
    for before, after in pairwise(spans):
        if after.first <= asked <= after.last:
            yield Turn("", "requests/month", float(asked), float(before.last), before.name)
        if before.first <= asked <= before.last:
            yield Turn("", "requests/month", float(asked), float(after.first), after.name)


def _month(ways: Sequence[Way], requests_per_month: int) -> tuple[Bill, ...]:
    volume = np.array([float(requests_per_month)])
    states = [usd_of_states(way, way.pair.states.rounded(), volume)[:, 0] for way in ways]
    each = np.stack(np.broadcast_arrays(*states))
    # Ways that cost the same both win: to give a tie to one of them would make a coin's side look sure.
    wins = each <= each.min(axis=0) * (1 + ROUNDING)
    found = [
        Bill(
            way.name,
            float(expected_usd(way, volume)[0]),
            float(at_level(of_way, WORST)),
            float(at_level(of_way, 1 - WORST)),
            float(won.mean()),
        )
        for way, of_way, won in zip(ways, states, wins, strict=True)
    ]
    return tuple(sorted(found, key=lambda bill: (bill.usd, -bill.p_cheapest)))


def _spans(ways: Sequence[Way], up_to: int) -> tuple[tuple[Cheapest, ...], bool]:
    """Who is the cheapest from 1 to `up_to`. Between two steps our bills are constant and the API's lines: there one
    that is the cheapest at both ends is so all the way, and another change is found by halving.
    """
    volumes = _volumes(ways, up_to)
    winners = _winners(ways, volumes)
    starts = [(1, int(winners[0]))]
    for at in np.flatnonzero(np.diff(winners)):
        low, last = int(volumes[at]), int(volumes[at + 1])
        while starts[-1][1] != winners[at + 1] and len(starts) <= MOST_CHANGES:
            change = _first_other(ways, low, last, starts[-1][1])
            starts.append((change, int(_winners(ways, np.array([float(change)]))[0])))
            low = change
        if len(starts) > MOST_CHANGES:
            break
    is_whole = len(starts) <= MOST_CHANGES
    ends = [first - 1 for first, _ in starts[1:]] + [up_to]
    found = tuple(Cheapest(ways[way].name, first, last) for (first, way), last in zip(starts, ends, strict=True))
    return (found, True) if is_whole else (found[:MOST_CHANGES], False)


def _volumes(ways: Sequence[Way], up_to: int) -> Floats:
    """Volumes with both sides of every step of ours, between which no bill jumps where the capacity was stated."""
    steps = [step for way in ways if way.is_own for step in steps_of(way.pair.pairing, 1.0, float(up_to))]
    # Even on a logarithm: what matters of a volume is how many times as large it is.
    grid = np.unique(np.geomspace(1.0, up_to, 512).round())
    return np.unique(np.concatenate([grid, np.array(steps)]))


def _winners(ways: Sequence[Way], volumes: Floats) -> Floats:
    """The place of the cheapest at each volume; of equal ones the first, so ours."""
    each = np.stack([expected_usd(way, volumes) for way in ways])
    return np.asarray((each <= each.min(axis=0) * (1 + ROUNDING)).argmax(axis=0))


def _first_other(ways: Sequence[Way], low: int, high: int, winner: int) -> int:
    """The first volume above `low` at which another one is the cheapest, as one is at `high`."""

    def is_other(volume: int) -> bool:
        return int(_winners(ways, np.array([float(volume)]))[0]) != winner

    return low + 1 + bisect_left(range(low + 1, high), True, key=is_other)
