"""A selftest: this machine's client error by load, and what of it is kept for the runs that are made here."""

import resource
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.app.options import MAX_WORKERS
from bench.app.selftest import ladder as ladders
from bench.app.selftest import measure as measuring
from bench.app.selftest.ladder import LIMIT_MS, Ladder, Limit, bound, error_ms, limit, next_streams, streams_at
from bench.app.selftest.measure import Cores, LoadResult
from bench.plan.resolve import within
from bench.process.limits import SPARE_FILES
from bench.runs import selftests
from bench.telemetry.machine import hardware, versions
from bench.truth import server as truth


class SelftestView(Protocol):
    """Whoever follows a selftest."""

    def begins(self, facts: dict[str, Any], cores: Cores) -> None:
        """All is ready, on these cores."""

    def climbs(self, ladder: Ladder) -> None:
        """The loads of a ladder begin."""

    def measured(self, ladder: Ladder, result: LoadResult) -> None:
        """A load has ended."""

    def found(self, ladder: Ladder, limit: Limit) -> None:
        """The loads of a ladder have ended."""


class Selftest(NamedTuple):
    """What was measured, as `--json` has it; where it is kept, or why it is not."""

    document: dict[str, Any]
    kept: Path | None
    not_kept: str | None

    @property
    def is_exact(self) -> bool:
        """Whether there is a load that the client sees exactly, of each kind."""
        return all(self.document[name]["limit_per_s"] for name in selftests.LADDERS)


def selftest(workers: int, view: SelftestView, *, quick: bool) -> Selftest:
    """Measure one load after another. Raises UserError where there can be no ground-truth server."""
    within("--workers", workers, 1, MAX_WORKERS)
    truth.compile_server()
    cores = measuring.choose_cores(workers)
    document = _facts(workers, cores, quick=quick)
    view.begins(document, cores)
    for ladder in (ladders.EVENTS, ladders.REQUESTS):
        ladder = fitted(ladders.quick(ladder) if quick else ladder, workers)
        document[ladder.name] = _climb(ladder, cores, workers, view)
    return _kept(document)


def _facts(workers: int, cores: Cores, *, quick: bool) -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "workers": workers,
        "quick": quick,
        "limit_ms": LIMIT_MS,
        "cores": asdict(cores),
        "hardware": hardware(),
        "packages": versions(),
    }


def fitted(ladder: Ladder, workers: int) -> Ladder:
    """The ladder within what the workers can share and the limit on open files allows."""
    _, open_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ladder.most_streams
    if open_files != resource.RLIM_INFINITY:
        most = min(most, open_files - SPARE_FILES)
    return replace(ladder, first_streams=max(ladder.first_streams, workers), least_streams=workers, most_streams=most)


def _climb(ladder: Ladder, cores: Cores, workers: int, view: SelftestView) -> dict[str, Any]:
    view.climbs(ladder)
    results: list[LoadResult] = []
    while streams := next_streams(ladder, results):
        result = measuring.measure(ladder.case(streams), cores, workers, ladder.limit_s)
        if bound(ladder, result) == "others":  # who may have gone by now
            view.measured(ladder, result)
            result = measuring.measure(ladder.case(streams), cores, workers, ladder.limit_s)
        view.measured(ladder, result)
        results.append(result)
    found = limit(ladder, results)
    view.found(ladder, found)
    return _document(ladder, results, found)


def _document(ladder: Ladder, results: list[LoadResult], found: Limit) -> dict[str, Any]:
    document: dict[str, Any] = {
        "limit_per_s": found.per_s,
        "bounded_by": found.bounded_by,
        "steps": [
            {
                "per_s": ladder.per_s(result),
                "error_ms": error_ms(result),
                "bounded_by": bound(ladder, result),
                **_measured(result),
            }
            for result in results
        ],
    }
    if ladder.name == "events":
        document["streams_at_tokens_per_s"] = {str(rate): count for rate, count in streams_at(found.per_s).items()}
    return document


def _measured(result: LoadResult) -> dict[str, Any]:
    facts = asdict(result)
    return {**facts.pop("case"), **facts}


def _kept(document: dict[str, Any]) -> Selftest:
    machine = document["hardware"]
    if any(
        document[name]["limit_per_s"] == 0 and document[name]["bounded_by"] == "others" for name in selftests.LADDERS
    ):
        return Selftest(document, None, "it was too busy for an answer")
    try:
        return Selftest(document, selftests.keep(machine, document), None)
    except OSError as problem:
        return Selftest(document, None, f"{selftests.path(machine)} cannot be written: {problem.strerror}")
