"""When connections are read: at once, or on a tick while the core is busy and others note the arrivals.

With packet stamps it does not matter when this client reads, and a read that takes in what came in 50 ms costs as much
as one of a single token. So all connections lie in an epoll set of their own. As a rule the loop watches that set, and
they are read as soon as something is there; above half a core it is looked at on a tick instead. Sends do not wait for
it: the loop itself never sleeps.
"""

from collections.abc import Callable
from typing import Any

from gevent import monkey
from gevent.hub import get_hub

from bench.wire.clock import cpu_s, now_ns

TICK_S = 0.05
"""No look is later than this."""
SHARE_OF_ANSWER = 0.02
"""In a closed loop none is later than this share of an answer's time, which the next call waits for."""

_JUDGE_S = 0.2
# Busier than this, looks wait for the tick; idler than that even so, they need not: ticks cost a fifth of it.
_BUSY, _IDLE = 0.5, 0.08
_SHORTEST_TICK_S = 0.002
# A look goes on with those that fill their buffers, but not for ever: others want the loop.
_ROUNDS = 16
_READABLE = 1


class ImmediateReader:
    """Reads each connection as soon as something is there."""

    def __init__(self) -> None:
        self._loop = get_hub().loop
        self._watchers: dict[int, Any] = {}

    def add(self, fd: int, read: Callable[[], bool | None]) -> None:
        """Have `read` called while there is something to read."""
        self._watchers[fd] = watcher = self._loop.io(fd, 1)
        watcher.start(read)

    def remove(self, fd: int) -> None:
        """Look at it no more."""
        watcher = self._watchers.pop(fd)
        watcher.stop()
        watcher.close()

    def answered(self, took_ns: int) -> None:
        """Nothing depends on how long an answer took."""

    def close(self) -> None:
        """Connections that are open are looked at until they are closed."""


class TickReader:
    """Reads all connections, at once or on a tick of `tick_s` (0 is at once)."""

    def __init__(self, *, is_closed_loop: bool) -> None:
        self._epoll = monkey.get_original("select", "epoll")()
        self._readers: dict[int, Callable[[], bool | None]] = {}
        self._loop = get_hub().loop
        self._at_once = self._loop.io(self._epoll.fileno(), 1)
        self._at_once.start(self._look)
        self._tick = self._loop.timer(TICK_S, TICK_S)
        self._judge = self._loop.timer(_JUDGE_S, _JUDGE_S)
        self._judge.start(self._judge_now)
        self._is_closed_loop = is_closed_loop
        self._first_ns: int | None = None
        self._shortest_ns: int | None = None
        self._last_bound_s = 0.0
        self._since = (now_ns(), cpu_s())
        self.tick_s = 0.0

    def add(self, fd: int, read: Callable[[], bool | None]) -> None:
        """Have `read` called while there is something to read; it says whether there may be more now."""
        self._readers[fd] = read
        self._epoll.register(fd, _READABLE)

    def remove(self, fd: int) -> None:
        """Look at it no more."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def answered(self, took_ns: int) -> None:
        """Take note of how long an answer took."""
        if self._shortest_ns is None or took_ns < self._shortest_ns:
            self._shortest_ns = took_ns

    def close(self) -> None:
        """Look at nothing any more."""
        for watcher in (self._at_once, self._tick, self._judge):
            watcher.stop()
            watcher.close()
        self._epoll.close()

    def _look(self) -> None:
        # Those that were readable at its beginning: on a busy core as much as was read comes meanwhile, and to go on
        # would read each token by itself again.
        ready = [fd for fd, _ in self._epoll.poll(0, len(self._readers) or 1)]
        for _ in range(1 if self.tick_s == 0 else _ROUNDS):
            # One that was read may have ended another.
            ready = [fd for fd in ready if (read := self._readers.get(fd)) is not None and read()]
            if not ready:
                break
        if self._first_ns is None:
            self._first_ns = now_ns()

    def _judge_now(self) -> None:
        before_ns, before_cpu_s = self._since
        self._since = now, cpu = now_ns(), cpu_s()
        wanted_s = tick_s((cpu - before_cpu_s) * 1e9 / (now - before_ns), self._bound_s(), self.tick_s)
        self._shortest_ns = None
        if wanted_s != self.tick_s:
            self._set(wanted_s)

    def _set(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self._tick.stop()
        self._at_once.stop()
        if tick_s:
            self._tick.close()
            self._tick = self._loop.timer(tick_s, tick_s)
            self._tick.start(self._look)
        else:
            self._at_once.start(self._look)

    def _bound_s(self) -> float:
        """How late a look may be; where no answer has ended of late, the last bound holds."""
        if not self._is_closed_loop:
            return TICK_S
        if self._shortest_ns is not None:
            self._last_bound_s = min(TICK_S, SHARE_OF_ANSWER * self._shortest_ns / 1e9)
        elif self._last_bound_s == 0 and self._first_ns is not None:
            # Of the first answers none is shorter than the time since they began to come.
            return min(TICK_S, SHARE_OF_ANSWER * (now_ns() - self._first_ns) / 1e9)
        return self._last_bound_s


def tick_s(core_share: float, bound_s: float, now_s: float) -> float:
    """Give the tick for the next while, 0 for looks at once: from how busy the core was, and the tick until now."""
    if bound_s < _SHORTEST_TICK_S or core_share < _IDLE or (now_s == 0 and core_share <= _BUSY):
        return 0.0
    return bound_s
