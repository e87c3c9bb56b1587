"""Who sends which call when: a closed loop hands a user its next call at once, an open loop when the call is due.

Where all calls of an open loop are due at once, it is the users who are scarce, as in a closed loop.

Requests are made ahead of time, so that sending one is one write. The turns of a session are encoded when the answer
before them is there: in a closed loop its user waits until the next is due, in an open loop whoever is idle then
sends it.
"""

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import gevent
from gevent.hub import get_hub
from greenlet import greenlet

from bench.load.agenda import Agenda
from bench.load.prefetch import Prefetcher
from bench.load.timer import Timer
from bench.plan.course import highest
from bench.types import Load
from bench.wire.clock import now_ns

_FEWEST_WARM = 8


class Ready(NamedTuple):
    """A call as bytes, due at an instant of the monotonic clock."""

    seq: int
    due_ns: int
    request: bytes


# As its type makes one, without the Python function by which that calls for its fields: once for each request.
_ready: Callable[[tuple[int, int, bytes]], Ready] = partial(tuple.__new__, Ready)


class ClosedLoopDispatcher:
    """A user's next call is due the moment it asks for one, until the calls or the time are used up."""

    def __init__(self, prefetched: Prefetcher, duration_s: float | None) -> None:
        self._prefetched = prefetched
        self._duration_s = duration_s
        self._agenda = Agenda()
        self._end_ns: float = float("inf")
        self.waiting = 0

    def start(self, start_ns: int) -> None:
        """Begin to count the time."""
        if self._duration_s is not None:
            # The load may have been stopped before it began.
            self._end_ns = min(self._end_ns, start_ns + self._duration_s * 1e9)

    def left_s(self, now_ns: int) -> float:
        """Give how much of its time is left, infinity where only calls are counted."""
        return max(0.0, (self._end_ns - now_ns) / 1e9)

    def take(self) -> Ready | None:
        """Give the next call, due now."""
        # Due when it is asked for, not when the last answer came: a slot's own pause is no lateness of the call.
        now = now_ns()
        item = self._prefetched.pop() if now < self._end_ns else None
        return None if item is None else _ready((item[0], now, item[2]))

    def follow(self, ready: Ready | None) -> Ready | None:
        """Wait until a session's next call is due, and give it back; None where there is none, or no time for it."""
        if ready is None or ready.due_ns >= self._end_ns:
            return None
        return ready if self._agenda.wait_until(ready.due_ns) and ready.due_ns < self._end_ns else None

    def stop(self) -> None:
        """Give no more calls."""
        self._end_ns = 0
        self._agenda.stop()


class AtOnceDispatcher(ClosedLoopDispatcher):
    """All calls are due at the start, and a user takes the next one as soon as it is free."""

    def __init__(self, prefetched: Prefetcher, calls: int) -> None:
        super().__init__(prefetched, None)
        self._start_ns = 0
        self.waiting = calls

    def start(self, start_ns: int) -> None:
        """Have all calls due."""
        self._start_ns = start_ns

    def take(self) -> Ready | None:
        """Give the next call, due since the start."""
        ready = super().take()
        self.waiting = 0 if ready is None else self.waiting - 1
        return ready and ready._replace(due_ns=self._start_ns)


class OpenLoopDispatcher:
    """Calls go to idle users at their due time; with no user idle they wait in order, or are dropped and counted.

    Where calls are first turns, `goes_on`, each is followed by the rest of its session; after `duration_s` no turn is
    given out any more.
    """

    def __init__(
        self,
        prefetched: Prefetcher,
        drop: Callable[[int, int], None] | None,
        *,
        goes_on: bool = False,
        duration_s: float | None = None,
    ) -> None:
        self._prefetched = prefetched
        self._drop = drop
        self._idle: list[greenlet] = []
        self._backlog: deque[Ready] = deque()
        self._agenda = Agenda() if goes_on else None
        self._duration_ns = float("inf") if duration_s is None else duration_s * 1e9
        self._end_ns = float("inf")
        self._sessions = 0
        self._have_all_arrived = self._ended = False

    @property
    def waiting(self) -> int:
        """How many calls are due and not sent."""
        return len(self._backlog)

    def start(self, start_ns: int) -> None:
        """Begin to give calls out."""
        self._end_ns = start_ns + self._duration_ns
        gevent.spawn(self._dispatch, start_ns)

    def take(self) -> Ready | None:
        """Wait for a call that is due."""
        if self._backlog:
            return self._backlog.popleft()
        if self._ended:
            return None
        # The user that was idle for the shortest time goes first: its connection is the warmest.
        self._idle.append(gevent.getcurrent())
        # Comes back when `_dispatch` has a call for it, or `_end` has none for anybody.
        ready: Ready | None = get_hub().switch()
        return ready

    def follow(self, ready: Ready | None) -> Ready | None:
        """Have a session go on with this call once it is due, sent by whoever is idle then; None: it is over."""
        if ready is not None and self._agenda is not None and ready.due_ns < self._end_ns:
            self._agenda.at(ready.due_ns, partial(self._give, ready), lambda: None)
            return None
        self._sessions -= 1
        if self._have_all_arrived and not self._sessions:
            self._end()
        return None

    def stop(self) -> None:
        """Give no more calls, those in the backlog included."""
        self._backlog.clear()
        self._end()

    def _dispatch(self, start_ns: int) -> None:
        timer = Timer()
        try:
            # Taken before the wait, so that its request is made by the time it is due.
            while (item := self._prefetched.pop()) is not None:
                seq, due_ns, request = item
                assert due_ns is not None
                ready = Ready(seq, start_ns + due_ns, request)
                # An instant of the plan, not a gap after the call before: one that is late makes no other late.
                timer.sleep_until(start_ns + due_ns)
                if self._ended:
                    break
                self._sessions += 1
                self._give(ready)
        finally:
            timer.close()
        # Sessions that still go on give out more turns: then the last of them ends the load, in `follow`.
        self._have_all_arrived = True
        if self._agenda is None or not self._sessions:
            self._end()

    def _give(self, ready: Ready) -> None:
        if self._idle:
            # By the loop: a user that is switched to from here returns to the hub, and nobody to this greenlet.
            get_hub().loop.run_callback(self._idle.pop().switch, ready)
        elif self._drop is None:
            self._backlog.append(ready)
        else:
            self._drop(ready.seq, ready.due_ns)
            if self._agenda is not None:
                self.follow(None)

    def _end(self) -> None:
        self._ended = True
        if self._agenda is not None:
            self._agenda.stop()
        for user in self._idle:
            get_hub().loop.run_callback(user.switch, None)
        self._idle.clear()


def dispatcher_for(
    load: Load, prefetched: Prefetcher, calls: int, drop: Callable[[int, int], None], *, goes_on: bool
) -> ClosedLoopDispatcher | OpenLoopDispatcher:
    """Make the dispatcher of this worker's `calls` (first turns, if it `goes_on`); `drop` hears what is not sent."""
    duration_s = None if load.duration_s is None else load.duration_s + (load.warmup_s or 0.0)
    if load.is_at_once:
        return AtOnceDispatcher(prefetched, calls)
    if load.is_open:
        dropping = drop if load.overload == "drop" else None
        return OpenLoopDispatcher(prefetched, dropping, goes_on=goes_on, duration_s=duration_s)
    return ClosedLoopDispatcher(prefetched, duration_s)


def warm_slots(load: Load, slots: int, workers: int) -> int:
    """How many of a worker's slots connect before the start: as many as a second may ask for."""
    if not load.is_open:
        return slots
    if load.is_at_once:
        return min(slots, math.ceil((load.requests or 0) / workers))
    busiest_per_s = highest(load.course) if load.course else load.rate_per_s or 0.0
    return max(_FEWEST_WARM, math.ceil(busiest_per_s / workers))
