"""The load process: Locust's users offer the calls of a plan, the wire observes them, the capture keeps them.

Locust gives users, spawning, master and workers, and the web page, which shows what is counted beside it.
A user is a slot: it takes the next call, sends it, waits for its end, and takes the next. Every process computes the
same plan and takes its share; all users are spawned and connected before the load starts, at one instant for all.
"""

import gc
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from bench.errors import DEARER, OUT_OF_BUDGET
from bench.load.answer_cost import Billing
from bench.load.backoff import OutageDetector, SlotBackoff, asked_wait_s, is_refused, is_unreached
from bench.load.controller import LoadSpec
from bench.load.coordinator import ON_LOCUSTS_PAGE, Coordinator, heed_parent
from bench.load.dispatch import ClosedLoopDispatcher, Ready, dispatcher_for, warm_slots
from bench.load.fatal import fatal, watch_greenlets
from bench.load.locust_page import serve_page
from bench.load.maker import encoder, start_maker
from bench.load.outcomes import ROUND_TRIP_NS, is_unseen, not_sent, pause_if_unreached
from bench.load.port import secure
from bench.load.prefetch import Prefetcher
from bench.load.refused import KeyWatch
from bench.load.sessions import Sessions
from bench.load.spend import Admission, SpendLimiter
from bench.load.tally import Tally
from bench.load.targets import Encode
from bench.plan.calls import calls, sessions, total
from bench.process.cores import available_cores
from bench.process.limits import allow_many_files, peak_rss_bytes
from bench.types import Decode
from bench.wire.capture import CaptureWriter
from bench.wire.clock import KERNEL_STAMPS, cpu_s, now_ns, sample
from bench.wire.connection import Connection, RequestOutcome, Wire, WireError
from bench.wire.endpoint import endpoint
from bench.wire.looks import TickReader

_PROGRESS_S = 0.5
_CLOCK_S = 0.1
# Users of a closed loop start this far apart, so that their streams do not run in step, but all within a second.
_STAGGER_NS = 2_000_000
_STAGGER_MAX_NS = 1_000_000_000
_CONNECTING_AT_ONCE = 32
_BUDGET_POLL_S = 0.02
# Locust ends its users without asking them; before that, they get this long to end by themselves.
_LEAVE_S = 5.0


def run(spec: LoadSpec, encode: Encode, decode: Decode, limiter: SpendLimiter | None = None) -> None:
    """Be the load process that `spec` describes, until standard input closes.

    With a `limiter`, calls are sent as far as it lets them through; each answer is decoded as it ends, for its cost.
    """
    logging.basicConfig(level=logging.ERROR)
    watch_greenlets()
    if spec.keys is not None:
        secure(spec.keys)
    environment = Environment(user_classes=[Slot], host=spec.target.url)
    runner: Any
    if spec.role == "master":
        runner = environment.create_master_runner("127.0.0.1", spec.master_port)
    elif spec.role == "worker":
        runner = environment.create_worker_runner("127.0.0.1", spec.master_port)
    else:
        runner = environment.create_local_runner()
    coordinator = None if spec.role == "worker" else Coordinator(spec, runner)
    if spec.role != "master":
        Slot.worker = LoadWorker(spec, encode, decode, environment, Billing(limiter, decode) if limiter else None)
    heed_parent(coordinator)
    if coordinator is not None:
        if spec.web_port is not None:
            serve_page(environment, spec.web_port, lambda: coordinator.in_flight)
        coordinator.start()
    Event().wait()


class Slot(User):
    """One of the requests that can be in flight."""

    worker: "ClassVar[LoadWorker]"

    @task
    def take_calls(self) -> None:
        """Take part in the load until no call is left."""
        fatal(self.worker.serve)()
        raise StopUser  # or Locust would call this again


class LoadWorker:
    """One process's part of the load: its slots, their connections, and the capture of what they see."""

    def __init__(
        self, spec: LoadSpec, encode: Encode, decode: Decode, environment: Any, billing: Billing | None
    ) -> None:
        self._spec = spec
        self._billing = billing
        self._runner = environment.runner
        self._tally = Tally(environment.stats, spec.backend)
        self._key = KeyWatch(spec.key_variable)
        allow_many_files()
        target = endpoint(spec.target.url, spec.target.ca_file, spec.target.client_cert, spec.target.client_key)
        kernel_stamps = KERNEL_STAMPS and spec.stamps != "user"
        self._capture = CaptureWriter(
            spec.folder / "capture" / f"worker-{spec.worker}.cap",
            {"worker": spec.worker, "backend": spec.backend, "stamps": "kernel" if kernel_stamps else "user"},
            spec.target.all_secrets,
            gathers=billing is None,  # what was paid for is not to be lost
        )
        plan, load = spec.plan, spec.plan.load
        # A late read harms no stamp of the kernel's. What goes into a next prompt, or settles a bill, is not to wait.
        may_be_late = spec.stamps == "packets" and spec.late_reads and billing is None and plan.source.turns_max == 1
        self._wire = Wire(
            target,
            spec.timeout_s,
            spec.stall_timeout_s,
            quick_ack=spec.quick_ack,
            kernel_stamps=kernel_stamps,
            body_bytes_max=spec.body_bytes_max,
            looks=TickReader(is_closed_loop=load.rate_per_s is None) if may_be_late else None,
        )
        prepare = encoder(spec, encode, None if billing is None else billing.limiter.plan)
        self._sessions = Sessions(plan, prepare, decode) if plan.source.turns_max > 1 else None
        # What a call can cost has to be known here; and a maker on the load's own core would only take it away.
        is_beside = billing is None and available_cores() > spec.workers
        beside = partial(start_maker, spec) if is_beside else None
        own, goes_on = len(range(spec.worker, sessions(plan) or 0, spec.workers)), self._sessions is not None
        own_calls, all_wanted = partial(calls, plan, spec.worker, spec.workers), own > 0 and not load.is_open
        prefetched = Prefetcher(own_calls, prepare, beside, all_wanted=all_wanted)
        self._dispatcher = dispatcher_for(load, prefetched, own, self._drop, goes_on=goes_on)
        self._warm_slots = warm_slots(load, spec.slots, spec.workers)
        # Of a burst of connections a server's listen queue may drop some, which the kernel tries again after a second.
        self._connecting = BoundedSemaphore(_CONNECTING_AT_ONCE)
        self._slots: int | None = None
        self._slots_taken = self._connected = self._left = 0
        # `leaving` is when no call is left for a slot that waits.
        self._started, self._leaving, self._ended = Event(), Event(), Event()
        self._outage = OutageDetector()
        self._stopped: str | None = None
        self._start_ns = 0
        self._clock = sample()
        self._cpu_at_start_s = 0.0
        self._error: str | None = None
        self.sent = self.dropped = 0
        self.backing_off = self._waits = 0
        self._waited_ns = 0
        environment.events.spawning_complete.add_listener(fatal(self._on_spawned))
        environment.events.test_stopping.add_listener(fatal(self._on_locust_stopping))
        environment.runner.register_message("load_start", fatal(self._on_start))
        environment.runner.register_message("load_stop", fatal(self._on_stop))

    def serve(self) -> None:
        """Be one slot, from before the start until no call is left."""
        slot = self._slots_taken
        self._slots_taken += 1
        connection = self._connect_early() if slot < self._warm_slots else None
        # Also where it could not connect: its first request will say so, and nobody is to wait for it.
        self._connected += 1
        self._say_if_ready()
        self._started.wait()
        rest: Callable[[RequestOutcome], None] = pause_if_unreached
        if isinstance(self._dispatcher, ClosedLoopDispatcher):
            self._wait_for_turn(slot)
            if self._spec.backoff:
                rest = partial(self._back_off, self._dispatcher, SlotBackoff(slot))
        ready = self._dispatcher.take()
        while ready is not None:
            outcome = None
            if self._billing is None or self._is_paid_for(self._billing, ready):
                connection, outcome = self._send(ready, connection)
                rest(outcome)
            follower = None if self._sessions is None else self._go_on(self._sessions, ready, outcome)
            ready = self._dispatcher.take() if follower is None else follower
        self._leaving.set()
        if connection is not None:
            connection.close()
        self._left += 1
        if self._left == self._slots:
            self._finish()

    def _go_on(self, sessions: Sessions, ready: Ready, outcome: RequestOutcome | None) -> Ready | None:
        """The session's next call, where this slot is to send it."""
        went = sessions.after(ready.seq, outcome, self._clock.offset_ns)
        if went.ended and self._stopped is None:
            self._write(self._capture.session_end, ready.seq)
        return self._dispatcher.follow(went.ready)

    def _is_paid_for(self, billing: Billing, ready: Ready) -> bool:
        """Set the call's worst case aside; a closed loop waits for those in flight to make room, an open one cannot."""
        while self._stopped is None:
            admission = billing.limiter.reserve(ready.seq)
            if admission is Admission.NOW:
                return True
            if admission is Admission.LATER and isinstance(self._dispatcher, ClosedLoopDispatcher):
                gevent.sleep(_BUDGET_POLL_S)
                continue
            self.dropped += 1
            self._write(self._capture.refusal, ready.seq, ready.due_ns)
            if billing.limiter.is_exhausted():
                self._stop_all(OUT_OF_BUDGET)
            # Others must run in between; calls without end are not to be refused as fast as they can be made.
            gevent.sleep(0 if total(self._spec.plan) else _BUDGET_POLL_S)
            break
        return False

    def _connect_early(self) -> Connection | None:
        # Why it could not is said again, and recorded, by the first request.
        with suppress(WireError), self._connecting:
            return self._wire.connect()
        return None

    def _back_off(self, dispatcher: ClosedLoopDispatcher, backoff: SlotBackoff, outcome: RequestOutcome) -> None:
        """After a refusal let the slot wait, before its next call is due: it waits by our choice, not the server's."""
        refused = is_refused(outcome)
        wait_s = backoff.wait_s(refused=refused, asked_s=asked_wait_s(outcome) if refused else None)
        if wait_s == 0 or self._stopped is not None:
            return
        before_ns = now_ns()
        self._waits += 1
        self.backing_off += 1
        self._leaving.wait(min(wait_s, dispatcher.left_s(before_ns)))
        self.backing_off -= 1
        self._waited_ns += now_ns() - before_ns

    def _send(self, ready: Ready, connection: Connection | None) -> tuple[Connection | None, RequestOutcome]:
        connect_ns = None
        while True:
            reused = connection is not None and connection.is_open()
            if connection is None or not reused:
                before_ns = now_ns()
                try:
                    connection = self._wire.connect()
                except WireError as problem:
                    outcome = not_sent(problem.code, str(problem))
                    self._keep(ready, outcome, None)
                    if not problem.ours:
                        self._watch_over(outcome)
                    return None, outcome
                connect_ns = now_ns() - before_ns
                if self._stopped is not None:
                    outcome = not_sent("unfinished", self._stopped)
                    self._keep(ready, outcome, connect_ns)
                    return connection, outcome
            outcome = connection.exchange(ready.request)
            # A server may close a kept connection just as we send: it never saw the request, so we send it anew, once.
            if outcome.error is None or not (reused and is_unseen(outcome) and self._may_resend(ready.seq)):
                break
        self.sent += 1
        self._keep(ready, outcome, connect_ns)
        if outcome.error is not None or self._outage.refusals:
            self._watch_over(outcome)
        return connection, outcome

    def _watch_over(self, outcome: RequestOutcome) -> None:
        self._outage.note(now_ns(), outcome.error[1] if outcome.error and is_unreached(outcome) else None)

    def _may_resend(self, seq: int) -> bool:
        return self._billing is None or self._billing.limiter.reserve_again(seq)

    def _keep(self, ready: Ready, outcome: RequestOutcome, connect_ns: int | None) -> None:
        sent_ns, end_ns, received, _, error, place = outcome
        # The capture first: whatever comes of the rest, what was observed is on record.
        try:
            self._capture.exchange(ready.seq, ready.due_ns, sent_ns, end_ns, connect_ns, received, error, place)
        except OSError as problem:
            self._stop_unwritten(problem)
        if self._billing is not None:
            self._billing.settle(ready.seq, outcome)
            if self._billing.limiter.was_dearer and self._stopped is None:
                self._stop_all(DEARER)
        code = self._tally.add(outcome)
        if (code is not None or self._key.forbidden) and (why := self._key.note(code)) and self._stopped is None:
            self._stop_all(why)

    def _drop(self, seq: int, due_ns: int) -> None:
        self.dropped += 1
        self._write(self._capture.drop, seq, due_ns)
        if self._sessions is not None:
            self._sessions.after(seq, None, 0)
            self._write(self._capture.session_end, seq)

    def _write(self, append: Callable[..., None], *facts: object) -> None:
        try:
            append(*facts)
        except OSError as problem:
            self._stop_unwritten(problem)

    def _stop_unwritten(self, problem: OSError) -> None:
        if self._error is None:
            self._error = f"{problem.strerror}: cannot write to {self._spec.folder}; make room and run again"
            self._stop(self._error)

    def _stop_all(self, reason: str) -> None:
        """End the load of every process, this one at once."""
        self._stop(reason)
        self._runner.send_message("load_wants_stop", {"reason": reason})

    def _stop(self, reason: str) -> None:
        self._stopped = reason
        self._dispatcher.stop()
        self._leaving.set()
        self._wire.end_all("unfinished", reason)

    def _on_spawned(self, **_: Any) -> None:
        # The event's own count is that of all workers.
        self._slots = self._runner.user_count
        self._say_if_ready()

    def _say_if_ready(self) -> None:
        if self._connected == self._slots:
            # Whatever exists now stays; collecting it again and again would hold up the reads.
            gc.collect()
            gc.freeze()
            gc.disable()
            self._runner.send_message("load_ready", {})

    def _on_start(self, msg: Any, **_: Any) -> None:
        self._start_ns = msg.data["start_ns"]
        self._write(self._capture.start, self._start_ns)
        self._cpu_at_start_s = cpu_s()
        self._dispatcher.start(self._start_ns)
        self._started.set()
        gevent.spawn(self._keep_clock)
        gevent.spawn(self._report)

    def _wait_for_turn(self, slot: int) -> None:
        together = self._spec.plan.load.is_at_once
        stagger_ns = 0 if together else min(_STAGGER_NS, _STAGGER_MAX_NS // (self._slots or 1))
        gevent.sleep(max(0, self._start_ns + slot * stagger_ns - now_ns()) / 1e9)

    def _on_stop(self, msg: Any, **_: Any) -> None:
        self._stop(msg.data["reason"])

    def _on_locust_stopping(self, **_: Any) -> None:
        self._stop(ON_LOCUSTS_PAGE)
        self._ended.wait(_LEAVE_S)

    def _keep_clock(self) -> None:
        # The kernel's stamps are of the wall clock, which may be set or slewed during a run; both are read together.
        while not self._ended.is_set():
            self._clock = sample()
            self._write(self._capture.clock, self._clock)
            gevent.sleep(_CLOCK_S)

    def _report(self) -> None:
        while not self._ended.is_set():
            self._send_progress()
            gevent.sleep(_PROGRESS_S)

    def _send_progress(self) -> None:
        self._tally.tell()
        self._write(self._capture.write)  # what is counted is on disk
        progress = {
            "worker": self._spec.worker,
            "sent": self.sent + len(self._wire.active),
            "done": self._tally.done,
            "failed": self._tally.failed,
            "dropped": self.dropped,
            "in_flight": len(self._wire.active),
            "waiting": self._dispatcher.waiting,
            "backing_off": self.backing_off,
            "gone": self._gone(),
        }
        self._runner.send_message("load_progress", progress)

    def _gone(self) -> str | None:
        """What was said last where nobody has been there for some seconds, nor holds a request."""
        now = now_ns()
        held = any(connection.sent_ns < now - ROUND_TRIP_NS for connection in self._wire.active)
        return self._outage.said if not held and self._outage.is_gone(now) else None

    def _finish(self) -> None:
        facts = {
            "cpu_s": cpu_s() - self._cpu_at_start_s,
            "wall_s": (now_ns() - self._start_ns) / 1e9,
            "peak_rss_bytes": peak_rss_bytes(),
            "backoff": {"waits": self._waits, "seat_s": self._waited_ns / 1e9},
        }
        self._write(self._capture.close, facts)
        self._ended.set()
        self._send_progress()
        self._runner.send_message("load_done", {"worker": self._spec.worker, "error": self._error})
