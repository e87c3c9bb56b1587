"""The joiner against an oracle that knows of each byte when it could first be read."""

from array import array
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.packets.join import Joined, join, wanted
from bench.packets.segments import OUT, ROW, SYN, key
from bench.types import Exchange, WirePlace

SERVERS = (bytes(15) + b"\x01", bytes(10) + b"\xff\xff\x7f\x00\x00\x01")
MS = 1_000_000
Row = tuple[int, int, int, int, int, int]


@dataclass
class Network:
    """Connections as their packets show them, with the exchanges on them and what is true of each."""

    rows: list[Row] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    arrived_ns: list[list[int]] = field(default_factory=list)
    left_ns: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)

    def joined(self, rows: list[Row] | None = None) -> list[Joined | None]:
        every = np.array(self.rows if rows is None else rows, ROW)
        opened = every[(every["flags"] & SYN) > 0]
        first_ns, last_ns, keys = wanted(self.exchanges, SERVERS)
        inside = keys[key(every)] & (every["t_ns"] >= first_ns) & (every["t_ns"] <= last_ns)
        return join(self.exchanges, SERVERS, opened, every[inside])


@st.composite
def pieces(draw: st.DrawFn, length: int, *, disorder: bool) -> list[tuple[int, int]]:
    """Segments that bring `length` bytes: in order, or with some again, overlapping, and in any order."""
    cuts = sorted({0, length, *draw(st.lists(st.integers(0, length), max_size=6))})
    found = list(pairwise(cuts))
    if disorder:
        extra = st.tuples(st.integers(0, length), st.integers(0, length)).map(lambda ends: (min(ends), max(ends)))
        found += [each for each in draw(st.lists(extra, max_size=4)) if each[0] < each[1]]
        found = draw(st.permutations(found))
    return found


def readable_ns(length: int, came: list[tuple[int, int, int]]) -> list[int]:
    """For each byte the time at which it and all before it were there."""
    first = [min(t for t, low, high in came if low <= byte < high) for byte in range(length)]
    return np.maximum.accumulate(np.array(first, np.int64)).tolist() if first else []


def repeats(came: list[tuple[int, int, int]]) -> int:
    return sum(low < max((high for _, _, high in came[:i]), default=0) for i, (_, low, _) in enumerate(came))


@st.composite
def networks(draw: st.DrawFn, *, disorder: bool = True) -> Network:
    found, seq = Network(), 0
    t = draw(st.integers(0, 2**61))
    for nth in range(draw(st.integers(1, 4))):
        # Few ports, so that they come again.
        port, server = draw(st.sampled_from((40000, 40001))), draw(st.integers(0, 1))
        # Far from each other, as systems choose them, so that no connection's bytes look like another's.
        ours, theirs = (((nth << 29) + draw(st.integers(-(2**20), 2**20)) + side) % 2**32 for side in (0, 2**28))
        # As if gigabytes had gone over the connection before.
        request_end, start = (
            draw(st.sampled_from((0, 5, 2**32 - 3, 7 * 2**32 + 9))),
            draw(st.sampled_from((0, 3, 2**31 - 2, 2**32 - 4, 9 * 2**33))),
        )
        t += 10 * MS
        found.rows += [(t, ours, 0, port, server, OUT | SYN), (t + 1, theirs, 0, port, server, SYN)]
        for _ in range(draw(st.integers(1, 3))):
            asked, length = draw(st.integers(1, 40)), draw(st.integers(0, 40))
            sent = t = t + 10 * MS
            left = []
            for low, high in draw(pieces(asked, disorder=False)):
                t += draw(st.integers(1, 9)) * MS
                left.append((t, low, high))
            came = []
            for low, high in draw(pieces(length, disorder=disorder)):
                t += draw(st.integers(0, 9)) * MS
                came.append((t, low, high))
            for flags, first, base, segments in ((OUT, ours, request_end, left), (0, theirs, start, came)):
                found.rows += [
                    (when, (first + 1 + base + low) % 2**32, high - low, port, server, flags)
                    for when, low, high in segments
                ]
            request_end += asked
            t += 5 * MS
            place = WirePlace(SERVERS[server], port, request_end, start, None)
            sizes = array("I", [length] if length else [])
            reads = array("q", [t] if length else [])
            bytes_ = bytes(length)
            found.exchanges.append(Exchange(seq, 0, sent, sent, t, None, reads, sizes, array("q"), bytes_, None, place))
            found.arrived_ns.append(readable_ns(length, came))
            found.left_ns.append(left[-1][0])
            found.repeated.append(repeats(came))
            start += length
            seq += 1
    return found


def by_byte(one: Joined) -> list[int]:
    return [
        t
        for t, (low, high) in zip(one.t_ns.tolist(), pairwise((0, *one.ends.tolist())), strict=True)
        for _ in range(low, high)
    ]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(networks())
def test_every_byte_has_the_time_at_which_it_could_first_be_read(network: Network) -> None:
    for n, one in enumerate(network.joined()):
        assert one is not None
        assert by_byte(one) == network.arrived_ns[n]
        assert one.sent_ns == network.left_ns[n]
        assert one.repeated == network.repeated[n]


@settings(max_examples=300, deadline=None)
@given(networks(disorder=False), st.data())
def test_where_rows_are_lost_an_answer_is_joined_as_without_loss_or_not_at_all(network: Network, data: Any) -> None:
    lost = data.draw(st.sets(st.integers(0, len(network.rows) - 1), min_size=1, max_size=4))
    rows = [row for n, row in enumerate(network.rows) if n not in lost]
    for one, whole in zip(network.joined(rows), network.joined(), strict=True):
        assert one is None or (whole is not None and by_byte(one) == by_byte(whole) and one.sent_ns == whole.sent_ns)


@settings(max_examples=100, deadline=None)
@given(networks(), st.data())
def test_no_loss_ends_a_join(network: Network, data: Any) -> None:
    network.joined([row for row in network.rows if data.draw(st.booleans())])


def test_an_exchange_to_an_address_that_was_not_watched_is_not_joined() -> None:
    elsewhere = WirePlace(bytes(16), 40000, 3, 0, None)
    exchange = Exchange(0, 0, 0, 0, 9, None, array("q", [5]), array("I", [1]), array("q"), b"x", None, elsewhere)
    nothing = np.empty(0, ROW)
    assert join([exchange, exchange._replace(place=None)], SERVERS, nothing, nothing) == [None, None]


def test_a_byte_of_tls_has_the_time_of_its_records_last_segment() -> None:
    rows = np.array(
        [
            (1, 99, 0, 40000, 0, OUT | SYN), (2, 499, 0, 40000, 0, SYN),
            (20, 100, 50, 40000, 0, OUT),
            (30, 500, 30, 40000, 0, 0), (31, 530, 30, 40000, 0, 0), (32, 560, 10, 40000, 0, 0),
        ], ROW,
    )  # fmt: skip
    # A session ticket of 15 bytes comes first; the records of the answer end at bytes 40, 55 and 70 of the stream.
    records = array("q", [10, 40, 7, 55, 3, 70])
    place = WirePlace(SERVERS[0], 40000, 50, 0, records)
    exchange = Exchange(0, 0, 9, 9, 50, None, array("q", [40]), array("I", [20]), array("q"), bytes(20), None, place)
    (found,) = join([exchange], SERVERS, rows[:2], rows)
    assert found is not None
    assert (found.sent_ns, found.ends.tolist(), found.t_ns.tolist()) == (20, [10, 17, 20], [31, 31, 32])


def test_what_the_clocks_differ_by_turns_nothing_around() -> None:
    rows = np.array(
        [
            (1, 99, 0, 40000, 0, OUT | SYN), (2, 499, 0, 40000, 0, SYN),
            (19, 100, 50, 40000, 0, OUT), (33, 500, 30, 40000, 0, 0),
        ], ROW,
    )  # fmt: skip
    place = WirePlace(SERVERS[0], 40000, 50, 0, None)
    exchange = Exchange(0, 0, 20, 20, 50, None, array("q", [32]), array("I", [30]), array("q"), bytes(30), None, place)
    (found,) = join([exchange], SERVERS, rows[:2], rows)
    assert found is not None
    assert (found.sent_ns, found.t_ns.tolist()) == (20, [32]), "left after it was sent, came before it was read"


@pytest.mark.parametrize("junk", [b"", b"more"])
def test_an_answer_that_is_cut_short_is_joined_as_far_as_it_was_read(junk: bytes) -> None:
    length = 30 - len(junk)
    rows = np.array(
        [
            (1, 99, 0, 40000, 0, OUT | SYN), (2, 499, 0, 40000, 0, SYN),
            (21, 100, 50, 40000, 0, OUT), (30, 500, 10, 40000, 0, 0), (33, 510, 40, 40000, 0, 0),
        ], ROW,
    )  # fmt: skip
    place = WirePlace(SERVERS[0], 40000, 50, 0, None)
    read = bytes(length)
    exchange = Exchange(0, 0, 20, 20, 50, None, array("q", [40]), array("I", [length]), array("q"), read, None, place)
    (found,) = join([exchange], SERVERS, rows[:2], rows)
    assert found is not None
    assert (found.ends.tolist(), found.t_ns.tolist()) == ([10, length], [30, 33])
