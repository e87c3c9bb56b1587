"""Results of other tools as run folders, our runs as files of other tools, and both side by side."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from analysis.others.crosscheck import Crosscheck, crosscheck
from analysis.others.export import EXPORTS
from analysis.others.formats import results_in
from analysis.others.imported import Imported, verdict_of
from analysis.others.readings import OurCalls
from analysis.others.result_file import summary_of
from analysis.present import report
from analysis.present.of_imported import ImportedFolder
from analysis.run import summary as summaries
from analysis.run.derived import with_derived
from analysis.run.sections import MeasuredWindow, MetricSummary
from analysis.run.summary import RunSummary
from bench.app.listing import ROOT
from bench.app.results import requests_of
from bench.runs import folder as run_files
from bench.runs import manifest
from bench.runs.manifest import ImportedFrom, Machine, RunManifest, Tokenizer
from bench.runs.table import ENCODING
from bench.types import Lengths, Load, Scenario, ServerInfo, UserError

UNKNOWN: Final = "unknown"
_NO_LENGTHS: Final = Lengths("uniform", 0, 0)


def import_files(given: Sequence[Path], out: Path | None = None, model: str | None = None) -> list[ImportedFolder]:
    """Make a run folder of every result in these files. Raises UserError before making any if a file is not a result.

    `out` is the folder of a single result, or the parent of several; `model` is its name if the file has none.
    """
    files = dict.fromkeys(map(summary_of, given))
    found = [(file, part, result) for file in files for part, result in enumerate(results_in(file), 1)]
    return [_made(file, part, result, _folder(out, result, model, alone=len(found) == 1), model)
            for file, part, result in found]  # fmt: skip


def exported(folder: Path, form: str) -> str:
    """Convert a run of ours to another tool's file, by a name of `EXPORTS`. Raises UserError for an imported run."""
    run = _own(folder)
    return EXPORTS[form](run, summaries.read(folder), requests_of(folder))


def _own(folder: Path) -> RunManifest:
    run = manifest.read(folder)
    if run.imported is not None:
        raise UserError(f"{folder}: expected a run of this tool, but it was imported from {run.imported.title}")
    return run


def crosscheck_with(folder: Path, file: Path, part: int | None = None) -> Crosscheck:
    """Compare another tool's result with a run of ours.

    Raises UserError if either is unusable, or the file has several results and `part` is not given.
    """
    run = _own(folder)
    found = results_in(file)
    if (part is None and len(found) > 1) or (part is not None and not 0 < part <= len(found)):
        raise UserError(f"--part: {file} has {len(found)} results; expected the number of one, 1 to {len(found)}")
    summary, theirs = summaries.read(folder), found[(part or 1) - 1]
    return crosscheck(summary, OurCalls(summary, requests_of(folder)), theirs, run.load.concurrency)


def _folder(out: Path | None, result: Imported, model: str | None, *, alone: bool) -> Path:
    run_id = run_files.new_run_id(result.tool, result.model or model or UNKNOWN, "imported")
    return out if out is not None and alone else (out or ROOT) / run_id


def _made(file: Path, part: int, result: Imported, folder: Path, model: str | None) -> ImportedFolder:
    run = _manifest(file, part, result, folder.name, model)
    summary = _summary(run, result)
    run_files.make(folder)
    manifest.write(folder, run)
    with run_files.whole(folder / run_files.REQUESTS) as partial:
        pq.write_table(with_derived(result.calls), partial, **ENCODING)
    summaries.write(folder, summary)
    run_files.write_text(folder / run_files.REPORT, report.render(run, summary, result.calls, None))
    return ImportedFolder(str(folder), run, summary)


def _manifest(file: Path, part: int, result: Imported, run_id: str, model: str | None) -> RunManifest:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    name = result.model or model or UNKNOWN
    return RunManifest(
        run_id=run_id,
        created_at=(result.began or datetime.now(UTC)).isoformat(timespec="seconds"),
        argv=(),
        backend=result.tool,
        model=name,
        url=result.url,
        launched=False,
        server=ServerInfo(result.server or UNKNOWN, None, name, None, None, {}),
        scenario=_scenario(result),
        load=_load(result),
        seed=None,
        # What was sent is unknown, so no other run may appear to have the same plan.
        plan_hash=hashlib.sha256(f"{digest} {part}".encode()).hexdigest(),
        tokenizer=Tokenizer(exact=False, source=UNKNOWN),
        slo=(),
        timeout_s=None,
        stall_timeout_s=None,
        workers=0,
        hardware=Machine(cpu=UNKNOWN, cores=None, os=UNKNOWN),
        packages={},
        interrupted=False,
        notes=(),
        imported=ImportedFrom(
            tool=result.tool,
            title=result.title,
            version=result.version,
            file=file.name,
            sha256=digest,
            part=part,
            differs=result.differs,
            lacks=result.lacks,
            untranslated=result.untranslated,
        ),
    )


def _load(result: Imported) -> Load:
    """The load as far as it is known; otherwise the arrivals are unknown."""
    return Load(
        concurrency=result.concurrency,
        rate_per_s=result.rate_per_s,
        arrivals=result.arrivals,
        requests=result.requests.planned,
        duration_s=None,
        warmup_requests=None,
        warmup_s=None,
        max_in_flight=result.concurrency or result.requests.planned,
        overload="wait",
    )


def _scenario(result: Imported) -> Scenario:
    """A scenario with the lengths that were seen, 0 if unknown."""
    prompt, output = (_lengths(result.metrics.get(name)) for name in ("prompt_tokens", "output_tokens"))
    described = f"what {result.title} sent"
    return Scenario("imported", described, prompt, output, 0, result.concurrency or 1, result.requests.planned, 0)


def _lengths(seen: MetricSummary | None) -> Lengths:
    if seen is None or seen.mean is None:
        return _NO_LENGTHS
    return Lengths("uniform", round(seen.min or seen.mean), round(seen.max or seen.mean))


def _summary(run: RunManifest, result: Imported) -> RunSummary:
    return RunSummary(
        run_id=run.run_id,
        backend=run.backend,
        model=run.model,
        scenario=run.scenario.name,
        plan_hash=run.plan_hash,
        seed=None,
        verdict=verdict_of(result),
        window=MeasuredWindow(0.0, result.seconds) if result.seconds else MeasuredWindow(),
        requests=result.requests,
        failures=result.failures,
        metrics=result.metrics,
        throughput=result.throughput,
    )
