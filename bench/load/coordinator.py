"""The coordinating load process: starts the workers together, adds up their progress, ends them together."""

import os
import time
from collections import Counter
from typing import Any

import gevent
import orjson
from gevent.hub import get_hub

from bench.errors import INTERRUPTED, SERVER_GONE
from bench.load.backoff import GONE_AFTER_S
from bench.load.controller import SILENT_S, LoadSpec
from bench.load.fatal import fatal
from bench.wire.clock import now_ns

ON_LOCUSTS_PAGE = f"{INTERRUPTED} on Locust's web page"

# From the word to start until the start: long enough for the word to reach the users, and every worker.
_LEAD_NS = 100_000_000
_WORKERS_LEAD_NS = 200_000_000
_LOOK_S = 1.0

COUNTS = ("sent", "done", "failed", "dropped", "in_flight", "waiting", "backing_off")
REPORTED = {"worker", "gone", *COUNTS}
"""What a worker's report of its progress has."""


def say(event: str, **facts: object) -> None:
    """Tell the parent, which reads one JSON object a line."""
    os.write(1, orjson.dumps({"event": event, **facts}) + b"\n")


def heed_parent(coordinator: "Coordinator | None") -> None:
    """Have the coordinator stop when the parent says why, and this process end when the parent is gone."""
    # A watcher of the loop's own, for reading (1): no greenlet has to be scheduled for a stop to be heard.
    get_hub().loop.io(0, 1).start(_on_standard_input, coordinator)


def _on_standard_input(coordinator: "Coordinator | None") -> None:
    reason = os.read(0, 4096)
    if not reason:
        os._exit(0)  # nothing is left to do, what was captured is on disk
    if coordinator is not None:
        coordinator.stop(reason.decode(errors="replace"))


class Coordinator:
    """Starts the workers together, adds up their progress and tells the parent."""

    def __init__(self, spec: LoadSpec, runner: Any) -> None:
        self._spec = spec
        self._runner = runner
        self._ready = 0
        self._start_ns: int | None = None
        self._progress: dict[int, Counter[str]] = {}
        # The workers that have not ended, and what each says of a server that is gone.
        self._running: dict[int, str | None] = dict.fromkeys(range(spec.workers))
        self._heard_s = dict.fromkeys(range(spec.workers), float("inf"))
        self._stopped = False
        runner.register_message("load_ready", fatal(self._on_ready))
        runner.register_message("load_progress", fatal(self._on_progress))
        runner.register_message("load_done", fatal(self._on_done))
        runner.register_message("load_wants_stop", fatal(self._on_wanting_stop))
        runner.environment.events.test_stopping.add_listener(lambda **_: self.stop(ON_LOCUSTS_PAGE))
        gevent.spawn(self._watch)

    @property
    def in_flight(self) -> int:
        """Requests that are sent and not answered, as the workers last said."""
        return self._totals()["in_flight"]

    def _totals(self) -> Counter[str]:
        totals: Counter[str] = Counter()
        for counts in self._progress.values():
            totals.update(counts)
        return totals

    def start(self) -> None:
        """Spawn the slots, once the workers are there."""
        while self._spec.role == "master" and self._runner.worker_count < self._spec.workers:
            gevent.sleep(0.01)
        self._runner.start(self._spec.slots, spawn_rate=self._spec.slots)

    def stop(self, reason: str) -> None:
        """End the load now; what is in flight is kept as unfinished."""
        if self._running and not self._stopped:
            self._stopped = True
            say("stopped", reason=reason)
            self._runner.send_message("load_stop", {"reason": reason})

    def _on_ready(self, **_: Any) -> None:
        self._ready += 1
        if self._ready == self._spec.workers:
            # Their silence counts from here on: before, they import and connect, which may take any time.
            self._heard_s = dict.fromkeys(self._heard_s, time.monotonic())
            self._start_ns = now_ns() + (_LEAD_NS if self._spec.role == "local" else _WORKERS_LEAD_NS)
            self._runner.send_message("load_start", {"start_ns": self._start_ns})

    def _on_wanting_stop(self, msg: Any, **_: Any) -> None:
        self.stop(_text(msg.data["reason"]))

    def _on_progress(self, msg: Any, **_: Any) -> None:
        worker, counts, gone = progress_of(msg.data, self._spec.workers)
        self._progress[worker] = counts
        self._heard_s[worker] = time.monotonic()
        totals = self._totals()
        elapsed_s = None if self._start_ns is None else (now_ns() - self._start_ns) / 1e9
        say("progress", elapsed_s=elapsed_s, **totals)
        if worker in self._running:
            self._running[worker] = gone
            # Only where all say so: one worker's share of connections may be refused by a limit that others are below.
            if None not in self._running.values():
                self.stop(f"{SERVER_GONE}: nothing but refused connections for {GONE_AFTER_S:g} s ({gone})")

    def _on_done(self, msg: Any, **_: Any) -> None:
        worker, error = msg.data["worker"], msg.data["error"]
        if worker not in range(self._spec.workers):
            raise ValueError(f"no load process has the number {worker!r}")
        self._end_worker(worker, None if error is None else _text(error))

    def _end_worker(self, worker: int, error: str | None) -> None:
        self._running.pop(worker, None)
        if error:
            say("error", message=error)
        if not self._running:
            say("done")

    def _watch(self) -> None:
        """Go on without a load process that has begun and says nothing any more; what it had captured is there."""
        while self._running:
            gevent.sleep(_LOOK_S)
            for worker in [w for w in self._running if time.monotonic() - self._heard_s[w] > SILENT_S]:
                error = (
                    f"load process {worker} has said nothing for {SILENT_S:g} s: it is stopped, or has no CPU or memory"
                )
                self.stop(error)
                self._end_worker(worker, error)


def progress_of(data: Any, workers: int) -> tuple[int, Counter[str], str | None]:
    """Take a worker's report apart: whose it is, its counts, and what it says of a server that is gone.

    Raises ValueError for what no worker reports.
    """
    if not isinstance(data, dict) or data.keys() != REPORTED:
        raise ValueError(f"a report has {', '.join(sorted(REPORTED))}, this has not: {data!r}")
    counts = Counter({name: data[name] for name in COUNTS})
    if any(type(count) is not int or count < 0 for count in (data["worker"], *counts.values())):
        raise ValueError(f"a report has counts, this has not: {data!r}")
    if data["worker"] >= workers:
        raise ValueError(f"no load process has the number {data['worker']}")
    return data["worker"], counts, None if data["gone"] is None else _text(data["gone"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a message has a text, this has not: {value!r}")
    return value
