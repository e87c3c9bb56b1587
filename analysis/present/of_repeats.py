"""Repeats of one run as a Document: means over the runs with their intervals, and the way to each run."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from analysis import wording
from analysis.compare.comparison import Run
from analysis.compare.measures import MEASURES, value
from analysis.present import in_words
from analysis.present.document import (
    PAGE,
    TONES,
    WRITTEN,
    Cell,
    Column,
    Document,
    Prose,
    Row,
    Section,
    Table,
    facts,
    judged,
    row,
)
from analysis.present.of_run import MINOR
from analysis.repeats import COST, STATISTICS, THROUGHPUT, RepeatsSummary
from analysis.run.metrics import METRICS
from analysis.run.summary import RunSummary
from analysis.wording import interval, number, percent, plus_minus
from bench.runs.sections import dump

COLUMNS: Final = (
    Column("of each run", "left"),
    *(Column(name, drop=MINOR.get(name, 0)) for name in STATISTICS),
    Column("cv"),
)
IN_EACH_RUN: Final = (
    "ttft_ms:p50",
    "ttft_ms:p99",
    "tpot_ms:p50",
    "service_ms:p50",
    "requests_per_s",
    "output_tokens_per_s",
)
HEADLINES: Final = wording.VERDICTS | {"valid": "Valid: every run passed every check, and they agree."}
METHOD: Final = (
    "Every run had the same load. Each number is the geometric mean over the runs of the figure in the run's own "
    "report, with its 95% interval (Student's t on logarithms; the unit is the run). The interval includes variation "
    "between runs and chance within a run. A number is unknown if any run lacks it, an interval with fewer than "
    "three runs.",
    "cv is the spread between runs: standard deviation over mean, of p50 where there is one.",
)


class Line(NamedTuple):
    """A row of the table: of each statistic the mean over the runs and its interval, and the spread between runs.

    What has only one number in a run (throughput, cost) has it as `mean`. `cv` is of p50, else of the mean.
    """

    name: str
    cells: Mapping[str, tuple[float | None, Sequence[float | None]]]
    cv: float | None


def document(found: RepeatsSummary, runs: Sequence[Run] = (), figures: Sequence[Section] = ()) -> Document:
    """Repeats, from what they say together and all runs, those that were cut short included."""
    caption = "With their 95% intervals; cv is the spread between runs"
    means = Table(COLUMNS, tuple(map(table_row, lines(found))), caption)
    head = (Column("run", "left"), *(Column(name) for name in IN_EACH_RUN), Column("verdict", "left"))
    asked = (in_words.asked(runs[0].run),) if runs else ()
    return Document(
        title=f"{found.model} on {found.backend}, scenario {found.scenario}, {len(found.runs)} runs",
        kind="Repeats of one run",
        headline=judged(found.verdict, HEADLINES[found.verdict.status]),
        blocks=(
            Section("", (Prose(asked, "lead"),), WRITTEN),
            facts([("runs", how_many(found))]),
            Section("Means over the runs", (means,)),
            *figures,
            Section("Runs", (Table(head, tuple(map(_run, runs))),), WRITTEN),
            Section("Method", (Prose(METHOD),), PAGE),
        ),
        data=dump(found),
    )


def lines(found: RepeatsSummary, metrics: Sequence[str] = tuple(METRICS)) -> list[Line]:
    """The rows of these metrics, of the throughput and of the cost, those of which the runs tell something."""
    latencies = ((name, found.metrics[name]) for name in metrics)
    rows = [
        Line(name, {key: (getattr(of, key), of.ci95[key]) for key in STATISTICS}, of.cv["p50"] or of.cv["mean"])
        for name, of in latencies
        if of.count
    ]
    for section, names in ((found.throughput, THROUGHPUT), (found.cost, COST)):
        if section is not None:
            means = {name: (getattr(section, name), section.ci95[name]) for name in names}
            known = (name for name, (mean, _) in means.items() if mean is not None)
            rows += [Line(name, {"mean": means[name]}, section.cv[name]) for name in known]
    return rows


def table_row(line: Line) -> Row:
    """A line under COLUMNS."""
    metric = METRICS.get(line.name)
    name = Cell(wording.LABELS.get(line.name, line.name), metric.unit if metric else "", terminal=line.name)
    return row(name, *(_mean(line, statistic) for statistic in STATISTICS), percent(line.cv))


def _mean(line: Line, statistic: str) -> Cell:
    """A mean with its interval; empty where the line has no such statistic."""
    if statistic not in line.cells:
        return Cell("")
    mean, bounds = line.cells[statistic]
    return Cell(number(mean), interval=interval(bounds) or "", terminal=plus_minus(mean, bounds))


def _run(run: Run) -> Row:
    """A run with a link to its report."""
    verdict = run.summary.verdict
    status, codes = verdict.status, ", ".join(reason.code for reason in verdict.reasons)
    return row(
        Cell(run.name, link=f"{run.name}/report.html"),
        *(number(value(MEASURES[name], run.summary)) for name in IN_EACH_RUN),
        Cell(status, interval=codes, tone=TONES[status]),
    )


def how_many(found: RepeatsSummary) -> str:
    text = f"{len(found.runs)} of {found.asked} runs"
    if found.left_out:
        text += f", without {', '.join(found.left_out)}, cut short"
    return f"{text}; {found.requests.succeeded:,} of {found.requests.planned:,} requests succeeded"


def in_short(summary: RunSummary) -> str:
    """A single run in one line."""
    verdict = summary.verdict
    codes = ", ".join(reason.code for reason in verdict.reasons)
    return (
        f"ttft p50 {number(summary.metric('ttft_ms').p50)} ms, "
        f"{number(summary.throughput.output_tokens_per_s)} output tok/s, "
        f"{verdict.status}{codes and f': {codes}'}"
    )
