"""When the bytes of an answer arrived, read by read."""

from array import array
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runs.arrivals import of_few, of_many, stopwatch
from bench.types import Exchange
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
    assert of_few(watch, exchange) == of_many(watch, exchange)
