"""Requests made before they are due: in the load's process, and after its start by one beside it where there is one."""

import os
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing

import gevent
from gevent.hub import get_hub

from bench.load.maker import whole
from bench.types import Call
from bench.wire.clock import now_ns

# What is encoded before the load starts, at the most: a long plan is not to keep the start waiting. It may for longer
# where this process would have to make the rest on the time of a loop that is as fast as its server.
_PREFETCH_BYTES = 16 << 20
_PREFETCH_NS = 500_000_000
_LONGER = 4
_REFILL_STEP = 8
_READ_BYTES = 1 << 17
_FULL_S = 0.02


class Prefetcher:
    """Encoded calls in order, kept a little ahead of those who send them.

    `calls` gives those from the n-th on. `beside` starts a process that makes requests from the n-th on; that is done
    when half of what was made before the load is used up. Without it, where `all_wanted` soon, more are made before.
    """

    def __init__(
        self,
        calls: Callable[[int], Iterator[Call]],
        encode: Callable[[Call], bytes],
        beside: "Callable[[int], subprocess.Popen[bytes]] | None" = None,
        *,
        all_wanted: bool = False,
    ) -> None:
        self._calls_from = calls
        self._calls, self._calls_at = calls(0), 0
        self._encode = encode
        self._ready: deque[tuple[int, int | None, bytes]] = deque()
        self._bytes = 0
        self._made = 0
        self._exhausted = False
        times = _LONGER if all_wanted and beside is None else 1
        give_up_ns = now_ns() + times * _PREFETCH_NS
        while self._bytes < times * _PREFETCH_BYTES and now_ns() < give_up_ns and self._prepare():
            pass
        if not self._exhausted:
            gevent.spawn(self._refill, beside)

    def pop(self) -> tuple[int, int | None, bytes] | None:
        """Take the next (seq, due_ns since the load's start, request); None after the last."""
        if not self._ready and not self._prepare():
            return None
        item = self._ready.popleft()
        self._bytes -= len(item[2])
        return item

    def _prepare(self) -> bool:
        if self._calls_at != self._made:  # others were made beside
            self._calls = self._calls_from(self._made)
        call = next(self._calls, None)
        if call is None:
            self._exhausted = True
            return False
        self._add(call.seq, call.due_ns, self._encode(call))
        self._calls_at = self._made
        return True

    def _add(self, seq: int, due_ns: int | None, request: bytes) -> None:
        self._ready.append((seq, due_ns, request))
        self._bytes += len(request)
        self._made += 1

    def _refill(self, beside: "Callable[[int], subprocess.Popen[bytes]] | None") -> None:
        if beside is not None:
            stock = len(self._ready)
            while len(self._ready) > stock // 2:
                gevent.sleep(_FULL_S)
            self._take_in(beside(self._made))
        while not self._exhausted:
            # In small steps: whoever is to send now waits for each call that is encoded here.
            for _ in range(_REFILL_STEP):
                if self._bytes >= _PREFETCH_BYTES or not self._prepare():
                    break
            gevent.sleep(0.001)

    def _take_in(self, process: "subprocess.Popen[bytes]") -> None:
        """Take what a maker has made until it has made all, or is gone."""
        assert process.stdout is not None
        fd, data = process.stdout.fileno(), bytearray()
        with process, closing(get_hub().loop.io(fd, 1)) as watcher:
            while not self._exhausted:
                get_hub().wait(watcher)
                read = os.read(fd, _READ_BYTES)
                if not read:
                    break
                data += read
                for made in whole(data):
                    if made.place == self._made:  # else it was wanted before it came
                        self._add(made.seq, made.due_ns, made.request)
                while self._bytes >= _PREFETCH_BYTES:
                    gevent.sleep(_FULL_S)
