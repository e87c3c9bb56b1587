"""One load against the ground-truth server, each on a core of its own, and how far the client was from the truth."""

import os
import resource
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from backends import BACKENDS
from bench import truth
from bench.folder import CAPTURE, PLAN
from bench.offer import LoadSpec, load_processes, offer
from bench.plan import make_plan, write_plan
from bench.prompts import calibrate
from bench.records import decode_run, read_requests, scan_captures
from bench.truth import Errors
from bench.types import Lengths, Load, Scenario, Target

CLIENT_CPU, SERVER_CPU = 0, 1


@dataclass(frozen=True, slots=True)
class Case:
    """A closed loop of `streams` requests in flight; `stops_per_s` freezes the client for 15 ms so often."""

    name: str
    streams: int
    requests: int
    tokens: int
    ttft_ms: float
    gap_ms: float
    stops_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Errors are |client - truth| in ms; CPU is the load process's own, in seconds."""

    events: int
    lost: int
    wall_s: float
    first_token: Errors
    gap: Errors
    server_late_p99_ms: float
    lag_p99_ms: float
    lag_max_ms: float
    requests_per_s: float
    cpu_s: float
    decode_cpu_s: float
    peak_rss_mb: float

    @property
    def events_per_s(self) -> float:
        """Token events the client took in per second."""
        return self.events / self.wall_s

    @property
    def cpu_fraction(self) -> float:
        """Share of its core the load process used."""
        return self.cpu_s / self.wall_s

    def cpu_s_per_million(self, *, decoded: bool) -> float:
        """CPU-seconds per million token events, of the load alone or with its decoding."""
        return (self.cpu_s + (self.decode_cpu_s if decoded else 0)) / self.events * 1e6


def measure(case: Case) -> Result:
    """Run the case once."""
    with _pinned(CLIENT_CPU), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / CAPTURE).mkdir()
        scenario = Scenario(case.name, "", _fixed(40), _fixed(case.tokens), 0, case.streams, case.requests, 0)
        load = Load(case.streams, None, "poisson", case.requests, None, 0, None, case.streams, "wait")
        plan = make_plan(scenario, load, 0, secrets.randbits(63), calibrate(lambda _: None, "speed"))
        options = truth.TruthOptions(ttft_ms=case.ttft_ms, gap_ms=case.gap_ms, tokens=case.tokens)
        log = folder / "truth.log"
        with truth.launch(options, cpu=SERVER_CPU, log=log) as server:
            spec = LoadSpec(
                "local", 0, 1, "openai", Target(server.url, "truth"), plan, case.streams, 60, 20, folder, 0, None
            )
            with load_processes(1, folder) as processes, _stops(case.stops_per_s):
                offer(processes, spec, lambda _: None, lambda: None)
        write_plan(plan, folder / PLAN, range(case.requests))
        before = _cpu_s()
        captured = scan_captures(folder)
        decode_run(folder, captured, 0, BACKENDS["openai"].decode)
        decode_cpu_s = _cpu_s() - before
        return _result(
            read_requests(folder), truth.read_log(log), captured.start_ns or 0, captured.facts(), decode_cpu_s
        )


def _result(table: pa.Table, log: truth.TruthLog, start_ns: int, facts: dict[str, Any], decode_cpu_s: float) -> Result:
    lists = table["arrivals_ns"].combine_chunks()
    counts = pc.list_value_length(lists).to_numpy()
    arrivals_ns = lists.values.to_numpy() + start_ns
    request = np.repeat(table["seq"].to_numpy(), counts)
    token = np.arange(len(arrivals_ns)) - np.repeat(np.cumsum(counts) - counts, counts)
    compared = truth.compare(log, request, token, arrivals_ns)
    lags_ms = table["lags_ns"].combine_chunks().values.to_numpy() / 1e6
    client = facts["clients"][0]
    return Result(
        events=len(arrivals_ns),
        lost=compared.lost,
        wall_s=client["wall_s"],
        first_token=compared.first_token,
        gap=compared.gap,
        server_late_p99_ms=truth.lateness(log).p99_ms or 0.0,
        lag_p99_ms=float(np.quantile(lags_ms, 0.99)),
        lag_max_ms=float(lags_ms.max()),
        requests_per_s=table.num_rows / client["wall_s"],
        cpu_s=client["cpu_s"],
        decode_cpu_s=decode_cpu_s,
        peak_rss_mb=client["peak_rss_bytes"] / 1e6,
    )


@contextmanager
def _pinned(cpu: int) -> Iterator[None]:
    """Keep this process, and those it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _stops(per_s: int) -> Iterator[None]:
    """Freeze every load process for 15 ms, so many times a second."""
    if not per_s:
        yield
        return
    over = threading.Event()

    def freeze() -> None:
        while not over.wait(1 / per_s):
            loads = [p for p in psutil.Process().children() if "bench.cli.load" in p.cmdline()]
            for process in loads:
                process.suspend()
            time.sleep(0.015)
            for process in loads:
                process.resume()

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _fixed(tokens: int) -> Lengths:
    return Lengths("fixed", tokens, tokens)


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
