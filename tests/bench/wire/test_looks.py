"""Reading on a tick: when, how late at most, and that nothing is lost by it."""

import socket
from collections.abc import Iterator

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wire.clock import now_ns
from bench.wire.looks import SHARE_OF_ANSWER, TICK_S, TickReader, tick_s


@given(st.floats(0, 2), st.floats(0, TICK_S), st.floats(0, TICK_S))
def test_a_tick_is_within_its_bound_and_an_idle_core_looks_at_once(share: float, bound: float, now: float) -> None:
    found = tick_s(share, bound, now)
    assert found in (0.0, bound)
    assert found == 0 or share > 0.5 or now > 0
    assert share >= 0.08 or found == 0


def test_once_on_a_tick_a_core_that_is_idle_because_of_it_stays_there() -> None:
    assert tick_s(0.9, TICK_S, 0.0) == TICK_S
    assert tick_s(0.2, TICK_S, TICK_S) == TICK_S
    assert tick_s(0.4, TICK_S, 0.0) == 0.0


def test_short_answers_are_looked_for_at_once() -> None:
    assert tick_s(1.0, SHARE_OF_ANSWER * 0.02, TICK_S) == 0.0


@pytest.fixture
def looks() -> Iterator[TickReader]:
    one = TickReader(is_closed_loop=False)
    yield one
    one.close()


@pytest.mark.parametrize("late", [False, True])
def test_all_that_comes_is_read(looks: TickReader, late: bool) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    got = bytearray()
    looks.add(ours.fileno(), lambda: got.extend(ours.recv(1000)))
    if late:
        looks._set(0.01)
    sent = bytes(range(256)) * 100
    theirs.sendall(sent)
    until = now_ns() + 60_000_000_000
    while len(got) < len(sent) and now_ns() < until:
        gevent.sleep(0.002)
    assert bytes(got) == sent
    looks.remove(ours.fileno())
    theirs.sendall(b"x")
    gevent.sleep(0.03)
    assert bytes(got) == sent
    ours.close()
    theirs.close()


def test_one_that_is_read_may_take_away_another(looks: TickReader) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    read: list[int] = []

    def take_away(own: int) -> None:
        read.append(own)
        for ours, _ in pairs:
            looks.remove(ours.fileno())

    for n, (ours, theirs) in enumerate(pairs):
        theirs.sendall(b"x")
        looks.add(ours.fileno(), lambda n=n: take_away(n))  # type: ignore[misc]
    while not read:
        gevent.sleep(0.001)
    gevent.sleep(0.02)
    assert len(read) == 1
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_in_a_closed_loop_the_shortest_answer_says_how_late_a_look_may_be() -> None:
    one = TickReader(is_closed_loop=True)
    try:
        assert one._bound_s() == 0, "nothing is known of answers yet"
        one._first_ns = now_ns() - 1_000_000_000
        assert 0.02 <= one._bound_s() <= TICK_S, "none has ended, so that none is shorter than what has passed"
        one.answered(800_000_000)
        one.answered(400_000_000)
        assert one._bound_s() == pytest.approx(0.008)
        one.answered(100_000_000_000)
        one._shortest_ns = None
        assert one._bound_s() == pytest.approx(0.008), "the last bound holds"
    finally:
        one.close()


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_a_look_reads_what_there_was_at_its_beginning_and_goes_on_only_where_a_buffer_was_filled(
    filled: list[int],
) -> None:
    looks = TickReader(is_closed_loop=False)
    pairs = [socket.socketpair() for _ in filled]
    reads = [0] * len(filled)

    def read(n: int) -> bool:
        reads[n] += 1
        pairs[n][1].send(b"x")  # more comes meanwhile, as on a busy core
        return reads[n] <= filled[n]

    try:
        looks._set(10.0)
        for n, (ours, theirs) in enumerate(pairs):
            theirs.send(b"x")
            looks.add(ours.fileno(), lambda n=n: read(n))  # type: ignore[misc]
        looks._look()
        assert reads == [min(times + 1, 16) for times in filled]
    finally:
        for ours, theirs in pairs:
            looks.remove(ours.fileno())
            ours.close()
            theirs.close()
        looks.close()
