"""A run's captures decoded into `requests.parquet`, on every core: a pure reading of the folder."""

import signal
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.packets import join, segments
from bench.packets.segments import Segments
from bench.process import lifeline
from bench.process.cores import available_cores
from bench.runs.arrivals import Stopwatch, stopwatch
from bench.runs.folder import CAPTURE, PLAN, REQUESTS, SEGMENTS, whole
from bench.runs.manifest import LoadClient, PacketRing, RunManifest
from bench.runs.records import Planned, never_sent, record, sound_table
from bench.runs.sections import load
from bench.runs.table import ENCODING, SCHEMA, column_of, read_parquet, to_table
from bench.types import Decode, Exchange
from bench.wire.capture import Capture, exchanges, scan

Complete = Callable[[pa.Table], pa.Table]

# A task holds so many calls, or so much of a capture, some 100,000 token events.
_CALLS_PER_TASK, _TASK_BYTES = 5000, 1 << 20
# Calls are joined to their packets together; so much of their answers is held for that.
_JOINED_BYTES = 16 << 20
# Tables wait to be written: each core makes so many ahead.
_AHEAD = 3
# About a million token events: below that, starting processes takes longer than decoding.
_POOL_FROM_BYTES = 16 << 20


class _Task(NamedTuple):
    path: Path
    worker: int
    offsets: "array[int]"
    seqs: "array[int]"


@dataclass(frozen=True, slots=True)
class Captured:
    """A run's capture files, scanned; `start_ns` is None when the load never started.

    `packets` is the file of the run's packets, None for a run that has none.
    """

    files: dict[Path, Capture]
    start_ns: int | None
    packets: Segments | None = None

    def seqs(self) -> list[int]:
        """Give the numbers of the calls that were sent or dropped, ascending."""
        unsent = (seq for file in self.files.values() for seq, _ in (*file.drops, *file.refusals))
        return sorted((*unsent, *(seq for file in self.files.values() for seq in file.seqs)))

    def session_ends(self) -> list[int]:
        """Give the numbers of the calls that ended their sessions before the end, ascending."""
        return sorted(seq for file in self.files.values() for seq in file.session_ends)

    def clients(self) -> tuple[LoadClient, ...]:
        """Give the load processes as they accounted for themselves."""
        return tuple(load(LoadClient, {**file.meta, **(file.end or {})}, path) for path, file in self.files.items())

    def described_in(self, run: RunManifest) -> RunManifest:
        """Add to a manifest what the captures say of the observation itself."""
        offsets_ns = [[sample.offset_ns for sample in file.clock] for file in self.files.values() if file.clock]
        return replace(
            run,
            clients=self.clients(),
            capture_torn_bytes=sum(file.torn_bytes for file in self.files.values()),
            clock_step_ns=max((max(each) - min(each) for each in offsets_ns), default=None),
            packets=self.ring(),
        )

    def ring(self) -> PacketRing | None:
        """Give the packet ring as it accounted for itself, None where there was none."""
        if self.packets is None:
            return None
        seen, dropped, end = self.packets.seen, self.packets.dropped, self.packets.end
        return PacketRing(seen=seen, dropped=dropped, closed=end is not None, cpu_s=end["cpu_s"] if end else None)


def scan_captures(folder: Path) -> Captured:
    """Look through a run's captures; one that a killed run left without a head is passed over."""
    files = {}
    for path in sorted((folder / CAPTURE).glob("*.cap")):
        with suppress(ValueError):
            files[path] = scan(path)
    packets = None
    if (folder / SEGMENTS).exists():
        with suppress(ValueError):
            packets = segments.scan(folder / SEGMENTS)
    start_ns = next((file.start_ns for file in files.values() if file.start_ns is not None), None)
    return Captured(files, start_ns, packets)


def decode_run(
    folder: Path,
    captured: Captured,
    warmup_s: float,
    decode: Decode,
    never_begun: str = "unfinished",
    complete: Complete = lambda table: table,
) -> None:
    """Write `requests.parquet` from the captures and `plan.parquet`, on every core.

    `decode` must be a module's function; `complete` gives a table its further columns. Calls without an
    exchange become records too, with a code of `NEVER_SENT`:
    `never_begun` where the captures say nothing of them.
    """
    files = captured.files
    start_ns = captured.start_ns or 0
    # Each by the clock of its own process: another's is read at other moments, and on another machine runs differently.
    watches = {path: stopwatch(start_ns, file.clock) for path, file in files.items()}
    tasks = [task for path, file in files.items() for task in _tasks(path, file)]
    unsent = {seq: "dropped" for file in files.values() for seq, _ in file.drops}
    unsent |= {seq: "budget" for file in files.values() for seq, _ in file.refusals}
    schema = complete(SCHEMA.empty_table()).schema
    with whole(folder / REQUESTS) as partial, pq.ParquetWriter(partial, schema, **ENCODING) as writer:
        for table in _decode_tasks(tasks, folder, watches, captured.packets, int(warmup_s * 1e9), decode):
            writer.write_table(complete(table))
        missing = PlannedCalls(folder).but(array("q", chain.from_iterable(file.seqs for file in files.values())))
        unsent = _not_reached(captured, missing) | unsent
        rest = to_table(never_sent(planned, unsent.get(seq, never_begun)) for seq, planned in missing.items())
        writer.write_table(complete(rest))


def _tasks(path: Path, file: Capture) -> Iterator[_Task]:
    worker, begin = int(str(file.meta["worker"])), 0
    for end in range(1, len(file.offsets) + 1):
        # By bytes as well as by calls: a thousand long answers take as long as a hundred thousand short ones.
        last = end == len(file.offsets)
        if last or end - begin >= _CALLS_PER_TASK or file.offsets[end] - file.offsets[begin] >= _TASK_BYTES:
            yield _Task(path, worker, file.offsets[begin:end], file.seqs[begin:end])
            begin = end


def _not_reached(captured: Captured, missing: Mapping[int, Planned]) -> dict[int, str]:
    """The turns that sessions had left when one failed: their numbers follow its own."""
    unsent = {}
    for failed in captured.session_ends():
        seq = failed + 1
        while seq in missing and missing[seq].turn > 0:
            unsent[seq] = "not_reached"
            seq += 1
    return unsent


def _decode_tasks(
    tasks: list[_Task],
    folder: Path,
    watches: Mapping[Path, Stopwatch],
    packets: Segments | None,
    warmup_ns: int,
    decode: Decode,
) -> Iterator[pa.Table]:
    job = (folder, watches, packets, warmup_ns, decode)
    large = sum({task.path: task.path.stat().st_size for task in tasks}.values()) >= _POOL_FROM_BYTES
    pool = _pool(len(tasks), *job) if large else None
    if pool is None:
        _begin(*job)
        yield from map(_decode_task, tasks)
        return
    with pool:
        rest = iter(tasks)
        # Ctrl-C is for this process to hear, and they inherit what is blocked. They are all started by the first tasks.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            ahead = deque(pool.submit(_decode_task, task) for task in islice(rest, _AHEAD * available_cores()))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            while ahead:
                table = ahead.popleft().result()
                ahead.extend(pool.submit(_decode_task, task) for task in islice(rest, 1))
                yield table
        finally:
            for waiting in ahead:
                waiting.cancel()


def _pool(tasks: int, *job: Any) -> ProcessPoolExecutor | None:
    """Processes that decode; None where the system has no semaphores for them (/dev/shm cannot be written)."""
    try:
        # Spawned, not forked: the parent may be drawing a screen in a thread.
        return ProcessPoolExecutor(min(tasks, available_cores()), get_context("spawn"), _begin_apart, job)
    except (OSError, ImportError):
        return None


_PLANNED = [column_of(name) for name in Planned._fields]


class PlannedCalls:
    """What `plan.parquet` says of each call, in columns; a row is made where it is asked for: a million take a GB."""

    def __init__(self, folder: Path) -> None:
        table = read_parquet(folder / PLAN, _PLANNED)
        self._there = frozenset(table.column_names)  # an older plan has fewer
        seqs = table[column_of("seq")].to_numpy()
        # A plan is written in order: to sort a million calls would take as much memory again.
        in_order = bool((seqs[1:] > seqs[:-1]).all())
        self._table = table if in_order else table.sort_by(column_of("seq")).combine_chunks()
        self._seqs = seqs if in_order else self._table[column_of("seq")].to_numpy()

    def of(self, seqs: Sequence[int]) -> dict[int, Planned]:
        """Those of the calls with these numbers that were planned, by number."""
        wanted = np.unique(np.array(seqs, np.int64))
        places = np.searchsorted(self._seqs, wanted)
        places = places[places < len(self._seqs)]
        return self._rows(places[np.isin(self._seqs[places], wanted)])

    def but(self, seqs: Sequence[int]) -> dict[int, Planned]:
        """All others."""
        return self._rows(np.flatnonzero(~np.isin(self._seqs, np.array(seqs, np.int64))))

    def _rows(self, places: NDArray[np.int64]) -> dict[int, Planned]:
        table = self._table.take(places)
        nothing = [None] * table.num_rows
        columns = [table[name].to_pylist() if name in self._there else nothing for name in _PLANNED]
        return {row[0]: Planned._make(row) for row in zip(*columns, strict=True)}


class _Job(NamedTuple):
    plan: PlannedCalls
    watches: Mapping[Path, Stopwatch]
    packets: Segments | None
    warmup_ns: int
    decode: Decode


_job: _Job


def _begin_apart(*job: Any) -> None:
    # A pool's process waits for tasks for ever when the one that gives them was killed.
    lifeline.hold(None)
    _begin(*job)


def _begin(folder: Path, *job: Any) -> None:
    global _job
    _job = _Job(PlannedCalls(folder), *job)


def _decode_task(task: _Task) -> pa.Table:
    calls, watches, packets, warmup_ns, decode = _job
    watch, plan = watches[task.path], calls.of(task.seqs)
    found = exchanges(task.path, task.offsets, task.worker)
    joined = zip(found, repeat(None)) if packets is None else _joined(found, packets)
    rows = (record(exchange, plan[exchange.seq], watch, warmup_ns, decode, own) for exchange, own in joined)
    return sound_table(rows, plan)


def _joined(found: Iterable[Exchange], packets: Segments) -> Iterator[tuple[Exchange, join.Joined | None]]:
    """Each exchange with what its packets say of it, some together."""
    held, held_bytes = list[Exchange](), 0
    for exchange in found:
        held.append(exchange)
        held_bytes += len(exchange.data)
        if held_bytes > _JOINED_BYTES:
            yield from zip(held, _join(held, packets), strict=True)
            held, held_bytes = [], 0
    yield from zip(held, _join(held, packets), strict=True)


def _join(held: list[Exchange], packets: Segments) -> list[join.Joined | None]:
    wanted = join.wanted(held, packets.servers)
    opened = packets.opened[wanted.keys[segments.key(packets.opened)]]
    return join.join(held, packets.servers, opened, packets.between(*wanted))
