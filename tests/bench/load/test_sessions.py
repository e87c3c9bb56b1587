"""Sessions under load: what is in each prompt, when it is due, and what becomes of a session whose turn fails."""

import json
import struct
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import gevent
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.dialect import openai
from bench.load.agenda import Agenda
from bench.load.dispatch import ClosedLoopDispatcher, OpenLoopDispatcher, Ready
from bench.load.prefetch import Prefetcher
from bench.load.sessions import Sessions
from bench.plan.calls import Plan, call, calls, remaining, total
from bench.types import Call, Lengths, Pause, Turns
from bench.wire.capture import Received
from bench.wire.connection import RequestOutcome
from tests.bench.load.virtual import VirtualClock, virtual_time
from tests.bench.plan.sessions import plan_of, plans

MS = 1_000_000
WALL_NS = 1_700_000_000_000_000_000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
END = b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
THREE = Turns(Lengths("fixed", 3, 3), Lengths("fixed", 30, 30), Pause("fixed", 0.002))


@pytest.fixture(autouse=True)
def _no_test_hangs() -> Iterator[None]:
    with gevent.Timeout(120):
        yield


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with virtual_time() as one:
        yield one


def encode(one: Call) -> bytes:
    return json.dumps([one.seq, *one.messages]).encode()


def answer(text: str, end_ns: int, kernel_ns: int | None = None) -> RequestOutcome:
    """An answer whose last byte came at monotonic `end_ns` by our stamp, at `kernel_ns` of the wall clock."""
    received = Received()
    deltas = [orjson.dumps({"choices": [{"delta": {"content": piece}}]}) for piece in (text[:3], text[3:])]
    received.parts = [HEAD, *(b"data: " + delta + b"\n\n" for delta in deltas), END]
    received.user_ns.extend([end_ns] * 4)
    if kernel_ns is not None:
        received.kernel += bytes(48) + struct.pack("qq", *divmod(kernel_ns, 10**9))
    return RequestOutcome(1, end_ns, received, 200, None)


def broken(kind: str) -> RequestOutcome:
    """What is no answer: cut by the wire, refused, an error inside a 200, or an answer with nothing in it."""
    whole = answer("text", 5)
    if kind == "wire":
        return whole._replace(error=("timeout", "no end"))
    if kind == "status":
        return whole._replace(status=500)
    whole.received.parts[1:] = [b'data: {"error":{"message":"it broke"}}\n\n'] if kind == "event" else [END]
    return whole


def texts(request: bytes) -> list[list[str]]:
    return json.loads(request)[1:]  # type: ignore[no-any-return]


@given(plans(), st.integers(0, 10**9), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_what_came_back_is_in_the_next_prompt_which_is_due_a_pause_after_its_last_byte(
    plan: Plan, offset_ns: int, lag_ns: int
) -> None:
    sessions = Sessions(plan, encode, openai.decode)
    for first in calls(plan):
        seq, said, end_ns = first.seq, {}, 10**9
        while seq is not None:
            said[seq] = f" it said {seq} é"
            arrived_ns = end_ns - lag_ns
            went = sessions.after(seq, answer(said[seq], end_ns, arrived_ns + offset_ns + WALL_NS), offset_ns + WALL_NS)
            assert not went.ended
            assert (went.ready is None) == (not remaining(plan, seq))
            if went.ready is None:
                break
            planned = call(plan, went.ready.seq)
            assert went.ready.seq == seq + 1
            assert went.ready.due_ns == arrived_ns + planned.pause_ns
            remembered = [text for role, text in texts(went.ready.request) if role == "assistant"]
            if planned.messages[0].role == "user":
                assert remembered == [said[before] for before in range(first.seq + planned.since, planned.seq)]
            assert texts(went.ready.request)[-1] == list(planned.messages[-1])
            seq, end_ns = went.ready.seq, end_ns + 10**9
    assert not sessions._conversations, "nothing is kept of a session that is over"


@pytest.mark.parametrize("kind", ["wire", "status", "event", "empty", "not sent"])
def test_a_turn_that_fails_ends_its_session_and_no_other(kind: str) -> None:
    sessions = Sessions(plan_of(THREE, sessions=2), encode, openai.decode)
    went = sessions.after(0, answer("fine", 5), 0)
    assert went.ready is not None
    assert sessions.after(1, None if kind == "not sent" else broken(kind), 0) == (None, True)
    assert sessions.after(3, answer("fine", 5), 0).ready is not None
    assert sessions.after(2, broken("wire"), 0) == (None, False), "after the last turn nothing is left"


def test_without_stamps_of_the_kernel_ours_say_when_an_answer_ended() -> None:
    sessions = Sessions(plan_of(THREE, sessions=1), encode, openai.decode)
    ready = sessions.after(0, answer("fine", 77), WALL_NS).ready
    assert ready is not None
    assert ready.due_ns == 77 + 2 * MS


# --- who sends it, and when ---------------------------------------------------------------------------------------


def test_an_agenda_does_each_thing_at_its_instant_the_earliest_first(clock: VirtualClock) -> None:
    agenda, done = Agenda(), []
    start = clock.now_ns()
    for after_ms in (30, 5, 15, 5):
        due = start + after_ms * MS
        agenda.at(due, lambda due=due: done.append((due, clock.now_ns() - due)), lambda: None)  # type: ignore[misc]
    clock.sleep(0.002)
    assert agenda.wait_until(start + 40 * MS)
    assert [(due - start) // MS for due, _ in done] == [5, 5, 15, 30]
    assert {late for _, late in done} == {0}


def test_an_agenda_that_is_stopped_lets_everybody_go(clock: VirtualClock) -> None:
    agenda, left = Agenda(), []
    waiting = [gevent.spawn(lambda: left.append(agenda.wait_until(clock.now_ns() + 10_000 * MS))) for _ in range(3)]
    gevent.sleep(0)
    agenda.stop()
    gevent.joinall(waiting)
    assert left == [False] * 3
    assert not agenda.wait_until(clock.now_ns() + MS)


class Users:
    """So many users of a dispatcher, who answer each call after a millisecond; remembers who sent what when."""

    def __init__(
        self,
        clock: VirtualClock,
        plan: Plan,
        dispatcher: ClosedLoopDispatcher | OpenLoopDispatcher,
        count: int,
        fails: tuple[int, ...] = (),
    ) -> None:
        self._clock = clock
        self.sent: dict[int, tuple[int, int, Ready]] = {}
        self.ended: dict[int, int] = {}
        self._sessions, self._dispatcher, self._fails = Sessions(plan, encode, openai.decode), dispatcher, fails
        self._users = [gevent.spawn(self._run, user) for user in range(count)]

    def _run(self, user: int) -> None:
        ready = self._dispatcher.take()
        while ready is not None:
            self.sent[ready.seq] = self._clock.now_ns(), user, ready
            self._clock.sleep(0.001)
            self.ended[ready.seq] = end_ns = self._clock.now_ns()
            outcome = broken("status") if ready.seq in self._fails else answer(f" said {ready.seq}", end_ns)
            follower = self._dispatcher.follow(self._sessions.after(ready.seq, outcome, 0).ready)
            ready = self._dispatcher.take() if follower is None else follower

    def leave(self) -> "Users":
        gevent.joinall(self._users)
        return self

    def check_order(self, plan: Plan) -> None:
        """Every turn was sent after the one before had ended and its pause was over, as its due time says."""
        for seq, (sent_ns, _, ready) in self.sent.items():
            if (turn := call(plan, seq)).turn:
                assert ready.due_ns == self.ended[seq - 1] + turn.pause_ns <= sent_ns


def prefetched(plan: Plan) -> Prefetcher:
    return Prefetcher(partial(calls, plan, 0, 1), encode)


@pytest.mark.parametrize("users", [1, 3, 10])
def test_in_a_closed_loop_a_user_has_one_session_after_the_other(clock: VirtualClock, users: int) -> None:
    plan = plan_of(THREE, sessions=7)
    dispatcher = ClosedLoopDispatcher(prefetched(plan), None)
    dispatcher.start(clock.now_ns())
    seen = Users(clock, plan, dispatcher, users).leave()
    seen.check_order(plan)
    assert sorted(seen.sent) == list(range(21))
    for session in range(7):
        assert len({seen.sent[seq][1] for seq in range(3 * session, 3 * session + 3)}) == 1


@pytest.mark.parametrize("users", [1, 3, 10])
def test_in_an_open_loop_sessions_arrive_and_their_turns_go_to_whoever_is_idle(clock: VirtualClock, users: int) -> None:
    plan = plan_of(THREE, sessions=7, rate=500.0)
    dispatcher = OpenLoopDispatcher(prefetched(plan), None, goes_on=True)
    seen = Users(clock, plan, dispatcher, users)
    gevent.sleep(0)
    dispatcher.start(clock.now_ns())
    seen.leave().check_order(plan)
    assert sorted(seen.sent) == list(range(21))


@pytest.mark.parametrize("is_open", [False, True])
def test_after_a_turn_that_failed_the_others_go_on_and_the_load_ends(clock: VirtualClock, is_open: bool) -> None:
    plan = plan_of(THREE, sessions=5, rate=500.0 if is_open else None)
    dispatcher = (
        OpenLoopDispatcher(prefetched(plan), None, goes_on=True)
        if is_open
        else ClosedLoopDispatcher(prefetched(plan), None)
    )
    seen = Users(clock, plan, dispatcher, 2, fails=(0, 4, 14))
    gevent.sleep(0)
    dispatcher.start(clock.now_ns())
    assert sorted(seen.leave().sent) == sorted({*range(15)} - {1, 2, 5})


def test_a_turn_for_which_nobody_is_idle_is_dropped_with_the_rest_of_its_session(clock: VirtualClock) -> None:
    plan = plan_of(
        Turns(Lengths("fixed", 3, 3), Lengths("fixed", 20, 20), Pause("fixed", 0.0)),
        sessions=6,
        rate=2000.0,
        arrivals="constant",
    )
    drops: list[int] = []
    dispatcher = OpenLoopDispatcher(prefetched(plan), lambda seq, due_ns: drops.append(seq), goes_on=True)
    seen = Users(clock, plan, dispatcher, 1)
    gevent.sleep(0)
    dispatcher.start(clock.now_ns())
    seen.leave()
    assert drops
    assert set(seen.sent).isdisjoint(drops)
    assert {seq for dropped in drops for seq in remaining(plan, dropped)}.isdisjoint(seen.sent)
    assert {*seen.sent, *drops, *(seq for one in drops for seq in remaining(plan, one))} == set(range(total(plan) or 0))


@pytest.mark.slow
@pytest.mark.parametrize("is_open", [False, True])
def test_a_session_ends_with_the_time(clock: VirtualClock, is_open: bool) -> None:
    endless = Turns(Lengths("fixed", 200, 200), Lengths("fixed", 20, 20), Pause("fixed", 0.01), window_tokens=150)
    plan = plan_of(endless, duration="100ms", rate=100.0 if is_open else None)
    dispatcher = (
        OpenLoopDispatcher(prefetched(plan), None, goes_on=True, duration_s=0.1)
        if is_open
        else ClosedLoopDispatcher(prefetched(plan), 0.1)
    )
    seen = Users(clock, plan, dispatcher, 2)
    gevent.sleep(0)
    start = clock.now_ns()
    dispatcher.start(start)
    if is_open:
        clock.sleep(0.2)
        dispatcher.stop()
    turns = [ready.due_ns - start for _, _, ready in seen.leave().sent.values() if call(plan, ready.seq).turn]
    assert turns
    assert max(turns) < 100 * MS


@pytest.mark.parametrize("is_open", [False, True])
def test_a_stop_ends_sessions_in_the_middle_of_a_pause(clock: VirtualClock, is_open: bool) -> None:
    slow = Turns(Lengths("fixed", 5, 5), Lengths("fixed", 20, 20), Pause("fixed", 30.0))
    plan = plan_of(slow, sessions=4, rate=500.0 if is_open else None)
    dispatcher = (
        OpenLoopDispatcher(prefetched(plan), None, goes_on=True)
        if is_open
        else ClosedLoopDispatcher(prefetched(plan), None)
    )
    seen = Users(clock, plan, dispatcher, 4)
    gevent.sleep(0)
    dispatcher.start(clock.now_ns())
    while len(seen.sent) < 4:
        clock.sleep(0.001)
    dispatcher.stop()
    assert {seq % 5 for seq in seen.leave().sent} == {0}


def test_pairs_of_turns_keep_their_order_however_many_sessions_wait(clock: VirtualClock) -> None:
    plan = plan_of(THREE, sessions=40)
    dispatcher = ClosedLoopDispatcher(prefetched(plan), None)
    dispatcher.start(clock.now_ns())
    seen = Users(clock, plan, dispatcher, 40).leave()
    for one, next_one in pairwise(range(120)):
        if call(plan, next_one).turn:
            assert seen.ended[one] <= seen.sent[next_one][0]
