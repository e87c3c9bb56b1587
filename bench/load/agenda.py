"""What is to happen at an instant: one timer for all who wait, the earliest first."""

import heapq
from collections.abc import Callable
from itertools import count

import gevent
from gevent.hub import get_hub

from bench.load.timer import Timer
from bench.wire.clock import now_ns

_NOTHING_TO_DO_NS = 3600 * 1_000_000_000


class Agenda:
    """Does things when they are due, in a greenlet of its own; what it does must not wait."""

    def __init__(self) -> None:
        self._timer = Timer()
        self._heap: list[tuple[int, int, Callable[[], object], Callable[[], object]]] = []
        self._numbers = count()
        self._is_over = False
        gevent.spawn(self._run)

    def at(self, t_ns: int, act: Callable[[], object], give_up: Callable[[], object]) -> None:
        """Have `act` called at monotonic `t_ns`, or `give_up` once there is to be no more."""
        if self._is_over:
            give_up()
            return
        heapq.heappush(self._heap, (t_ns, next(self._numbers), act, give_up))
        if self._heap[0][0] == t_ns:
            self._timer.wake()

    def wait_until(self, t_ns: int) -> bool:
        """Let others run until monotonic `t_ns`; False once there is to be no more."""
        if t_ns <= now_ns():
            return not self._is_over
        waiting, run = gevent.getcurrent(), get_hub().loop.run_callback
        self.at(t_ns, lambda: run(waiting.switch, True), lambda: run(waiting.switch, False))
        has_come: bool = get_hub().switch()
        return has_come

    def stop(self) -> None:
        """Do nothing more; may be called from the loop."""
        self._is_over = True
        heap, self._heap = self._heap, []
        for _, _, _, give_up in heap:
            give_up()
        self._timer.wake()

    def _run(self) -> None:
        try:
            while not self._is_over:
                while self._heap and self._heap[0][0] <= now_ns():
                    heapq.heappop(self._heap)[2]()
                self._timer.sleep_until(self._heap[0][0] if self._heap else now_ns() + _NOTHING_TO_DO_NS)
        finally:
            self._timer.close()
