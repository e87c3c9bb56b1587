"""A selftest: this machine's client error by load, and what is kept of it for later runs."""

import resource
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.app.machine import hardware, versions
from bench.app.options import MAX_WORKERS, Stamps
from bench.app.selftest import ladder as ladders
from bench.app.selftest import measure as measuring
from bench.app.selftest.ladder import LIMIT_MS, Ladder, Limit, bound, error_ms, limit, next_streams, streams_at
from bench.app.selftest.measure import Cores, LoadResult
from bench.plan.resolve import within
from bench.process.limits import SPARE_FILES
from bench.runs import selftests
from bench.runs.manifest import Machine
from bench.runs.sections import dump
from bench.truth import server as truth


class MeasuredLadder(NamedTuple):
    """The loads of a ladder, and what they show together."""

    ladder: Ladder
    results: list[LoadResult]
    limit: Limit


class Selftest(NamedTuple):
    """What was measured, on which cores, and the same as `--json` has it; where it is kept, or why it is not.

    `beside` is the same with the second-best stamps, if the best were asked for and are those of packets.
    """

    workers: int
    cores: Cores
    cpu: str
    climbs: tuple[MeasuredLadder, ...]
    data: dict[str, Any]
    kept: Path | None = None
    not_kept: str | None = None
    beside: "Selftest | None" = None

    @property
    def is_exact(self) -> bool:
        """Whether each kind has a load that the client sees exactly."""
        return all(each.limit.per_s for each in self.climbs)


def selftest(workers: int, say: Callable[[str], None], *, stamps: Stamps = "auto", quick: bool) -> Selftest:
    """Measure one load after another, announcing each. Raises UserError if the ground-truth server cannot run."""
    within("--workers", workers, 1, MAX_WORKERS)
    truth.compile_server()
    found = _with_stamps(workers, say, stamps, quick=quick)
    if stamps != "auto" or found.data["stamps"] != "packets":
        return found
    beside = _with_stamps(workers, lambda step: say(f"with the kernel's stamps, {step}"), "kernel", quick=quick)
    return found._replace(beside=beside, data={**found.data, "beside": beside.data})


def _with_stamps(workers: int, say: Callable[[str], None], stamps: Stamps, *, quick: bool) -> Selftest:
    cores, machine = measuring.choose_cores(workers), hardware()
    kinds = (ladders.quick(ladder) if quick else ladder for ladder in (ladders.EVENTS, ladders.REQUESTS))
    climbs = tuple(climb(fitted(ladder, workers), cores, workers, say, stamps) for ladder in kinds)
    data: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "workers": workers,
        "stamps": climbs[0].results[0].stamps,
        "quick": quick,
        "limit_ms": LIMIT_MS,
        "cores": asdict(cores),
        "hardware": dump(machine),
        "packages": versions(),
        **{each.ladder.name: _climbed(each) for each in climbs},
    }
    cpu = f"{machine.cpu}, {machine.cores} cores"
    return _kept(Selftest(workers, cores, cpu, climbs, data), machine)


def fitted(ladder: Ladder, workers: int) -> Ladder:
    """The ladder, within what the workers can share and the limit on open files allows."""
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ladder.most_streams
    if open_files != resource.RLIM_INFINITY:
        most = min(most, open_files - SPARE_FILES)
    return replace(ladder, first_streams=max(ladder.first_streams, workers), least_streams=workers, most_streams=most)


def climb(ladder: Ladder, cores: Cores, workers: int, say: Callable[[str], None], stamps: Stamps) -> MeasuredLadder:
    """Measure loads of one kind, announcing each, until the limit is known."""
    results: list[LoadResult] = []
    while streams := next_streams(ladder, results):
        say(f"{ladder.unit}: {streams:,} streams, for about {ladder.about_s:.0f} s")
        result = measuring.measure(ladder.case(streams), cores, workers, ladder.limit_s, stamps)
        if bound(ladder, result) == "others":  # others may have gone by now
            say(f"{ladder.unit}: {streams:,} streams once more, because other processes used the client's cores")
            result = measuring.measure(ladder.case(streams), cores, workers, ladder.limit_s, stamps)
        results.append(result)
    return MeasuredLadder(ladder, results, limit(ladder, results))


def _climbed(found: MeasuredLadder) -> dict[str, Any]:
    ladder, limit = found.ladder, found.limit
    data: dict[str, Any] = {
        "limit_per_s": limit.per_s,
        "bounded_by": limit.bounded_by,
        "steps": [
            {
                "per_s": ladder.per_s(result),
                "error_ms": error_ms(result),
                "bounded_by": bound(ladder, result),
                **_measured(result),
            }
            for result in found.results
        ],
    }
    if ladder.name == "events":
        data["streams_at_tokens_per_s"] = {str(rate): count for rate, count in streams_at(limit.per_s).items()}
    return data


def _measured(result: LoadResult) -> dict[str, Any]:
    facts = asdict(result)
    return {**facts.pop("case"), **facts}


def _kept(found: Selftest, machine: Machine) -> Selftest:
    """Keep the result for later runs on this machine, if it is conclusive."""
    if any(not each.limit.per_s and each.limit.bounded_by == "others" for each in found.climbs):
        return found._replace(not_kept="the machine was too busy for a conclusive result")
    try:
        return found._replace(kept=selftests.keep(machine, found.data))
    except OSError as problem:
        return found._replace(not_kept=f"{selftests.path(machine)} cannot be written: {problem.strerror}")
