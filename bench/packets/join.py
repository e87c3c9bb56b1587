"""Which segment brought which byte: the arrival of every byte of an answer, and the departure of its request.

Pure. A segment's sequence number is its place in its connection's stream, and an exchange knows which bytes of the
stream are its own (`bench.types.WirePlace`). A byte has arrived when it and all bytes before it were there: until a gap
closes, nobody could have read what lies behind it. An answer of which a byte was never seen, or whose connection was
not seen to open, is not joined; nor is one whose request was not seen to leave.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.packets.segments import OUT, Rows, key
from bench.types import Exchange

Int64s = NDArray[np.int64]

# Bits for a place in a stream beside the number of its connection or exchange: 16 TiB.
_PLACE_BITS = 44
# Stamps of a connection may be this far outside the time that the client knew it for; clocks differ by less.
_AROUND_NS = 1_000_000
# Of so few segments and reads plain numbers are taken as soon as arrays.
_FEW = 32


class Joined(NamedTuple):
    """Bytes of an answer up to `ends[i]` had arrived at `t_ns[i]` (both ascending); `repeated` segments came late.

    A segment is repeated when it starts before the highest byte of its stream: it was sent again, or overtaken.
    """

    sent_ns: int
    ends: Int64s
    t_ns: Int64s
    repeated: int


class WantedSegments(NamedTuple):
    """Which segments a number of exchanges are made of: those in a time, of some connections by their `key`."""

    first_ns: int
    last_ns: int
    keys: NDArray[np.bool_]


class _LocatedExchanges(NamedTuple):
    """Exchanges whose place is known, as columns; `which` is their number."""

    which: Int64s
    key: Int64s
    sent_ns: Int64s
    end_ns: Int64s
    request_end: Int64s
    start: Int64s
    length: Int64s

    def at(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> "_LocatedExchanges":
        return _LocatedExchanges(*(column[chosen] for column in self))


def wanted(exchanges: Sequence[Exchange], servers: Sequence[bytes]) -> WantedSegments:
    """Say which segments to look for."""
    asked = _asked(exchanges, servers)
    keys = np.zeros(len(servers) << 16, bool)
    keys[asked.key] = True
    if not len(asked.which):
        return WantedSegments(0, -1, keys)
    return WantedSegments(int(asked.sent_ns.min()) - _AROUND_NS, int(asked.end_ns.max()) + _AROUND_NS, keys)


def join(exchanges: Sequence[Exchange], servers: Sequence[bytes], opened: Rows, rows: Rows) -> list[Joined | None]:
    """Join exchanges to the segments of their connections, in the order in which these were seen.

    `opened` has those that opened the connections, however long before, in the order of time.
    """
    asked, rows = _asked(exchanges, servers), rows[rows["bytes"] > 0]
    found: list[Joined | None] = [None] * len(exchanges)
    ours, theirs = ((opened["flags"] & OUT) > 0, (opened["flags"] & OUT) == 0)
    # The connection of an exchange is the last that was opened before it from its port.
    syn = _last_before(key(opened), opened["t_ns"], ours, asked.key, asked.sent_ns)
    answer = _last_before(key(opened), opened["t_ns"], theirs, asked.key, asked.sent_ns)
    known = (syn >= 0) & (answer >= 0)
    asked, syn, answer = asked.at(known), syn[known], answer[known]
    if not len(asked.which):
        return found
    flows, flow = np.unique(syn, return_inverse=True)
    rows_syn = _last_before(key(opened), opened["t_ns"], ours, key(rows), rows["t_ns"])
    rows_flow = np.minimum(np.searchsorted(flows, rows_syn), len(flows) - 1)
    rows, rows_flow = (each[flows[rows_flow] == rows_syn] for each in (rows, rows_flow))
    out = (rows["flags"] & OUT) > 0
    sent_ns, sent_again = _departures(asked, flow, opened["seq"][syn], rows[out], rows_flow[out])
    came = _arrivals(asked, flow, opened["seq"][answer], rows[~out], rows_flow[~out])
    for which, ends, t_ns, again in came:
        if sent_ns[which] >= 0:
            exchange = exchanges[asked.which[which]]
            repeated = again + int(sent_again[which])
            found[asked.which[which]] = _on(exchange, int(sent_ns[which]), ends, t_ns, repeated)
    return found


def _asked(exchanges: Sequence[Exchange], servers: Sequence[bytes]) -> _LocatedExchanges:
    numbers = {server: n for n, server in enumerate(servers)}
    columns = [
        (i, numbers[e.place.server] << 16 | e.place.port, e.sent_ns, e.end_ns, e.place.request_end, *_answer(e))
        for i, e in enumerate(exchanges)
        if e.place is not None and e.sent_ns is not None and e.place.server in numbers
    ]
    return _LocatedExchanges(*np.array(columns, np.int64).reshape(-1, 7).T)


def _answer(exchange: Exchange) -> tuple[int, int]:
    """Where an answer starts in its stream, and how many bytes of the stream it takes."""
    place = exchange.place
    assert place is not None
    return place.answer_start, place.records[-1] - place.answer_start if place.records else len(exchange.data)


def _last_before(keys: Int64s, t_ns: Int64s, chosen: NDArray[np.bool_], of_keys: Int64s, at_ns: Int64s) -> Int64s:
    """Give for each (of_keys, at_ns) the number of the last chosen (keys, t_ns) of that key until then, -1 for none."""
    numbers = np.flatnonzero(chosen)
    count = len(numbers)
    if not count:
        return np.full(len(of_keys), -1)
    if len(np.unique(keys[numbers])) == count:
        nearest = np.full(int(max(keys.max(initial=0), of_keys.max(initial=0))) + 1, -1)
        nearest[keys[numbers]] = numbers
        found = nearest[of_keys]
        return np.where((found >= 0) & (t_ns[found] <= at_ns), found, -1)
    # A port that was used again: all in order, what is looked for behind what is there at the same time.
    every, when = np.concatenate((keys[numbers], of_keys)), np.concatenate((t_ns[numbers], at_ns))
    order = np.lexsort((np.arange(len(every)) >= count, when, every))
    last = np.maximum.accumulate(np.where(order < count, np.arange(len(order)), -1))
    asks = order >= count
    nearest = order[last[asks]]
    found = np.empty(len(of_keys), np.int64)
    is_its = (last[asks] >= 0) & (every[nearest] == every[order[asks]])
    found[order[asks] - count] = np.where(is_its, numbers[np.minimum(nearest, count - 1)], -1)
    return found


def _places(rows: Rows, rows_flow: Int64s, first: Int64s, base: Int64s) -> Int64s:
    """Where each segment starts in its stream: the place nearest to the stream's `base` that its number can mean."""
    of_32_bits = rows["seq"].astype(np.int64) - first[rows_flow] - 1
    # Sequence numbers have 32 bits and wrap every 4 GiB: of the places they can mean the one near the answer is meant.
    near = base[rows_flow]
    return near + ((of_32_bits - near + (1 << 31)) % (1 << 32) - (1 << 31))


def _of_flows(flow: Int64s, first: NDArray[np.uint32], place: Int64s) -> tuple[Int64s, Int64s]:
    """Per connection, from columns of its exchanges: its first sequence number, and a place that is near theirs."""
    numbers = np.zeros(int(flow.max()) + 1, np.int64)
    numbers[flow] = first
    base = np.full(len(numbers), np.iinfo(np.int64).max)
    np.minimum.at(base, flow, place)
    return numbers, base


def _departures(
    asked: _LocatedExchanges, flow: Int64s, first: NDArray[np.uint32], rows: Rows, rows_flow: Int64s
) -> tuple[Int64s, Int64s]:
    """When the last byte of each request left first, -1 where that was not seen; and how many segments left again."""
    start = _places(rows, rows_flow, *_of_flows(flow, first, asked.request_end))
    stop = start + rows["bytes"]
    order = np.lexsort((asked.request_end, flow))
    ends = flow[order] << _PLACE_BITS | asked.request_end[order]
    # The request of which a segment has the first byte is the first that ends behind it.
    number = np.searchsorted(ends, rows_flow << _PLACE_BITS | np.maximum(start, 0), "right")
    of = order[np.minimum(number, len(ends) - 1)]
    again = start < _highest_before(rows_flow, stop)
    inside = (start >= 0) & (number < len(ends)) & (flow[of] == rows_flow)
    inside &= _during(asked, of, rows["t_ns"])
    # The first departure of the last byte: what was sent again later had left before, and the server may have had it.
    last = inside & (asked.request_end[of] <= stop)
    sent_ns = np.full(len(flow), np.iinfo(np.int64).max)
    np.minimum.at(sent_ns, of[last], rows["t_ns"][last])
    sent_ns[sent_ns == np.iinfo(np.int64).max] = -1
    return sent_ns, np.bincount(of[inside & again], minlength=len(flow))


def _arrivals(
    asked: _LocatedExchanges, flow: Int64s, first: NDArray[np.uint32], rows: Rows, rows_flow: Int64s
) -> Iterator[tuple[int, Int64s, Int64s, int]]:
    """Of each exchange whose answer was seen whole: its number, ends from the answer's start, times, repeated."""
    start = _places(rows, rows_flow, *_of_flows(flow, first, asked.start))
    stop = start + rows["bytes"]
    order = np.lexsort((asked.start, flow))
    starts = flow[order] << _PLACE_BITS | asked.start[order]
    # By its last byte, for a segment that was sent again may have grown at its start.
    number = np.searchsorted(starts, rows_flow << _PLACE_BITS | np.maximum(stop - 1, 0), "right") - 1
    of = order[np.maximum(number, 0)]
    start = np.maximum(start - asked.start[of], 0)
    # What came behind the answer, or behind what was read of it, is nobody's.
    stop = np.minimum(stop - asked.start[of], asked.length[of])
    inside = (number >= 0) & (flow[of] == rows_flow) & (start < stop) & _during(asked, of, rows["t_ns"])
    inside = np.flatnonzero(inside)
    inside = inside[_by(of[inside])]
    of, start, stop, t_ns = of[inside], start[inside], stop[inside], rows["t_ns"][inside]
    before = _highest_before(of, stop)
    grows, exchanges = stop > before, np.arange(len(flow) + 1)
    again, jumps = (np.bincount(of[odd], minlength=len(flow)).tolist() for odd in (start < before, start > before))
    edges = np.searchsorted(of, exchanges).tolist()
    grown, grown_stop, grown_ns = np.searchsorted(of[grows], exchanges).tolist(), stop[grows], t_ns[grows]
    for which, length in enumerate(asked.length.tolist()):
        if jumps[which]:
            here = slice(edges[which], edges[which + 1])
            ends, times = _in_order(start[here], stop[here], t_ns[here])
        else:
            here = slice(grown[which], grown[which + 1])
            ends, times = grown_stop[here], grown_ns[here]
        if (ends[-1] if len(ends) else 0) == length:
            yield which, ends, times, again[which]


def _during(asked: _LocatedExchanges, of: Int64s, t_ns: Int64s) -> NDArray[np.bool_]:
    return (t_ns >= asked.sent_ns[of] - _AROUND_NS) & (t_ns <= asked.end_ns[of] + _AROUND_NS)


def _by(group: Int64s) -> Int64s:
    """The order that brings groups together and leaves each as it is; of few groups numpy knows a faster way."""
    small = group.astype(np.uint16) if len(group) and group.max() < 1 << 16 else group
    return np.argsort(small, kind="stable")


def _highest_before(group: Int64s, stop: Int64s) -> Int64s:
    """The highest stop before each in its group, 0 for the first."""
    order = _by(group)
    top = np.maximum.accumulate(group[order] << _PLACE_BITS | np.maximum(stop[order], 0))
    before = np.concatenate(([-1], top[:-1]))[: len(top)]
    found = np.empty_like(stop)
    found[order] = np.where(before >> _PLACE_BITS == group[order], before & ((1 << _PLACE_BITS) - 1), 0)
    return found


def _in_order(start: Int64s, stop: Int64s, t_ns: Int64s) -> tuple[Int64s, Int64s]:
    """The same for segments with gaps between them, which later ones may close."""
    edge, waiting = 0, list[tuple[int, int]]()
    ends, times = [], []
    for begin, finish, when in zip(start.tolist(), stop.tolist(), t_ns.tolist(), strict=True):
        waiting.append((begin, finish))
        if begin > edge or finish <= edge:
            continue
        waiting.sort()
        kept = []
        for low, high in waiting:
            if low <= edge:
                edge = max(edge, high)
            else:
                kept.append((low, high))
        waiting = kept
        ends.append(edge)
        times.append(when)
    return np.array(ends, np.int64), np.array(times, np.int64)


def _on(exchange: Exchange, sent_ns: int, ends: Int64s, t_ns: Int64s, repeated: int) -> Joined:
    """Put what arrived in the stream on the bytes of an answer, within what the client itself knows of them."""
    assert exchange.place is not None and exchange.sent_ns is not None
    if exchange.place.records:
        plain, wire = np.array(exchange.place.records, np.int64).reshape(-1, 2).T
        # A record can be read when its last byte is there.
        t_ns = t_ns[np.searchsorted(ends, wire - exchange.place.answer_start)]
        ends = np.cumsum(plain)
    sent_ns = max(sent_ns, exchange.sent_ns)
    if len(ends):
        # Nothing is read before it arrives: what the clocks' noise of some 100 ns says else is cut off.
        t_ns = (_few_read if len(ends) + len(exchange.sizes) <= _FEW else _read)(exchange, ends, t_ns)
        if t_ns[0] < sent_ns:  # answered before the request was complete: then it is sent when it is begun
            sent_ns = exchange.sent_ns
    return Joined(sent_ns, ends, t_ns, repeated)


def _read(exchange: Exchange, ends: Int64s, t_ns: Int64s) -> Int64s:
    """When bytes up to `ends` arrived, at `t_ns` or when they were read, whatever was first; ascending."""
    read = np.searchsorted(np.cumsum(exchange.sizes), ends)
    found: Int64s = np.maximum.accumulate(np.minimum(t_ns, np.frombuffer(exchange.user_ns, np.int64)[read]))
    return found


def _few_read(exchange: Exchange, ends: Int64s, t_ns: Int64s) -> Int64s:
    """The same in plain numbers, which of so few is sooner done."""
    read_ends, read_ns = list(accumulate(exchange.sizes)), exchange.user_ns
    each = zip(ends.tolist(), t_ns.tolist(), strict=True)
    arrived = (min(at_ns, read_ns[bisect_left(read_ends, end)]) for end, at_ns in each)
    return np.fromiter(accumulate(arrived, max), np.int64, len(ends))
