"""Repeats as rows of text and as markdown for the comment that a CI job leaves."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from analysis.present.markdown import plain
from analysis.repeats import COST, STATISTICS, THROUGHPUT
from analysis.run.metrics import METRICS
from analysis.wording import DASH, percent, plus_minus

SHOWN: Final = ("ttft_ms", "tpot_ms", "itl_ms", "service_ms", "response_ms", "lateness_ms")
COLUMNS: Final = ("mean", "p50", "p90", "p99")
HEAD: Final = ("", *COLUMNS, "cv")
HEADLINES: Final = {
    "valid": "Valid: every run passed every check, and they agree.",
    "suspect": "Suspect: use these numbers with care.",
    "invalid": "Invalid: do not use these numbers.",
}


class Line(NamedTuple):
    """A row of the table: of each statistic the mean over the runs and its interval, and the spread between runs.

    What has only one number in a run (throughput, cost) has it as `mean`. `cv` is of p50, else of the mean.
    """

    name: str
    cells: Mapping[str, tuple[float | None, Sequence[float | None]]]
    cv: float | None


def lines(found: Mapping[str, Any], metrics: Sequence[str] = tuple(METRICS)) -> list[Line]:
    """The rows of these metrics, of the throughput and of the cost, those of which the runs tell something."""
    latencies = ((name, found["metrics"][name]) for name in metrics)
    rows = [
        Line(name, {key: (of[key], of["ci95"][key]) for key in STATISTICS}, of["cv"]["p50"] or of["cv"]["mean"])
        for name, of in latencies
        if of["count"]
    ]
    for section, names in ((found["throughput"], THROUGHPUT), (found["cost"] or {}, COST)):
        known = (name for name in names if section.get(name) is not None)
        rows += [Line(name, {"mean": (section[name], section["ci95"][name])}, section["cv"][name]) for name in known]
    return rows


def row(line: Line) -> tuple[str, ...]:
    """A line under HEAD; empty where it has no such statistic."""
    cells = (plus_minus(*line.cells[name]) if name in line.cells else "" for name in COLUMNS)
    return line.name, *cells, DASH if line.cv is None else percent(line.cv)


def how_many(found: Mapping[str, Any]) -> str:
    """What the numbers are of."""
    runs, left_out = len(found["runs"]), found["left_out"]
    text = f"{runs} of {found['asked']} runs"
    if left_out:
        text += f", without {', '.join(left_out)}, cut short"
    counts = found["requests"]
    return f"{text}; {counts['succeeded']:,} of {counts['planned']:,} requests succeeded"


def markdown(found: Mapping[str, Any]) -> str:
    """The verdict, its reasons and the table, from repeats.json."""
    return "\n".join(
        [
            f"### {plain(found['model'])} on {plain(found['backend'])}, scenario {plain(found['scenario'])}, "
            f"{len(found['runs'])} runs",
            "",
            f"**{HEADLINES[found['verdict']['status']]}** {plain(how_many(found))}.",
            "",
            *(f"- `{reason['code']}`: {plain(reason['message'])}" for reason in found["verdict"]["reasons"]),
            *([""] if found["verdict"]["reasons"] else []),
            f"| {' | '.join(HEAD)} |",
            f"| --- |{' ---: |' * (len(HEAD) - 1)}",
            *(f"| {' | '.join(row(line))} |" for line in lines(found, SHOWN)),
            "",
            "Means over the runs, ± half of their 95% interval; cv is the spread between runs.",
            "",
        ]
    )
