"""A clock for greenlets that stands still while any of them can go on, and then leaps to what is due next."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

import gevent
import pytest
from gevent.event import Event

from bench.load import agenda, dispatch

BEGIN_NS = 10**15


class VirtualClock:
    """Monotonic nanoseconds, and waiting for an instant of them."""

    def __init__(self) -> None:
        self._ns = BEGIN_NS
        self._due: list[tuple[int, int, Event]] = []
        self._order = count()

    def now_ns(self) -> int:
        return self._ns

    def sleep(self, seconds: float) -> None:
        self.wait_until(self._ns + round(seconds * 1e9), Event())

    def wait_until(self, t_ns: int, woken: Event) -> None:
        """Let others run until an instant, or until the event is set."""
        if t_ns > self._ns:
            heapq.heappush(self._due, (t_ns, next(self._order), woken))
            woken.wait()

    def run(self) -> None:
        """Leap from one instant to the next, until killed."""
        while True:
            gevent.idle()
            if self._due:
                self._ns, _, woken = heapq.heappop(self._due)
                woken.set()


class VirtualTimer:
    """Stands in for `bench.load.timer.Timer`."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._woken = Event()

    def sleep_until(self, t_ns: int) -> None:
        self._woken = Event()
        self._clock.wait_until(t_ns, self._woken)

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None: ...


@contextmanager
def virtual_time() -> Iterator[VirtualClock]:
    """Have dispatchers live by a clock of their own, in which nothing takes any time but sleeping."""
    clock = VirtualClock()
    make: Callable[[], VirtualTimer] = partial(VirtualTimer, clock)
    with pytest.MonkeyPatch.context() as patch:
        for module in (agenda, dispatch):
            patch.setattr(module, "now_ns", clock.now_ns)
            patch.setattr(module, "Timer", make)
        running = gevent.spawn(clock.run)
        yield clock
        running.kill()
