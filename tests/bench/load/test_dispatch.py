"""Dispatchers and their timer, in a loop of gevent's with nothing patched."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.hub import get_hub
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load import prefetch
from bench.load.dispatch import ClosedLoopDispatcher, OpenLoopDispatcher, Ready
from bench.load.maker import make
from bench.load.prefetch import Prefetcher
from bench.load.timer import Timer
from bench.types import Call
from bench.wire.clock import now_ns
from tests.bench.load.virtual import VirtualClock, virtual_time

MS = 1_000_000


@pytest.fixture(autouse=True)
def _no_test_hangs_and_a_pause_of_the_machine_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(prefetch, "_PREFETCH_NS", 10**18)
    with gevent.Timeout(120):
        yield


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with virtual_time() as one:
        yield one


def call(seq: int, due_ns: int | None = None) -> Call:
    return Call(seq, due_ns, seq, 0, None, (), 1, 0, None)


def encode(one: Call) -> bytes:
    return b"request %d" % one.seq


def prefetcher(calls: list[Call], encode: Callable[[Call], bytes] = encode, beside: Any = None) -> Prefetcher:
    return Prefetcher(lambda start: iter(calls[start:]), encode, beside)


def ahead(due_ms: Iterable[float | None]) -> Prefetcher:
    return prefetcher([call(seq, None if due is None else int(due * MS)) for seq, due in enumerate(due_ms)])


def open_feed(due_ms: Iterable[float], drops: list[tuple[int, int]] | None = None) -> OpenLoopDispatcher:
    return OpenLoopDispatcher(ahead(due_ms), None if drops is None else lambda seq, due_ns: drops.append((seq, due_ns)))


class User:
    """Takes calls, each for `busy_s`, until there are none; remembers when it got which."""

    def __init__(
        self, clock: VirtualClock, dispatcher: ClosedLoopDispatcher | OpenLoopDispatcher, busy_s: float = 0.0
    ) -> None:
        self._clock = clock
        self.got: list[tuple[int, Ready]] = []
        self._dispatcher = dispatcher
        self._busy_s = busy_s
        self._greenlet = gevent.spawn(self._run)
        gevent.sleep(0)

    def _run(self) -> None:
        while (ready := self._dispatcher.take()) is not None:
            self.got.append((self._clock.now_ns(), ready))
            self._clock.sleep(self._busy_s)

    def leave(self) -> list[tuple[int, Ready]]:
        self._greenlet.join()
        return self.got

    def seqs(self) -> list[int]:
        return [ready.seq for _, ready in self.leave()]


# --- the timer ----------------------------------------------------------------------------------------------------


def test_an_alarm_wakes_no_sooner_than_the_instant_and_lets_others_run() -> None:
    others, timer = list[int](), Timer()
    for n in range(20):
        gevent.spawn(others.append, n)
        instant = now_ns() + 3_300_000 + n * 10_000
        timer.sleep_until(instant)
        assert now_ns() >= instant
    timer.close()
    assert others == list(range(20))


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's timerfd")
def test_the_kernel_is_given_the_instant_itself_as_an_event_loops_timer_is_late_by_up_to_a_millisecond() -> None:
    timer = Timer()
    sleeping = gevent.spawn(timer.sleep_until, now_ns() + 3600 * 1000 * MS)
    gevent.sleep(0)
    told = Path(f"/proc/self/fdinfo/{timer._fd}").read_text()
    timer.wake()
    sleeping.join()
    timer.close()
    assert re.search(r"^clockid: 1$", told, re.M)
    assert re.search(r"^settime flags: 01$", told, re.M), "absolute"
    assert re.search(r"^it_value: \(35\d\d, \d+\)$", told, re.M)


def test_an_alarm_set_to_the_past_does_not_wait() -> None:
    timer, others = Timer(), list[int]()
    gevent.spawn(others.append, 1)
    timer.sleep_until(now_ns() - 1)
    timer.close()
    assert not others


def test_without_timerfd_the_loops_timer_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    timer = Timer()
    instant = now_ns() + 5 * MS
    timer.sleep_until(instant)
    assert now_ns() >= instant
    timer.close()


# --- encoding ahead -----------------------------------------------------------------------------------------------


def test_calls_are_encoded_ahead_once_and_in_order() -> None:
    encoded: list[int] = []

    def note(one: Call) -> bytes:
        encoded.append(one.seq)
        return encode(one)

    store = prefetcher([call(seq, seq) for seq in range(50)], note)
    assert encoded == list(range(50))
    taken = [store.pop() for _ in range(50)]
    assert taken == [(seq, seq, b"request %d" % seq) for seq in range(50)]
    assert store.pop() is None
    assert store.pop() is None
    assert len(encoded) == 50


def test_no_more_is_encoded_ahead_than_fits_and_the_rest_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_PREFETCH_BYTES", 100)
    encoded: list[int] = []

    def note(one: Call) -> bytes:
        encoded.append(one.seq)
        return b"x" * 10

    store = prefetcher([call(seq) for seq in range(40)], note)
    assert len(encoded) == 10
    assert store.pop() is not None
    while len(encoded) < 11:
        gevent.sleep(0.001)
    assert len(encoded) == 11
    for _ in range(39):
        assert store.pop() is not None
    assert store.pop() is None
    assert encoded == list(range(40))


@pytest.mark.parametrize(
    ("all_wanted", "has_maker", "ahead"), [(False, False, 10), (True, False, 40), (True, True, 10)]
)
def test_a_loop_that_wants_all_and_has_no_maker_begins_with_more(
    monkeypatch: pytest.MonkeyPatch, all_wanted: bool, has_maker: bool, ahead: int
) -> None:
    monkeypatch.setattr(prefetch, "_PREFETCH_BYTES", 100)
    monkeypatch.setattr(prefetch, "now_ns", lambda: 0)
    monkeypatch.setattr(gevent, "spawn", lambda *_: None)
    encoded: list[int] = []

    def note(one: Call) -> bytes:
        encoded.append(one.seq)
        return b"x" * 10

    every = [call(seq) for seq in range(50)]
    maker: Any = (lambda first: None) if has_maker else None
    store = Prefetcher(lambda start: iter(every[start:]), note, maker, all_wanted=all_wanted)
    assert encoded == list(range(ahead))
    assert [item[0] for item in iter(store.pop, None)] == list(range(50))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whoever_makes_a_request_each_comes_once_and_in_order(data: st.DataObject) -> None:
    """Beside, here because it was wanted before it came, or here because the maker has died."""
    sizes = data.draw(st.lists(st.integers(0, 3000), min_size=1, max_size=40))
    every = [call(seq, None if size % 3 else seq) for seq, size in enumerate(sizes)]
    steps, dies_after = data.draw(st.lists(st.integers(1, 5000))), data.draw(st.integers(0, 100_000))

    def request(one: Call) -> bytes:
        return b"x" * sizes[one.seq]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefetch, "_PREFETCH_BYTES", data.draw(st.integers(1, 60_000)))
        patch.setattr(prefetch, "_FULL_S", 0)
        patch.setattr(os, "nice", lambda _: 0)
        makers: list[FakeMaker] = []

        def beside(first: int) -> FakeMaker:
            makers.append(FakeMaker(every[first:], first, request, steps, dies_after))
            return makers[-1]

        store = prefetcher(every, request, beside)
        got = []
        while (item := store.pop()) is not None:
            got.append(item)
            if data.draw(st.booleans()):
                gevent.sleep(0)
        while not all(maker.stdout.closed for maker in makers):
            gevent.sleep(0)
    assert got == [(one.seq, one.due_ns, request(one)) for one in every]


class FakeMaker:
    """Says what a maker says, in pieces, and dies in the middle of it."""

    def __init__(
        self, calls: list[Call], first: int, request: Callable[[Call], bytes], steps: list[int], dies_after: int
    ) -> None:
        reading, writing = os.pipe()
        self.stdout = os.fdopen(reading, "rb")
        with tempfile.TemporaryFile() as file:
            make(calls, first, request, file.fileno())
            file.seek(0)
            said = file.read()[:dies_after]
        gevent.spawn(self._say, writing, said, steps)

    def _say(self, writing: int, said: bytes, steps: list[int]) -> None:
        for step in steps:
            os.write(writing, said[:step])
            said = said[step:]
            gevent.sleep(0)
        with suppress(BrokenPipeError):
            os.write(writing, said[:60_000])
        os.close(writing)

    def __enter__(self) -> "FakeMaker":
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()


# --- closed loop --------------------------------------------------------------------------------------------------


def test_in_a_closed_loop_a_call_is_due_when_it_is_taken(clock: VirtualClock) -> None:
    dispatcher = ClosedLoopDispatcher(ahead([None] * 6), None)
    dispatcher.start(clock.now_ns())
    users = [User(clock, dispatcher, busy_s=0.002) for _ in range(2)]
    got = sorted((ready.seq, taken_ns - ready.due_ns) for user in users for taken_ns, ready in user.leave())
    assert [seq for seq, _ in got] == list(range(6))
    assert {late for _, late in got} == {0}
    assert dispatcher.waiting == 0


def test_a_closed_loop_by_time_ends_with_the_time(clock: VirtualClock) -> None:
    dispatcher = ClosedLoopDispatcher(ahead([None] * 10_000), 0.05)
    start = clock.now_ns()
    dispatcher.start(start)
    got = User(clock, dispatcher, busy_s=0.001).leave()
    assert [taken_ns - start for taken_ns, _ in got] == [n * MS for n in range(50)]


@pytest.mark.parametrize("duration_s", [None, 60.0])
def test_a_closed_loop_gives_nothing_after_a_stop_even_one_before_its_start(
    clock: VirtualClock, duration_s: float | None
) -> None:
    running, not_begun = (ClosedLoopDispatcher(ahead([None] * 10), duration_s) for _ in range(2))
    running.start(clock.now_ns())
    assert running.take() is not None
    running.stop()
    assert running.take() is None
    not_begun.stop()
    not_begun.start(clock.now_ns())
    assert not_begun.take() is None


# --- open loop ----------------------------------------------------------------------------------------------------


def test_in_an_open_loop_users_get_calls_when_they_are_due(clock: VirtualClock) -> None:
    due_ms = [0, 5, 10.5, 10.5, 20, 25]
    dispatcher = open_feed(due_ms)
    users = [User(clock, dispatcher) for _ in range(4)]
    start = clock.now_ns() + 10 * MS
    dispatcher.start(start)
    got = sorted((item for user in users for item in user.leave()), key=lambda item: item[1].seq)
    assert [ready.seq for _, ready in got] == list(range(6))
    assert [ready.due_ns - start for _, ready in got] == [due * MS for due in due_ms]
    assert [ready.request for _, ready in got] == [b"request %d" % seq for seq in range(6)]
    assert all(taken_ns == ready.due_ns for taken_ns, ready in got)


def test_the_user_idle_for_the_shortest_time_goes_first(clock: VirtualClock) -> None:
    dispatcher = open_feed([2, 22, 42])
    first, second = User(clock, dispatcher), User(clock, dispatcher)
    dispatcher.start(clock.now_ns())
    assert (first.seqs(), second.seqs()) == ([], [0, 1, 2])


def test_with_no_user_idle_calls_wait_in_order_and_keep_their_due_times(clock: VirtualClock) -> None:
    dispatcher = open_feed([0, 1, 2, 3])
    user = User(clock, dispatcher, busy_s=0.1)
    start = clock.now_ns()
    dispatcher.start(start)
    while dispatcher.waiting < 3:
        clock.sleep(0.001)
    got = user.leave()
    assert [ready.seq for _, ready in got] == [0, 1, 2, 3]
    assert [ready.due_ns - start for _, ready in got] == [0, 1 * MS, 2 * MS, 3 * MS]
    assert got[3][0] - got[3][1].due_ns == 297 * MS, "how late it was sent can be told from its due time"


def test_with_no_user_idle_calls_can_be_dropped_and_are_counted(clock: VirtualClock) -> None:
    drops: list[tuple[int, int]] = []
    dispatcher = open_feed([0, 1, 2, 40, 41], drops)
    user = User(clock, dispatcher, busy_s=0.02)
    start = clock.now_ns()
    dispatcher.start(start)
    assert user.seqs() == [0, 3]
    clock.sleep(0.005)
    assert drops == [(1, start + 1 * MS), (2, start + 2 * MS), (4, start + 41 * MS)]


def test_a_call_due_at_the_start_finds_the_users_that_wait(clock: VirtualClock) -> None:
    drops: list[tuple[int, int]] = []
    dispatcher = open_feed([0, 0, 0], drops)
    users = [User(clock, dispatcher) for _ in range(3)]
    dispatcher.start(clock.now_ns() + 3 * MS)
    assert sorted(seq for user in users for seq in user.seqs()) == [0, 1, 2]
    assert drops == []


def test_a_stop_sends_everybody_home_and_gives_nothing_more(clock: VirtualClock) -> None:
    dispatcher = open_feed([0, 1, 2, 30, 31])
    busy = User(clock, dispatcher, busy_s=0.01)
    dispatcher.start(clock.now_ns())
    clock.sleep(0.005)
    idle = User(clock, dispatcher)
    assert dispatcher.waiting in (0, 1, 2)
    # From the loop itself, where nothing may block: there the parent's word arrives.
    get_hub().loop.run_callback(dispatcher.stop)
    clock.sleep(0.05)
    assert dispatcher.waiting == 0
    assert len(busy.seqs() + idle.seqs()) <= 3
    assert dispatcher.take() is None


def test_a_stop_before_the_start_is_a_stop(clock: VirtualClock) -> None:
    dispatcher = open_feed([0, 1])
    user = User(clock, dispatcher)
    dispatcher.stop()
    dispatcher.start(clock.now_ns())
    clock.sleep(0.01)
    assert user.seqs() == []
    assert dispatcher.take() is None
