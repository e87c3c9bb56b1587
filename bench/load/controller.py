"""Offer a load: start the load processes, follow them, and leave their captures in the run folder.

Load runs in processes of its own, because gevent patches the whole interpreter and because nothing that draws, decodes
or samples may share a core's time with the wire. What they need goes down a pipe, keys included, and the same pipe is
their lifeline: when this process is gone, however it went, they end.
"""

import json
import pickle
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.errors import INTERRUPTED
from bench.load.spend import Budget
from bench.load.targets import ByClass
from bench.plan.calls import Plan
from bench.process.module import start_module
from bench.process.secrets import environment
from bench.runs.folder import LOAD_LOG
from bench.types import TakenStamps, Target

_POLL_S = 0.25
_STOP_GRACE_S = 15.0
_END_GRACE_S = 5.0
_BEGIN_S = 60.0

SILENT_S = 15.0
"""Load processes tell their progress twice a second; one that has said nothing for so long is stopped, or starves."""


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """All that one load process needs; `role` is local (alone), master (coordinates workers) or worker.

    With `backoff` a closed loop's slot waits after a refusal; with `quick_ack` what comes is acknowledged at once.
    `stamps` is who notes arrivals; with packets and `late_reads` a busy process reads on a tick. An answer of more than
    `body_bytes_max` fails. `key_variable` is named where the server refuses the key.
    """

    role: Literal["local", "master", "worker"]
    worker: int
    workers: int
    backend: str
    target: Target
    plan: Plan
    timeout_s: float
    stall_timeout_s: float
    folder: Path
    master_port: int
    web_port: int | None
    budget: Budget | None = None
    backoff: bool = True
    quick_ack: bool = False
    stamps: TakenStamps = "kernel"
    late_reads: bool = True
    body_bytes_max: int = 64 << 20
    key_variable: str = "OPENAI_API_KEY"
    by_class: ByClass = field(default_factory=dict)
    keys: "PortKeys | None" = None

    @property
    def slots(self) -> int:
        """How many requests can be in flight over all workers."""
        return self.plan.load.slots


@dataclass(frozen=True, slots=True, repr=False)
class PortKeys:
    """The key pairs of one run's message port, in Z85; see bench.load.port."""

    coordinator_public: bytes
    coordinator_secret: bytes
    worker_public: bytes
    worker_secret: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the load stands; counts are over all workers since its start, `elapsed_s` None before it.

    `waiting` calls are due and not sent, `backing_off` slots wait after a refusal.
    """

    elapsed_s: float | None
    sent: int
    done: int
    failed: int
    dropped: int
    in_flight: int
    waiting: int
    backing_off: int = 0


class LoadFailed(Exception):
    """A load process died; what it had captured is on disk."""


class NeverBegun(Exception):
    """The user stopped the load before its first request."""


LoadProcesses = list["subprocess.Popen[bytes]"]


@contextmanager
def load_processes(workers: int, folder: Path, secrets: Sequence[str] = ()) -> Iterator[LoadProcesses]:
    """Start the processes that will offer a load: they need a second to import, in which there is other work to do."""
    count = 1 if workers == 1 else 1 + workers
    processes = [_start_one(folder, environment(secrets), coordinates=n == 0) for n in range(count)]
    try:
        yield processes
    except BaseException:
        for process in processes:  # they may still be importing, and would listen only then
            process.kill()
        raise
    finally:
        _end(processes)


def offer(
    processes: LoadProcesses,
    spec: LoadSpec,
    on_progress: Callable[[Progress], None],
    should_stop: Callable[[], str | None],
) -> str | None:
    """Run the load to its end; returns why it stopped early, None when it did not.

    `should_stop` is asked a few times a second and ends the load early by giving a reason; Ctrl-C does the same, and
    a second one ends it without waiting. Raises NeverBegun for a Ctrl-C before the load has begun, and LoadFailed when
    a load process died, or says nothing any more.
    """
    coordinator = processes[0]
    _send_specs(processes, spec)
    follower = _Follower(coordinator, on_progress)
    stopped: str | None = None
    deadline = float("inf")
    begin_by = time.monotonic() + _BEGIN_S + spec.timeout_s
    while not follower.done:
        try:
            follower.read(_POLL_S)
            if stopped is None and (reason := should_stop()) is not None:
                if not follower.begun:
                    return reason
                stopped = reason
                deadline = _tell_to_stop(coordinator, reason)
            if follower.stopped is not None:
                deadline = min(deadline, time.monotonic() + _STOP_GRACE_S)
            _check_alive(processes, spec.folder)
            _check_heard(follower, begin_by)
            if time.monotonic() > deadline:
                raise LoadFailed(f"the load did not stop within {_STOP_GRACE_S:g} s")
        except KeyboardInterrupt:
            if not follower.begun:
                raise NeverBegun from None
            if stopped is not None:
                break
            stopped = INTERRUPTED
            deadline = _tell_to_stop(coordinator, INTERRUPTED)
    return follower.error or stopped or follower.stopped


class _Follower:
    """Reads the coordinator's lines: one JSON object for each event."""

    def __init__(self, process: "subprocess.Popen[bytes]", on_progress: Callable[[Progress], None]) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._on_progress = on_progress
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._partial = b""
        self.heard_s = time.monotonic()
        self.error: str | None = None
        self.stopped: str | None = None
        self.begun = False
        self.done = False

    def read(self, timeout_s: float) -> None:
        """Take in what has been said, waiting at most this long for something."""
        if not self._selector.select(timeout_s):
            return
        *lines, self._partial = (self._partial + self._stdout.read1(65536)).split(b"\n")  # type: ignore[attr-defined]
        for line in lines:
            self.heard_s = time.monotonic()
            self._on_event(json.loads(line))

    def _on_event(self, event: dict[str, Any]) -> None:
        match event.pop("event"):
            case "progress":
                self.begun = True
                self._on_progress(Progress(**event))
            case "stopped":
                self.stopped = event["reason"]
            case "error":
                self.error = event["message"]
            case "done":
                self.done = True


def _start_one(folder: Path, env: Mapping[str, str], *, coordinates: bool) -> "subprocess.Popen[bytes]":
    with (folder / LOAD_LOG).open("ab") as log:
        out = subprocess.PIPE if coordinates else subprocess.DEVNULL
        return start_module("bench.app.load_process", env, stdout=out, stderr=log)


def _send_specs(processes: LoadProcesses, spec: LoadSpec) -> None:
    specs = [spec]
    if spec.workers > 1:
        workers = [replace(spec, role="worker", worker=n, web_port=None) for n in range(spec.workers)]
        specs = [replace(spec, role="master"), *workers]
        keys = _new_keys()
        specs = [replace(own, keys=keys) for own in specs]
    for process, own in zip(processes, specs, strict=True):
        _write(process, pickle.dumps(own))


def _new_keys() -> PortKeys:
    from zmq import curve_keypair  # of no use to a run with one load process, which is most

    return PortKeys(*curve_keypair(), *curve_keypair())


def _tell_to_stop(coordinator: "subprocess.Popen[bytes]", reason: str) -> float:
    _write(coordinator, reason.encode())
    return time.monotonic() + _STOP_GRACE_S


def _write(process: "subprocess.Popen[bytes]", message: bytes) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died, which is noticed soon
        process.stdin.write(message)
        process.stdin.flush()


def _check_alive(processes: LoadProcesses, folder: Path) -> None:
    for process in processes:
        # They end when they are told to, never by themselves.
        if process.poll() is not None:
            log = (folder / LOAD_LOG).read_text(errors="replace").strip().splitlines()
            last = log[-1] if log else f"exit status {process.returncode}"
            raise LoadFailed(f"a load process died: {last} (see {folder / LOAD_LOG})")


def _check_heard(follower: _Follower, begin_by: float) -> None:
    now = time.monotonic()
    if follower.begun and now - follower.heard_s > SILENT_S:
        raise LoadFailed(
            f"the load has said nothing for {SILENT_S:g} s: its process is stopped, or has no CPU or memory"
        )
    if not follower.begun and now > begin_by:
        raise LoadFailed("the load did not begin: a load process is stopped, or connections are not accepted")


def _end(processes: LoadProcesses) -> None:
    for process in processes:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
    deadline = time.monotonic() + _END_GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
