"""What is made of a run folder: tables, summary and report; and the commands that make them again."""

from pathlib import Path
from typing import Any, Literal

import click

from bench.cli.base import OneOf, echo
from bench.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_TO_BE_TRUSTED, EXIT_OBJECTIVE_MISSED, EXIT_OUT_OF_BUDGET
from bench.types import UserError

WINDOWS = ("planned", "steady")


def conclude(folder: Path, screen: Any, window: str | None = None) -> int:
    """Make a run folder's results and show them; the exit code that its summary deserves."""
    from bench.cli.screen import print_fact, print_summary
    from bench.runs import folder as files

    summary = results(folder, window)
    print_summary(screen, summary)
    print_fact(screen, "report", str(folder / files.REPORT))
    return exit_code(summary)


def exit_code(summary: dict[str, Any]) -> int:
    """Give the exit code that a run's summary deserves."""
    if summary["verdict"]["status"] == "invalid":
        return EXIT_NOT_TO_BE_TRUSTED
    if "budget" in summary["requests"]["by_error"]:
        return EXIT_OUT_OF_BUDGET
    return EXIT_OBJECTIVE_MISSED if any(objective["met"] is False for objective in summary["slo"]) else 0


def exit_code_of(stopped: str | None, code: int) -> int:
    """Give the exit code of a run from why it stopped early, if it did, and the code that its summary deserves."""
    from bench.load.controller import DEARER, INTERRUPTED, OUT_OF_BUDGET

    if stopped is None or stopped == OUT_OF_BUDGET:
        return code
    if stopped == DEARER:
        return EXIT_OUT_OF_BUDGET
    return EXIT_INTERRUPTED if stopped.startswith(INTERRUPTED) else EXIT_NOT_TO_BE_TRUSTED


def recorded_code(folder: Path, code: int) -> int:
    """Give the exit code of a run that lies in a folder: it stopped early then, and does when it is read again.

    `code` is what its summary deserves. A run that says of itself neither how it stopped nor that it came to its end
    was killed.
    """
    from bench.load.controller import INTERRUPTED
    from bench.runs import folder as files

    run = files.read_json(folder, files.RUN)
    return exit_code_of(run.get("stopped") or (INTERRUPTED if run["interrupted"] else None), code)


def results(folder: Path, window: str | None = None, *, report: bool = True) -> dict[str, Any]:
    """Decode, summarise and report a run folder; returns its summary. `window` changes the choice that the run has."""
    from bench.runs import folder as files

    run = files.read_json(folder, files.RUN)
    run["window"] = window or run.get("window", "planned")
    try:
        summary, *tables = _decode(folder, run)
        if report:
            _report(folder, run, summary, *tables)
    except OSError as problem:
        raise UserError(f"{folder}: {problem.strerror or problem}; make room, then: bench.py decode {folder}") from None
    return summary


def _decode(folder: Path, run: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """From what was captured to plan.parquet, requests.parquet, telemetry.parquet and summary.json.

    Returns the summary and the tables of requests and telemetry. `run` gains what the captures say of the observation.
    """
    import pyarrow.parquet as pq

    from analysis import summary as summaries
    from analysis.run import transient
    from bench.app.request import backend_named
    from bench.app.run import restore_plan
    from bench.load.controller import code_of_unsent
    from bench.plan.calls import total, write_plan
    from bench.runs import folder as files
    from bench.runs import records
    from bench.telemetry import sampler as telemetry

    captured = records.scan_captures(folder)
    if not (folder / files.PLAN).exists():
        plan = restore_plan(run)
        count = total(plan)
        with files.whole(folder / files.PLAN) as partial:
            # A closed loop by time has no end in its plan: what was offered is its plan.
            write_plan(plan, partial, captured.seqs() if count is None else range(count))
    decode = backend_named(run["backend"]).decode
    records.decode_run(folder, captured, run["load"]["warmup_s"] or 0.0, decode, code_of_unsent(run.get("stopped")))
    if (folder / files.TELEMETRY_RAW).exists():
        with files.whole(folder / files.TELEMETRY) as partial:
            pq.write_table(telemetry.to_table(folder / files.TELEMETRY_RAW, captured.start_ns or 0), partial)
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


def _report(folder: Path, run: dict[str, Any], summary: dict[str, Any], requests: Any, telemetry: Any) -> None:
    from analysis.present import report
    from bench.runs import folder as files

    files.write_text(folder / files.REPORT, report.render(run, summary, requests, telemetry))


def _tables(folder: Path) -> tuple[Any, Any]:
    import pyarrow.parquet as pq

    from bench.runs import folder as files
    from bench.runs.records import read_requests

    telemetry = folder / files.TELEMETRY
    return read_requests(folder), pq.read_table(telemetry) if telemetry.exists() else None


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--window", type=OneOf(WINDOWS), help="Make them of another window.  [the run's own]")
def decode(folder: Path, window: str | None) -> int:
    """Read a run's captures again, also after a crash.

    Makes its tables, summary and report anew; in a folder of repeats those of each run, and of all together.

    \b
    bench.py decode results/20261121-031502-llamacpp-tiny-chat-3f2a
    """
    from bench.cli.output import Screen
    from bench.runs import folder as files

    folder = folder.absolute()
    if (folder / files.REPEATS).exists():
        from bench.cli.repeat import decode_all

        return decode_all(folder, Screen(), window)
    return recorded_code(folder, conclude(folder, Screen(), window))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "form", type=OneOf(["html", "markdown", "json"]), default="html", help="[html]")
def report(folder: Path, form: Literal["html", "markdown", "json"]) -> None:
    """Write a run's report again, or print it (markdown, JSON).

    Of a folder of repeats it is what the runs say together.

    \b
    bench.py report results/20261121-031502-llamacpp-tiny-chat-3f2a --format markdown
    """
    import orjson

    from analysis.present.markdown import markdown
    from bench.runs import folder as files

    if (folder / files.REPEATS).exists():
        from bench.cli.repeat import report_all

        report_all(folder, form)
        return
    run, summary = files.read_json(folder, files.RUN), files.read_json(folder, files.SUMMARY)
    if form == "html":
        _report(folder, run, summary, *_tables(folder))
        echo(str(folder / files.REPORT))
    elif form == "markdown":
        echo(markdown(run, summary))
    else:
        echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
