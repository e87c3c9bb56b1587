"""When the bytes of an answer arrived, read by read."""

from array import array
from itertools import accumulate, chain, pairwise
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.packets import join
from bench.packets.segments import OUT, ROW, SYN
from bench.runs import arrivals
from bench.runs.arrivals import Arrivals, of_few, of_many, stopwatch
from bench.types import Exchange, WirePlace
from bench.wire.clock import ClockSample

SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([-300, -1, 0, 1, 120, SECOND])), max_size=4),
    st.lists(st.tuples(st.integers(0, 4000), st.sampled_from([None, -900, -40, 0, 3, 70])), max_size=8),
    st.booleans(),
)
def test_few_reads_are_stamped_as_many_are(
    samples: list[tuple[int, int]], reads: list[tuple[int, int | None]], stamped: bool
) -> None:
    watch = stopwatch(7, [ClockSample(t_ns, WALL + moved_ns) for t_ns, moved_ns in samples])
    walls_ns = [0 if off_ns is None else WALL + t_ns + off_ns for t_ns, off_ns in reads]
    kernel = array("q", chain.from_iterable(divmod(wall_ns, SECOND) for wall_ns in walls_ns)) if stamped else array("q")
    user_ns, sizes = array("q", sorted(t_ns for t_ns, _ in reads)), array("I", [1] * len(reads))
    exchange = Exchange(0, 0, 0, 0, 5000, None, user_ns, sizes, kernel, b"", None)
    assert of_few(watch, exchange) == tuple(map(list, of_many(watch, exchange)))


def joined_arrivals(exchange: Exchange, rows: list[tuple[int, ...]]) -> Arrivals:
    every = np.array(rows, ROW)
    [joined] = join.join([exchange], [bytes(16)], every[(every["flags"] & SYN) > 0], every)
    assert joined is not None
    return stopwatch(7, []).arrivals(exchange, joined)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(-30, 60)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(1, 300), st.integers(-30, 60)), max_size=8),
)
def test_few_segments_are_read_as_many_are(segments: list[tuple[int, int]], reads: list[tuple[int, int]]) -> None:
    """Whatever the two clocks make of which of them was first."""
    length = sum(size for size, _ in segments)
    ends = sorted({min(end, length) for end, _ in reads} | {length})
    read_ns = list(accumulate((max(wait, 0) for _, wait in [*reads, (0, 5)]), initial=30))[1 : len(ends) + 1]
    rows: list[tuple[int, ...]] = [(1, 0, 0, 40000, 0, OUT | SYN), (2, 0, 0, 40000, 0, SYN), (20, 1, 5, 40000, 0, OUT)]
    at, seq = 20, 1
    for size, wait in segments:
        at += max(wait, 0)
        rows.append((at, seq, size, 40000, 0, 0))
        seq += size
    sizes = array("I", [end - start for start, end in pairwise([0, *ends])])
    place = WirePlace(bytes(16), 40000, 5, 0, None)
    exchange = Exchange(0, 0, 0, 10, 900, None, array("q", read_ns), sizes, array("q"), bytes(length), None, place)
    found = joined_arrivals(exchange, rows)
    with patch.object(join, "_FEW", 0), patch.object(arrivals, "_FEW_READS", 0):
        many = joined_arrivals(exchange, rows)
    assert many._replace(ends=list(many.ends), t_ns=list(many.t_ns), lags_ns=list(many.lags_ns)) == found
