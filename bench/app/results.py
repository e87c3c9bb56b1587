"""What is made from a run folder: tables, summary, report, and the exit code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.present import report, requests_csv
from analysis.present.document import Document
from analysis.present.of_run import document
from analysis.present.pages import ALONE
from analysis.run import summary as summaries
from analysis.run import transient
from analysis.run.derived import with_derived
from analysis.run.slo import is_failed
from analysis.run.summary import RunSummary
from analysis.summary import summarize
from bench.app.around import around
from bench.app.counting import decoder
from bench.app.planning import plan_of_run
from bench.errors import INTERRUPTED, stop_reason
from bench.exit_codes import (
    EXIT_NOT_TO_BE_TRUSTED,
    EXIT_OBJECTIVE_MISSED,
    EXIT_OUT_OF_BUDGET,
    worst_of,
)
from bench.plan.calls import Plan, remaining, total
from bench.plan.written import write_plan
from bench.runs import decoding, manifest
from bench.runs import folder as files
from bench.runs.manifest import NOTHING_CUT, RunManifest, WindowChoice
from bench.runs.table import read_parquet, read_requests, write_requests
from bench.telemetry import sampler
from bench.types import UserError


def code_of_stop(stopped: str | None) -> int:
    """The exit code of a run that stopped early, 0 for one that did not."""
    return 0 if stopped is None else stop_reason(stopped).exit_code


def code_of_summary(summary: RunSummary) -> int:
    """The exit code of a run's summary."""
    if summary.verdict.status == "invalid":
        return EXIT_NOT_TO_BE_TRUSTED
    if "budget" in summary.requests.by_error:
        return EXIT_OUT_OF_BUDGET
    missed = any(is_failed(result, summary.inconclusive) for result in summary.slo)
    return EXIT_OBJECTIVE_MISSED if missed else 0


def recorded_stop(folder: Path) -> str | None:
    """Why the run of a folder stopped early, if it did.

    One whose manifest gives neither a reason to stop nor an end was killed.
    """
    run = manifest.read(folder)
    return run.stopped or (INTERRUPTED if run.interrupted else None)


def exit_code(stopped: str | None, summary: RunSummary) -> int:
    """The exit code of a run, when it is made and whenever it is read again."""
    return worst_of((code_of_stop(stopped), code_of_summary(summary)))


@contextmanager
def captured_is_kept(folder: Path) -> Iterator[None]:
    """Add to any exception in the block a note of where the captures are."""
    try:
        yield
    except BaseException as problem:
        if folder.exists():
            problem.add_note(f"the captures are kept; make a report from them with: bench.py decode {folder}")
        raise


def summarise(folder: Path, window: WindowChoice | None = None, *, with_report: bool = True) -> RunSummary:
    """Decode, summarise and report a run folder; returns its summary. `window` overrides the run's own choice.

    Raises UserError for a folder that is not a run, and for lack of disk space.
    """
    run = manifest.read(folder)
    try:
        run, summary, *tables = _decode(folder, replace(run, window=window or run.window or "planned"))
        if with_report:
            page = report_of(folder)
            files.write_text(page, report.render(run, summary, tables[0], tables[1], around(page)))
    except OSError as problem:
        raise UserError(
            f"{folder}: {problem.strerror or problem}; free disk space, then: bench.py decode {folder}"
        ) from None
    return summary


def _decode(folder: Path, run: RunManifest) -> tuple[RunManifest, RunSummary, pa.Table, pa.Table | None]:
    """From captures to plan.parquet, requests.parquet, telemetry.parquet and summary.json.

    Returns the manifest with what the captures add about the observation, the summary, and the tables of requests and
    telemetry.
    """
    if run.imported is not None:
        raise UserError(
            f"{folder}: was imported from {run.imported.title} and has no captures; import it again instead"
        )
    # Everything below depends only on the captures and run.json, so it can be made again at any time.
    captured = decoding.scan_captures(folder)
    if not (folder / files.PLAN).exists():
        # Made again from its seed; a recording's, if finite, was written before the load, while its texts were there.
        plan = plan_of_run(folder, run)
        count = total(plan)
        with files.whole(folder / files.PLAN) as partial:
            # A closed loop by time has an endless plan: what was offered is the plan.
            write_plan(plan, partial, _offered(plan, captured) if count is None else range(count))
    decode = decoder(run)
    # What ended the load is the reason why calls without a capture were never sent.
    unsent = stop_reason(run.stopped or "").unsent
    decoding.decode_run(folder, captured, run.load.warmup_s or 0.0, decode, unsent, with_derived)
    if (folder / files.TELEMETRY_RAW).exists():
        with files.whole(folder / files.TELEMETRY) as partial:
            pq.write_table(sampler.to_table(folder / files.TELEMETRY_RAW, captured.start_ns or 0), partial)
    requests, samples = _tables(folder)
    run = replace(captured.described_in(run), cut=NOTHING_CUT)
    if run.window == "steady":
        # Stored in the table, so that every reader counts the same requests as the summary.
        requests, cut = transient.steady(run, requests)
        run = replace(run, cut=cut)
        with files.whole(folder / files.REQUESTS) as partial:
            write_requests(partial, requests)
    manifest.write(folder, run)
    summary = summarize(run, requests, samples)
    summaries.write(folder, summary)
    return run, summary, requests, samples


def _offered(plan: Plan, captured: decoding.Captured) -> list[int]:
    """The calls that were sent or dropped, and the remaining ones of a session in which one failed."""
    rest = (seq for failed in captured.session_ends() for seq in remaining(plan, failed))
    return sorted({*captured.seqs(), *rest})


def _tables(folder: Path) -> tuple[pa.Table, pa.Table | None]:
    telemetry = folder / files.TELEMETRY
    return read_requests(folder, lists=False), read_parquet(telemetry) if telemetry.exists() else None


def report_of(folder: Path) -> Path:
    """Where a run's report lies."""
    return folder / files.REPORT


def write_report(folder: Path, alone: Path | None = None) -> Path:
    """Write a run's report again, or a self-contained page of it; returns its path."""
    place = around(report_of(folder)) if alone is None else ALONE
    page = report.render(manifest.read(folder), summaries.read(folder), *_tables(folder), place)
    files.write_text(alone or report_of(folder), page)
    return alone or report_of(folder)


def describe(folder: Path) -> Document:
    """The document of a run's folder, from its run.json and summary.json."""
    return document(manifest.read(folder), summaries.read(folder))


def has_repeats(folder: Path) -> bool:
    """Whether a folder holds several runs of one load."""
    return (folder / files.REPEATS).exists()


def csv_rows(folder: Path) -> Iterator[Sequence[Any]]:
    """The rows of requests.csv of a run's folder, column names first; UserError if there are none."""
    if has_repeats(folder):
        raise UserError(f"{folder}: CSV has the requests of one run; give one of its folders, such as {folder / '01'}")
    return requests_csv.rows(requests_of(folder))


def requests_of(folder: Path) -> pa.Table:
    """Read requests.parquet of a run's folder."""
    try:
        return read_requests(folder)
    except FileNotFoundError:
        raise UserError(f"{folder} has no requests.parquet; make it with: bench.py decode {folder}") from None
