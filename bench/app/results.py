"""What is made of a run folder: tables, summary, report, and the exit code that it deserves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import summary as summaries
from analysis.present import report
from analysis.run import transient
from bench.app.request import backend_named
from bench.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_NOT_TO_BE_TRUSTED,
    EXIT_OBJECTIVE_MISSED,
    EXIT_OUT_OF_BUDGET,
    worst_of,
)
from bench.load.controller import BY_BUDGET, INTERRUPTED, code_of_unsent
from bench.plan.calls import Plan, make_plan, total, write_plan
from bench.plan.prompts import Vocabulary
from bench.runs import folder as files
from bench.runs import records
from bench.telemetry import sampler
from bench.types import Lengths, Load, Scenario, UserError

Summary = dict[str, Any]


def code_of_stop(stopped: str | None) -> int:
    """Give the exit code of a run that stopped early, 0 for one that did not."""
    if stopped is None:
        return 0
    if stopped in BY_BUDGET:
        return EXIT_OUT_OF_BUDGET
    return EXIT_INTERRUPTED if stopped.startswith(INTERRUPTED) else EXIT_NOT_TO_BE_TRUSTED


def code_of_summary(summary: Summary) -> int:
    """Give the exit code that a run's summary deserves."""
    if summary["verdict"]["status"] == "invalid":
        return EXIT_NOT_TO_BE_TRUSTED
    if "budget" in summary["requests"]["by_error"]:
        return EXIT_OUT_OF_BUDGET
    return EXIT_OBJECTIVE_MISSED if any(objective["met"] is False for objective in summary["slo"]) else 0


def recorded_stop(folder: Path) -> str | None:
    """Why the run of a folder stopped early, if it did.

    One that says of itself neither how it stopped nor that it came to its end was killed.
    """
    run = files.read_json(folder, files.RUN)
    return run.get("stopped") or (INTERRUPTED if run["interrupted"] else None)


def exit_code(stopped: str | None, summary: Summary) -> int:
    """Give the exit code of a run, when it is made and whenever it is read again."""
    return worst_of((code_of_stop(stopped), code_of_summary(summary)))


@contextmanager
def captured_is_kept(folder: Path) -> Iterator[None]:
    """Note on whatever fails the block where what was captured lies."""
    try:
        yield
    except BaseException as problem:
        if folder.exists():
            problem.add_note(f"what was captured is kept, to report it: bench.py decode {folder}")
        raise


def summarise(folder: Path, window: str | None = None, *, with_report: bool = True) -> Summary:
    """Decode, summarise and report a run folder; returns its summary. `window` changes the choice that the run has.

    Raises UserError for a folder that is none of a run, and where there is no room.
    """
    run = files.read_json(folder, files.RUN)
    run["window"] = window or run.get("window", "planned")
    try:
        summary, *tables = _decode(folder, run)
        if with_report:
            _write_report(folder, run, summary, *tables)
    except OSError as problem:
        raise UserError(f"{folder}: {problem.strerror or problem}; make room, then: bench.py decode {folder}") from None
    return summary


def _decode(folder: Path, run: dict[str, Any]) -> tuple[Summary, pa.Table, pa.Table | None]:
    """From what was captured to plan.parquet, requests.parquet, telemetry.parquet and summary.json.

    Returns the summary and the tables of requests and telemetry. `run` gains what the captures say of the observation.
    """
    captured = records.scan_captures(folder)
    if not (folder / files.PLAN).exists():
        plan = _planned(run)
        count = total(plan)
        with files.whole(folder / files.PLAN) as partial:
            # A closed loop by time has no end in its plan: what was offered is its plan.
            write_plan(plan, partial, captured.seqs() if count is None else range(count))
    decode = backend_named(run["backend"]).decode
    records.decode_run(folder, captured, run["load"]["warmup_s"] or 0.0, decode, code_of_unsent(run.get("stopped")))
    if (folder / files.TELEMETRY_RAW).exists():
        with files.whole(folder / files.TELEMETRY) as partial:
            pq.write_table(sampler.to_table(folder / files.TELEMETRY_RAW, captured.start_ns or 0), partial)
    requests, samples = _tables(folder)
    run |= {**captured.facts(), "cut": transient.NOTHING}
    if run["window"] == "steady":
        requests, run["cut"] = transient.steady(run, requests)
        with files.whole(folder / files.REQUESTS) as partial:
            pq.write_table(requests, partial, compression="zstd")
    files.write_json(folder / files.RUN, run)
    summary = summaries.summarize(run, requests, samples)
    files.write_json(folder / files.SUMMARY, summary)
    return summary, requests, samples


def _write_report(
    folder: Path, run: dict[str, Any], summary: Summary, requests: pa.Table, telemetry: pa.Table | None
) -> None:
    files.write_text(folder / files.REPORT, report.render(run, summary, requests, telemetry))


def _tables(folder: Path) -> tuple[pa.Table, pa.Table | None]:
    telemetry = folder / files.TELEMETRY
    return records.read_requests(folder), pq.read_table(telemetry) if telemetry.exists() else None


def write_report(folder: Path) -> Path:
    """Write a run's report again from its tables and summary; returns where it lies."""
    run, summary = files.read_json(folder, files.RUN), files.read_json(folder, files.SUMMARY)
    _write_report(folder, run, summary, *_tables(folder))
    return folder / files.REPORT


def requests_of(folder: Path) -> pa.Table:
    """Read requests.parquet of a run's folder."""
    try:
        return records.read_requests(folder)
    except FileNotFoundError:
        raise UserError(f"{folder} has no requests.parquet; make it with: bench.py decode {folder}") from None


def _planned(run: Mapping[str, Any]) -> Plan:
    """Make a run's plan again from its run.json."""
    scenario, tokenizer = run["scenario"], run["tokenizer"]
    lengths = {name: Lengths(**scenario[name]) for name in ("prompt_tokens", "output_tokens")}
    vocabulary = Vocabulary(**{**tokenizer, "words": tuple(tokenizer["words"].split())})
    return make_plan(Scenario(**{**scenario, **lengths}), Load(**run["load"]), run["seed"], run["salt"], vocabulary)
