"""Wake at an instant of the monotonic clock, within tens of microseconds.

The event loop's own timers are late by up to a millisecond: they end in epoll_wait, which counts in milliseconds.
Linux's timerfd is a file descriptor that becomes readable at the instant itself.
"""

import ctypes
import os
import sys

from gevent.event import Event
from gevent.hub import get_hub

from bench.wire.clock import now_ns

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = os.O_NONBLOCK
_TFD_TIMER_ABSTIME = 1


class Timer:
    """Wakes one greenlet at an instant of the monotonic clock."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._woken = Event()
        if self._libc is not None:
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK)
            if self._fd < 0:
                raise OSError(number := ctypes.get_errno(), os.strerror(number))
            self._watcher = get_hub().loop.io(self._fd, 1)

    def sleep_until(self, t_ns: int) -> None:
        """Let other greenlets run until monotonic `t_ns`, or until woken; return at once when that is past."""
        left_ns = t_ns - now_ns()
        if left_ns <= 0:
            return
        if self._libc is None:
            self._woken.wait(left_ns / 1e9)
            self._woken.clear()
            return
        self._set(t_ns)
        get_hub().wait(self._watcher)
        os.read(self._fd, 8)  # how often it went off: until that is read, it stays readable

    def wake(self) -> None:
        """Let whoever sleeps until an instant go on at once."""
        if self._libc is None:
            self._woken.set()
        else:
            self._set(1)  # an instant long past; 0 would disarm it

    def _set(self, t_ns: int) -> None:
        assert self._libc is not None
        # struct itimerspec: no interval, then the instant.
        when = (ctypes.c_long * 4)(0, 0, *divmod(t_ns, 1_000_000_000))
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, when, None)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._libc is not None:
            self._watcher.close()
            os.close(self._fd)
