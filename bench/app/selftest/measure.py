"""One load on the ground-truth server, client and server on separate cores: how far is the client from the truth?

The load runs through the same processes as a run's, and its captures are decoded in the same way.
"""

import os
import resource
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from backends import BACKENDS
from bench.app.options import Stamps
from bench.app.stamps import stamp_source
from bench.errors import INTERRUPTED
from bench.load.controller import LoadFailed, LoadSpec, NeverBegun, Progress, load_processes, offer
from bench.plan.calls import Plan, make_plan
from bench.plan.prompts import calibrate
from bench.plan.written import write_plan
from bench.runs.decoding import Captured, decode_run, scan_captures
from bench.runs.folder import CAPTURE, PLAN
from bench.runs.table import read_requests
from bench.server.launch import free_port
from bench.truth import server as truth
from bench.truth.server import Int64s, StampErrors, TruthLog
from bench.types import Lengths, Load, Pause, Scenario, TakenStamps, Target, Turns, UserError

_PROMPT_TOKENS = 40
_BEGINS_WITHIN_S = 60.0
_TOO_SLOW = "the client was too slow"
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class SelftestLoad:
    """A closed loop: `streams` requests in flight, `requests` in all, answers of `tokens` tokens.

    With `turns`, they belong to sessions of that length, whose prompts contain the actual answers.
    """

    name: str
    streams: int
    requests: int
    tokens: int
    ttft_ms: float
    gap_ms: float
    turns: int = 1


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the client on one core for each load process, if there are enough."""

    client: tuple[int, ...]
    server: int

    @property
    def shared(self) -> bool:
        """Whether the server has no core of its own."""
        return self.server in self.client


@dataclass(frozen=True, slots=True)
class LoadResult:
    """How exact the client was under one load.

    Rates, errors (|client - truth|) and shares of cores cover the middle half of the load's time, when all streams run;
    the rest covers the whole load. `lost` events, of requests that ended, have no stamp. `cpu_fraction` is that of the
    busiest load process, `core_fraction` the busy share of the client's cores, `other_fraction` the part used by other
    processes or the hypervisor. For `unstamped` answers the packet ring missed a packet.
    """

    case: SelftestLoad
    events_per_s: float
    requests_per_s: float
    first_token: StampErrors
    gap: StampErrors
    cpu_fraction: float
    core_fraction: float
    other_fraction: float
    events: int
    lost: int
    lag_p99_ms: float | None
    lag_max_ms: float | None
    sent_late_p99_ms: float
    server_late_p99_ms: float
    cpu_s: float
    decode_cpu_s: float
    peak_rss_mb: float
    stamps: TakenStamps = "kernel"
    unstamped: int = 0

    def cpu_s_per_million(self, *, decoded: bool) -> float:
        """CPU-seconds per million token events, for the load alone or including decoding."""
        return (self.cpu_s + (self.decode_cpu_s if decoded else 0)) / self.events * 1e6


def choose_cores(workers: int) -> Cores:
    """Of our cores, one for each load process, if there are enough, and the next for the server."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) == 1:
        return Cores((allowed[0],), allowed[0])
    client = allowed[: min(workers, len(allowed) - 1)]
    return Cores(tuple(client), allowed[len(client)])


def measure(
    case: SelftestLoad,
    cores: Cores,
    workers: int = 1,
    limit_s: float = 120.0,
    stamps: Stamps = "kernel",
    *,
    late_reads: bool = True,
) -> LoadResult:
    """Offer the load once; one that takes longer than `limit_s` is ended, and judged as far as it got.

    A packet ring runs on the client's cores, and its CPU time counts as the client's. Raises UserError if the
    ground-truth server cannot run, and if the load fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "truth.log"
        (folder / CAPTURE).mkdir()
        plan = _plan(case)
        options = truth.TruthOptions(ttft_ms=case.ttft_ms, gap_ms=case.gap_ms, tokens=case.tokens)
        with (
            _pinned(cores.client),
            truth.launch(options, cpu=cores.server, log=log) as server,
            stamp_source(stamps, folder) as source,
        ):
            taken = source.begin(folder, server.url).taken
            beside = [*([server.pid] if cores.shared else []), *source.pids]
            spec = replace(_spec(plan, server.url, workers, folder), stamps=taken, late_reads=late_reads)
            watch = _offer(spec, cores, beside, limit_s)
        write_plan(plan, folder / PLAN, range(case.requests))
        before_s = _cpu_s()
        captured = scan_captures(folder)
        decode_run(folder, captured, 0, BACKENDS["openai"].decode)
        decode_cpu_s = _cpu_s() - before_s
        log_of_truth = truth.read_log(log)
        return _result(case, taken, captured, read_requests(folder), log_of_truth, watch, decode_cpu_s)


def _plan(case: SelftestLoad) -> Plan:
    prompt, output = (Lengths("fixed", tokens, tokens) for tokens in (_PROMPT_TOKENS, case.tokens))
    scenario = Scenario(case.name, "", prompt, output, 0, case.streams, case.requests, 0)
    if case.turns > 1:
        turns = Turns(Lengths("fixed", case.turns, case.turns), prompt, Pause("fixed", 0.0))
        scenario = replace(scenario, turns=turns)
    load = Load(case.streams, None, "poisson", case.requests, None, 0, None, case.streams, "wait")
    vocabulary = calibrate(lambda _: None, "selftest", sessions=case.turns > 1)
    return make_plan(scenario, load, 0, secrets.randbits(63), vocabulary)


def _spec(plan: Plan, url: str, workers: int, folder: Path) -> LoadSpec:
    return LoadSpec(
        role="local",
        worker=0,
        workers=workers,
        backend="openai",
        target=Target(url, "truth"),
        plan=plan,
        timeout_s=60,
        stall_timeout_s=20,
        folder=folder,
        master_port=free_port(),
        web_port=None,
    )


def _offer(spec: LoadSpec, cores: Cores, beside: list[int], limit_s: float) -> "_CoreSampler":
    with load_processes(spec.workers, spec.folder) as processes:
        # With several workers, the first process only coordinates.
        loads = processes if spec.workers == 1 else processes[1:]
        watch = _CoreSampler(cores.client, [process.pid for process in loads], beside, limit_s)
        try:
            stopped = offer(processes, spec, watch.on_progress, watch.should_stop)
        except NeverBegun:
            raise KeyboardInterrupt from None
        except LoadFailed as problem:
            raise UserError(f"the selftest's load of {spec.slots} streams failed: {problem}") from None
        watch.sample()
    if stopped == INTERRUPTED:
        raise KeyboardInterrupt
    if watch.elapsed_s is None:
        raise UserError(f"the selftest's load did not start within {_BEGINS_WITHIN_S:g} s; is this machine overloaded?")
    return watch


@dataclass(slots=True)
class _CoreSampler:
    """Samples the client's cores during a load, and ends one that takes too long.

    `beside` are processes that share these cores and are neither loads nor others. The makers of a load's requests are
    children of the load.
    """

    cores: tuple[int, ...]
    loads: list[int]
    beside: list[int]
    limit_s: float
    elapsed_s: float | None = None
    samples: list[tuple[float, ...]] = field(default_factory=list)
    _since_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.sample()

    def sample(self) -> None:
        """Record the time, the busy time of the cores, and each process's CPU time, in s."""
        times = psutil.cpu_times(percpu=True)
        busy_s = sum(sum(times[core]) - times[core].idle - times[core].iowait for core in self.cores)
        own_s = (sum(psutil.Process(pid).cpu_times()[:2]) for pid in (*self.loads, *self.beside))
        self.samples.append((time.monotonic(), busy_s, *own_s, sum(map(_started_s, self.loads))))

    def on_progress(self, progress: Progress) -> None:
        """Take a sample while the load runs."""
        if progress.elapsed_s is not None:
            self.elapsed_s = progress.elapsed_s
            self.sample()

    def should_stop(self) -> str | None:
        """Why the load is to end, if it is."""
        if self.elapsed_s is None:
            return _TOO_SLOW if time.monotonic() - self._since_s > _BEGINS_WITHIN_S else None
        return _TOO_SLOW if self.elapsed_s > self.limit_s else None

    @property
    def makers_s(self) -> float:
        """The CPU time of the loads' request makers."""
        return self.samples[-1][-1]

    def shares(self, start_s: float, end_s: float) -> tuple[float, float, float]:
        """Fractions of a core: the busiest load process, everything on the client's cores, and the part of others."""
        t_s, *columns = np.array(self.samples).T
        busy, *own = (float(np.diff(np.interp((start_s, end_s), t_s, used_s))[0]) for used_s in columns)
        seconds, cores_s = end_s - start_s, (end_s - start_s) * len(self.cores)
        return max(own[: len(self.loads)]) / seconds, busy / cores_s, max(0.0, busy - sum(own)) / cores_s


def _started_s(pid: int) -> float:
    """The CPU time of a process's children, whether they still run or not."""
    process = psutil.Process(pid)
    ended_s = sum(process.cpu_times()[2:4])
    return float(ended_s + sum(sum(child.cpu_times()[:2]) for child in process.children() if child.is_running()))


class _Stamps(NamedTuple):
    """The client's events: request, token index, and time of arrival."""

    request: Int64s
    token: Int64s
    t_ns: Int64s


def _stamps(table: pa.Table, start_ns: int) -> _Stamps:
    lists = table["arrivals_ns"].combine_chunks()
    counts = pc.list_value_length(lists).to_numpy()
    t_ns = lists.values.to_numpy() + start_ns
    token = np.arange(len(t_ns)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Stamps(np.repeat(table["seq"].to_numpy(), counts), token, t_ns)


def _result(
    case: SelftestLoad,
    taken: TakenStamps,
    captured: Captured,
    table: pa.Table,
    log: TruthLog,
    watch: _CoreSampler,
    decode_cpu_s: float,
) -> LoadResult:
    clients, ring, start_ns = captured.clients(), captured.ring(), captured.start_ns or 0
    stamps = _stamps(table, start_ns)
    if not len(stamps.t_ns):
        raise UserError(f"the selftest's load of {case.streams} streams saw no token; is this machine overloaded?")
    length_ns = int(stamps.t_ns.max()) - start_ns
    first_ns, last_ns = start_ns + length_ns // 4, start_ns + 3 * length_ns // 4
    seconds = (last_ns - first_ns) / _NS_PER_S
    sent_in_window = (first_ns <= log.event_sent_ns) & (log.event_sent_ns < last_ns)
    in_window = truth.compare(_events(log, sent_in_window), *stamps)
    unfinished = table["seq"].filter(pc.equal(table["error"], "unfinished")).to_numpy()
    of_ended = ~np.isin(log.event_request, unfinished)
    ended_ns = table["end_ns"].filter(pc.is_null(table["error"])).to_numpy() + start_ns
    lags_ms = table["lags_ns"].combine_chunks().values.to_numpy() / _NS_PER_MS
    lag_p99_ms, lag_max_ms = np.quantile(lags_ms, (0.99, 1.0)).tolist() if len(lags_ms) else (None, None)
    sent = table.filter(pc.is_valid(table["sent_ns"]))
    sent_late_ms = (sent["sent_ns"].to_numpy() - sent["due_ns"].to_numpy()) / _NS_PER_MS
    cpu_fraction, core_fraction, other_fraction = watch.shares(first_ns / _NS_PER_S, last_ns / _NS_PER_S)
    return LoadResult(
        case=case,
        events_per_s=_count(stamps.t_ns, first_ns, last_ns) / seconds,
        requests_per_s=_count(ended_ns, first_ns, last_ns) / seconds,
        first_token=in_window.first_token,
        gap=in_window.gap,
        cpu_fraction=cpu_fraction,
        core_fraction=core_fraction,
        other_fraction=other_fraction,
        events=len(stamps.t_ns),
        lost=truth.compare(_events(log, of_ended), *stamps).lost,
        lag_p99_ms=lag_p99_ms,
        lag_max_ms=lag_max_ms,
        sent_late_p99_ms=float(np.nanquantile(sent_late_ms, 0.99)),
        server_late_p99_ms=truth.lateness(log).p99_ms or 0.0,
        cpu_s=sum(client.cpu_s or 0.0 for client in clients) + ((ring.cpu_s or 0.0) if ring else 0.0) + watch.makers_s,
        decode_cpu_s=decode_cpu_s,
        peak_rss_mb=max((client.peak_rss_bytes or 0 for client in clients), default=0) / 1e6,
        stamps=taken,
        unstamped=0 if ring is None else pc.sum(pc.not_equal(table["stamps"], "packets")).as_py() or 0,
    )


def _events(log: TruthLog, kept: NDArray[np.bool_]) -> TruthLog:
    """The log with only these of its events."""
    names = ("event_request", "event_token", "event_due_ns", "event_sent_ns")
    return replace(log, **{name: getattr(log, name)[kept] for name in names})


def _count(t_ns: Int64s, first_ns: int, last_ns: int) -> int:
    return int(np.count_nonzero((first_ns <= t_ns) & (t_ns < last_ns)))


@contextmanager
def _pinned(cores: tuple[int, ...]) -> Iterator[None]:
    """Pin this process, and those it starts, to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
