"""Offer a load: start the load processes, follow them, and leave their captures in the run folder.

Load runs in processes of its own, because gevent patches the whole interpreter and because nothing that draws, decodes
or samples may share a core's time with the wire. What they need goes down a pipe, keys included, and the same pipe is
their lifeline: when this process is gone, however it went, they end.
"""

import json
import pickle
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench.plan import Plan
from bench.types import Target

_POLL_S = 0.25
_STOP_GRACE_S = 15.0


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """All that one load process needs; `role` is local (alone), master (coordinates workers) or worker.

    `seats` is how many requests can be in flight over all workers.
    """

    role: Literal["local", "master", "worker"]
    worker: int
    workers: int
    backend: str
    target: Target
    plan: Plan
    seats: int
    timeout_s: float
    stall_timeout_s: float
    folder: Path
    master_port: int
    web_port: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the load stands; counts are over all workers since its start, `elapsed_s` None before it."""

    elapsed_s: float | None
    sent: int
    done: int
    failed: int
    dropped: int
    in_flight: int
    waiting: int


class LoadFailed(Exception):
    """A load process died; what it had captured is on disk."""


def offer(spec: LoadSpec, on_progress: Callable[[Progress], None], should_stop: Callable[[], str | None]) -> str | None:
    """Run the load to its end; returns why it stopped early, None when it did not.

    `should_stop` is asked a few times a second and ends the load early by giving a reason; KeyboardInterrupt does
    the same. Raises LoadFailed when a load process died.
    """
    processes = _start(spec)
    coordinator = processes[0]
    follower = _Follower(coordinator, on_progress)
    stopped: str | None = None
    deadline = float("inf")
    try:
        while not follower.done:
            try:
                follower.read(_POLL_S)
                if stopped is None and (reason := should_stop()) is not None:
                    stopped = reason
                    deadline = _tell_to_stop(coordinator)
                _check_alive(processes, spec.folder)
                if time.monotonic() > deadline:
                    raise LoadFailed(f"the load did not stop within {_STOP_GRACE_S:g} s")
            except KeyboardInterrupt:
                if stopped is not None:
                    raise
                stopped = "interrupted"
                deadline = _tell_to_stop(coordinator)
    finally:
        _end(processes)
    if follower.error is not None:
        return follower.error
    return stopped or follower.stopped


class _Follower:
    """Reads the coordinator's lines: one JSON object for each event."""

    def __init__(self, process: "subprocess.Popen[bytes]", on_progress: Callable[[Progress], None]) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._on_progress = on_progress
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._partial = b""
        self.error: str | None = None
        self.stopped: str | None = None
        self.done = False

    def read(self, timeout_s: float) -> None:
        """Take in what has been said, waiting at most this long for something."""
        if not self._selector.select(timeout_s):
            return
        *lines, self._partial = (self._partial + self._stdout.read1(65536)).split(b"\n")  # type: ignore[attr-defined]
        for line in lines:
            self._on_event(json.loads(line))

    def _on_event(self, event: dict[str, Any]) -> None:
        match event.pop("event"):
            case "progress":
                self._on_progress(Progress(**event))
            case "stopped":
                self.stopped = event["reason"]
            case "error":
                self.error = event["message"]
            case "done":
                self.done = True


def _start(spec: LoadSpec) -> list["subprocess.Popen[bytes]"]:
    if spec.workers == 1:
        return [_start_one(spec)]
    workers = [replace(spec, role="worker", worker=n, web_port=None) for n in range(spec.workers)]
    return [_start_one(one) for one in (replace(spec, role="master"), *workers)]


def _start_one(spec: LoadSpec) -> "subprocess.Popen[bytes]":
    with (spec.folder / "load.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.cli_load"],
            cwd=Path(__file__).parent.parent,  # where `-m` finds this package, installed or not
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if spec.role != "worker" else subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours to pass on, once, as a request to stop.
        )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(spec))
    process.stdin.flush()
    return process


def _tell_to_stop(coordinator: "subprocess.Popen[bytes]") -> float:
    assert coordinator.stdin is not None
    coordinator.stdin.write(b"stop\n")
    coordinator.stdin.flush()
    return time.monotonic() + _STOP_GRACE_S


def _check_alive(processes: list["subprocess.Popen[bytes]"], folder: Path) -> None:
    for process in processes:
        if process.poll() not in (None, 0):
            log = (folder / "load.log").read_text(errors="replace").strip().splitlines()
            last = log[-1] if log else f"exit status {process.returncode}"
            raise LoadFailed(f"a load process died: {last} (see {folder / 'load.log'})")


def _end(processes: list["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    for process in processes:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
