"""The page of repeats: their table with intervals, each run in its place in the order, and the way to its report."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go

from analysis import wording
from analysis.compare.comparison import Run
from analysis.compare.measures import MEASURES, value
from analysis.present import pages
from analysis.present.charts import Plot, axis, layout, light, x_axis
from analysis.present.repeats_written import HEADLINES, Line, how_many, lines
from analysis.repeats import STATISTICS, over_runs
from analysis.run.metrics import METRICS
from analysis.wording import DASH, interval, number, percent

DRAWN: Final = (
    "ttft_ms:p50",
    "ttft_ms:p99",
    "tpot_ms:p50",
    "service_ms:p50",
    "requests_per_s",
    "output_tokens_per_s",
)
MOST_TICKS: Final = 10
METHOD: Final = (
    "The same load was offered in every run. Each number is the geometric mean over the runs of what the run's own "
    "report says; below it is its 95% interval, Student's t of logarithms with the run as the unit. What differs from "
    "one run to the next is in it, and so is what chance does within a run. A number is unknown where any run does not "
    "know it, an interval with fewer than three runs.",
    "cv is the spread between runs: their standard deviation over their mean, of p50 where there is one.",
)


class Repeated(NamedTuple):
    """repeats.json and the runs that came to their end, in their order."""

    found: Mapping[str, Any]
    runs: Sequence[Run]


def render(found: Mapping[str, Any], runs: Sequence[Run]) -> str:
    """Repeats as one self-contained HTML page, from repeats.json and all runs, those that were cut short included."""
    whole = [run for run in runs if run.name in found["runs"]]
    return pages.render(
        "repeats.html",
        title=f"{found['model']} on {found['backend']}, scenario {found['scenario']}",
        verdict=found["verdict"],
        verdict_text=HEADLINES[found["verdict"]["status"]],
        asked=wording.asked(runs[0].run),
        how_many=how_many(found),
        statistics=STATISTICS,
        rows=[_row(line) for line in lines(found)],
        head=("Run", *DRAWN, "verdict"),
        runs=[_run(run) for run in runs],
        sections=pages.sections(FIGURES, Repeated(found, whole)),
        method=METHOD,
    )


def _row(line: Line) -> dict[str, Any]:
    known = (line.cells.get(name, (None, None)) for name in STATISTICS)
    empty = len(line.cells) < len(STATISTICS)
    metric = METRICS.get(line.name)
    return {
        "name": wording.LABELS.get(line.name, line.name),
        "unit": metric.unit if metric else "",
        "cells": [
            {"value": "" if empty and mean is None else number(mean), "interval": interval(bounds)}
            for mean, bounds in known
        ],
        "cv": DASH if line.cv is None else percent(line.cv),
    }


def _run(run: Run) -> dict[str, Any]:
    summary = run.summary
    return {
        "name": run.name,
        "verdict": summary["verdict"]["status"],
        "codes": [reason["code"] for reason in summary["verdict"]["reasons"]],
        "cells": [number(value(MEASURES[name], summary)) for name in DRAWN],
    }


def _in_order(name: str, data: Repeated) -> go.Figure | None:
    """A measure in each run, in their order, with the mean over them and its interval."""
    values = [value(MEASURES[name], run.summary) for run in data.runs]
    if not values or None in values:
        return None
    over = over_runs(values)
    figure = go.Figure(layout=layout(260, _caption(over.ci95, len(values))))
    low, high = over.ci95
    if low is not None and high is not None:
        figure.add_hrect(y0=low, y1=high, line_width=0, fillcolor=light("shade"), layer="below")
    figure.add_hline(y=over.mean, line={"color": light("muted"), "width": 1, "dash": "dot"})
    figure.add_scatter(
        x=list(range(1, len(values) + 1)), y=values, text=[run.name for run in data.runs], mode="lines+markers",
        line={"color": light("blue"), "width": 1.5}, marker={"color": light("blue"), "size": 8},
        hovertemplate="%{text}: %{y:,.4~r}<extra></extra>", showlegend=False,
    )  # fmt: skip
    return figure.update_layout(
        xaxis=x_axis("run")
        | {"range": [0.5, len(values) + 0.5], "tick0": 1, "dtick": math.ceil(len(values) / MOST_TICKS)},
        yaxis=axis(MEASURES[name].unit) | {"rangemode": "tozero", "nticks": 5},
    )


def _caption(bounds: Sequence[float | None], runs: int) -> str:
    shaded = " The shade is its 95% interval." if None not in bounds else ""
    return f"Each mark is a run, in the order in which they were made. The line is the mean of the {runs}.{shaded}"


FIGURES: Final[Mapping[str, Plot[Repeated]]] = {
    name.replace(":", "-"): Plot("Run by run", name, partial(_in_order, name), wide=False) for name in DRAWN
}
