"""The coordinating load process: starts the shares together, adds up their progress, ends them together."""

import os
from collections import Counter
from typing import Any

import gevent
import orjson

from bench.backoff import GONE_AFTER_S
from bench.clock import now_ns
from bench.offer import INTERRUPTED, SERVER_GONE, LoadSpec

ON_LOCUSTS_PAGE = f"{INTERRUPTED} on Locust's web page"

# From the word to start until the start: long enough for the word to reach the users, and every worker.
_LEAD_NS = 100_000_000
_WORKERS_LEAD_NS = 200_000_000


def say(event: str, **facts: object) -> None:
    """Tell the parent, which reads one JSON object a line."""
    os.write(1, orjson.dumps({"event": event, **facts}) + b"\n")


class Coordinator:
    """Starts the shares together, adds up their progress and tells the parent."""

    def __init__(self, spec: LoadSpec, runner: Any) -> None:
        self._spec = spec
        self._runner = runner
        self._ready = 0
        self._start_ns: int | None = None
        self._progress: dict[int, Counter[str]] = {}
        # The shares that have not ended, and what each says of a server that is gone.
        self._running: dict[int, str | None] = dict.fromkeys(range(spec.workers))
        self._stopped = False
        runner.register_message("share_ready", self._on_ready)
        runner.register_message("share_progress", self._on_progress)
        runner.register_message("share_done", self._on_done)
        runner.register_message("share_wants_stop", lambda msg, **_: self.stop(msg.data["reason"]))
        runner.environment.events.test_stopping.add_listener(lambda **_: self.stop(ON_LOCUSTS_PAGE))

    def start(self) -> None:
        """Spawn the seats, once the workers are there."""
        while self._spec.role == "master" and self._runner.worker_count < self._spec.workers:
            gevent.sleep(0.01)
        self._runner.start(self._spec.seats, spawn_rate=self._spec.seats)

    def stop(self, reason: str) -> None:
        """End the load now; what is in flight is kept as unfinished."""
        if self._running and not self._stopped:
            self._stopped = True
            say("stopped", reason=reason)
            self._runner.send_message("share_stop", {"reason": reason})

    def _on_ready(self, **_: Any) -> None:
        self._ready += 1
        if self._ready == self._spec.workers:
            self._start_ns = now_ns() + (_LEAD_NS if self._spec.role == "local" else _WORKERS_LEAD_NS)
            self._runner.send_message("share_start", {"start_ns": self._start_ns})

    def _on_progress(self, msg: Any, **_: Any) -> None:
        worker, gone = msg.data.pop("worker"), msg.data.pop("gone")
        self._progress[worker] = Counter(msg.data)
        totals: Counter[str] = Counter()
        for counts in self._progress.values():
            totals.update(counts)
        elapsed_s = None if self._start_ns is None else (now_ns() - self._start_ns) / 1e9
        say("progress", elapsed_s=elapsed_s, **totals)
        if worker in self._running:
            self._running[worker] = gone
            if None not in self._running.values():
                self.stop(f"{SERVER_GONE}: nothing but refused connections for {GONE_AFTER_S:g} s ({gone})")

    def _on_done(self, msg: Any, **_: Any) -> None:
        self._running.pop(msg.data["worker"], None)
        if msg.data["error"]:
            say("error", message=msg.data["error"])
        if not self._running:
            say("done")
