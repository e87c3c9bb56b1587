"""Values of requests that are never held together: a hundred million gaps are read some at a time, a few times over.

Exact percentiles take two readings: the first counts values into bins so narrow that each percentile's is known, the
second keeps what lies in those, each different value once.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from analysis.stats.distributions import Floats, Ints, Sample

AT_ONCE: Final = 1 << 20
"""So many values are simply sorted."""

T = TypeVar("T")

# Bins by exponent and the first ten bits of the fraction: a thousandth of a value wide. One for all below 2^-10 (of
# milliseconds: a microsecond), what is negative included. Each has a thousand cells, for the case that many are wanted.
_BITS = 10
_FIRST = (1023 - 10) << 2 * _BITS
_BINS = 60 << _BITS
_MANY = 32

_Counted = tuple[Floats, Ints]
"""Different values, ascending, and how often each is there."""


class Reading(Protocol):
    """Calls a function with some requests' values at a time: (which requests these are, what it makes of them)."""

    def __call__(self, function: Callable[[Sample], T]) -> Iterator[tuple[Ints, T]]: ...


class Ordered:
    """Values ascending, of which some are asked for by their rank, from 0."""

    def __init__(self, counts: Ints, reading: Reading) -> None:
        self._upto, self._reading = np.cumsum(counts), reading
        # Stretches of successive values by where they begin: the different ones, and the ranks up to the last of each.
        self._known: dict[int, tuple[Floats, Ints]] = {}
        self._begins: list[int] = []

    @classmethod
    def of(cls, values: Floats) -> "Ordered":
        """Values at hand."""
        found = cls(np.array([len(values)]), partial(_at_hand, Sample(values, np.array([0, len(values)]))))
        if len(values):
            found._keep(np.sort(values), np.ones(len(values), np.int64), 0)
        return found

    @classmethod
    def together(cls, parts: Sequence["Ordered"]) -> "Ordered":
        """The values of several."""

        def reading(function: Callable[[Sample], T]) -> Iterator[tuple[Ints, T]]:
            for part in parts:
                yield from part._reading(function)

        if len(parts) == 1:
            return parts[0]
        return cls(sum((n for _, n in reading(_in_bins)), np.zeros(_BINS, np.int64)), reading)

    def __len__(self) -> int:
        return int(self._upto[-1])

    def __getitem__(self, rank: int) -> float:
        rank %= len(self)
        if (known := self._stretch(rank)) is None:
            self.fetch([rank, rank + 1])  # who interpolates wants the next as well
            return self[rank]
        return float(known[0][np.searchsorted(known[1], rank, "right")])

    def at(self, ranks: Ints) -> Floats:
        """The values of these ranks."""
        self.fetch(ranks.tolist())
        return np.array([self[rank] for rank in ranks.tolist()], np.float64)

    def positive(self) -> int:
        """The rank of the first value above 0."""
        if self._upto[0] and 0 not in self._known:
            self._read(np.array([0]))
        values, upto = self._known.get(0, (np.empty(0), np.empty(0)))
        below = int(np.searchsorted(values, 0, "right"))
        return int(upto[below - 1]) if below else 0

    def fetch(self, places: Iterable[float]) -> None:
        """Read all at once what these ranks need, and those before and after what lies between two."""
        near = {rank for place in places for rank in (math.floor(place), math.ceil(place))}
        missing = sorted(rank for rank in near if 0 <= rank < len(self) and self._stretch(rank) is None)
        if missing:
            bins = np.unique(self._bin(missing))
            if len(bins) < _MANY or len(self) <= AT_ONCE:
                self._read(bins)
            else:
                self._read_cells(bins, missing)

    def _stretch(self, rank: int) -> tuple[Floats, Ints] | None:
        place = bisect_right(self._begins, rank) - 1
        known = self._known[self._begins[place]] if place >= 0 else None
        return known if known is not None and rank < known[1][-1] else None

    def _bin(self, ranks: int | Sequence[int]) -> Any:
        return np.searchsorted(self._upto, ranks, "right")

    def _before(self, bins: Ints) -> Ints:
        return np.where(bins > 0, self._upto[bins - 1], 0)

    def _read(self, bins: Ints) -> None:
        if len(self) <= AT_ONCE:
            self._keep(*_merged(self._reading(lambda part: _counted(part.values))), 0)
            return
        wanted = np.zeros(_BINS, np.bool_)
        wanted[bins] = True
        values, counts = _merged(self._reading(lambda part: _counted(part.values[wanted[_cell(part.values) >> _BITS]])))
        own = _cell(values) >> _BITS
        # What is known of a part of one of them is known of all of it now.
        self._known = {first: known for first, known in self._known.items() if not wanted[self._bin(first)]}
        self._keep_each(values, counts, own, self._before(own))

    def _read_cells(self, bins: Ints, ranks: Sequence[int]) -> None:
        """The same without what else is in those bins, at the price of one more reading."""
        place = np.full(_BINS, -1)
        place[bins] = np.arange(len(bins))
        count = len(bins) << _BITS

        def cells(values: Floats) -> tuple[Floats, Ints]:
            cell = _cell(values)
            own = place[cell >> _BITS]
            inside = own >= 0
            return values[inside], (own[inside] << _BITS) + (cell[inside] & (1 << _BITS) - 1)

        found = self._reading(lambda part: np.bincount(cells(part.values)[1], minlength=count))
        counts = sum((own for _, own in found), np.zeros(count, np.int64)).reshape(-1, 1 << _BITS)
        before = (self._before(bins)[:, None] + np.cumsum(counts, axis=1) - counts).ravel()
        wanted = np.zeros(count, np.bool_)
        wanted[np.searchsorted(before, ranks, "right") - 1] = True

        def kept(part: Sample) -> _Counted:
            values, cell = cells(part.values)
            return _counted(values[wanted[cell]])

        values, numbers = _merged(self._reading(kept))
        own = cells(values)[1]
        self._keep_each(values, numbers, own, before[own])

    def _keep_each(self, values: Floats, counts: Ints, places: Ints, before: Ints) -> None:
        """Take note of all the values of some places; before those of each are so many others."""
        edges = np.flatnonzero(np.diff(places, prepend=-1, append=-1)) if len(places) else ()
        for start, end in pairwise(edges):
            self._keep(values[start:end], counts[start:end], int(before[start]))

    def _keep(self, values: Floats, counts: Ints, first: int) -> None:
        self._known[first] = values, first + np.cumsum(counts)
        self._begins = sorted(self._known)


def _cell(values: Floats) -> Ints:
    # As integers the bits of positive floats are in the order of the floats, and those of negative ones are below.
    place = (values.view(np.int64) >> 52 - 2 * _BITS) - _FIRST
    return np.clip(place, 0, (_BINS << _BITS) - 1, out=place)


def _in_bins(sample: Sample) -> Ints:
    return np.bincount(_cell(sample.values) >> _BITS, minlength=_BINS)


def _at_hand(sample: Sample, function: Callable[[Sample], T]) -> Iterator[tuple[Ints, T]]:
    yield np.arange(len(sample.offsets) - 1), function(sample)


def _counted(values: Floats) -> _Counted:
    values = np.sort(values)
    starts = np.flatnonzero(np.diff(values, prepend=-math.inf))
    return values[starts], np.diff(starts, append=len(values))


def _merged(found: Iterable[tuple[Ints, _Counted]]) -> _Counted:
    """Add up how often each value is there; gaps of whole nanoseconds have few different ones in a bin."""
    waiting, size = list[_Counted](), 0
    for _, counted in found:
        waiting.append(counted)
        size += len(counted[0])
        if size > 4 * AT_ONCE:
            waiting, size = [_summed(waiting)], 0
    return _summed(waiting)


def _summed(parts: Sequence[_Counted]) -> _Counted:
    values, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    starts = np.flatnonzero(np.diff(values, prepend=-math.inf))
    return values[starts], np.add.reduceat(counts, starts) if len(starts) else counts


class Pool:
    """What there is to know of the values of requests, of which each has some or none.

    `sizes` and `sums` are of the requests that have any (`has_some`), in their order; `squares` is the sum of the
    squared distances from the mean. Without a value `low` and `high` are infinite and `mean` is not a number.
    """

    def __init__(self, requests: int, reading: Reading, ordered: Ordered | None = None) -> None:
        self._reading = reading
        sizes, sums = np.zeros(requests, np.int64), np.zeros(requests)
        bins, parts = np.zeros(_BINS, np.int64), []
        for rows, (own_sizes, own_sums, part, own_bins) in reading(lambda sample: _look(sample, ordered is None)):
            sizes[rows], sums[rows] = own_sizes, own_sums
            parts.append(part)
            bins += own_bins
        self.has_some = sizes > 0
        self.sizes, self.sums = sizes[self.has_some], sums[self.has_some]
        n, total, squares, low, high = np.array(parts or [(0, 0.0, 0.0, math.inf, -math.inf)]).T
        self.n = int(n.sum())
        self.mean = float(total.sum() / self.n) if self.n else math.nan
        # Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979).
        between = n * (total / np.maximum(n, 1) - self.mean) ** 2
        self.squares = float(squares.sum() + between.sum())
        self.low, self.high = float(low.min()), float(high.max())
        self.ordered = Ordered(bins, reading) if ordered is None else ordered

    def upto(self, limits: Sequence[float]) -> npt.NDArray[np.float64]:
        """How many values of each request that has any are at most each limit: [limit, request]."""
        found = np.zeros((len(limits), len(self.has_some)))
        for rows, counts in self._reading(lambda sample: _counts_upto(sample, limits)) if limits else ():
            found[:, rows] = counts
        return found[:, self.has_some]


def pool_of(sample: "Sample | Pool") -> Pool:
    """A sample as a pool."""
    if isinstance(sample, Pool):
        return sample
    return Pool(len(sample.offsets) - 1, partial(_at_hand, sample), Ordered.of(sample.values))


def per_request(function: np.ufunc, values: npt.NDArray[Any], offsets: Ints, none: Any = 0) -> npt.NDArray[Any]:
    """Reduce each request's values, to `none` where it has none."""
    has_some = offsets[1:] > offsets[:-1]
    found = np.full(len(has_some), none)
    if has_some.any():
        found[has_some] = function.reduceat(values, offsets[:-1][has_some], dtype=found.dtype)
    return found


def _look(sample: Sample, binned: bool) -> tuple[Ints, Floats, tuple[float, ...], Ints | int]:
    values, offsets = sample
    n, total = len(values), float(values.sum())
    squares = float(((values - total / n) ** 2).sum()) if n else 0.0
    part = (n, total, squares, float(values.min(initial=math.inf)), float(values.max(initial=-math.inf)))
    return np.diff(offsets), per_request(np.add, values, offsets, 0.0), part, _in_bins(sample) if binned else 0


def _counts_upto(sample: Sample, limits: Sequence[float]) -> npt.NDArray[np.float64]:
    return np.array([per_request(np.add, sample.values <= limit, sample.offsets, 0.0) for limit in limits])
