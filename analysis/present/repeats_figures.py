"""The figures of repeats: each run in its place in the order."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from analysis.compare.comparison import Run
from analysis.compare.measures import MEASURES, value
from analysis.present.charts import Plot, axis, layout, light, x_axis
from analysis.present.document import Section
from analysis.present.figure import Figure
from analysis.present.figures import figure_sections
from analysis.present.of_repeats import IN_EACH_RUN
from analysis.repeats import RepeatsSummary, over_runs

MOST_TICKS: Final = 10
ACROSS: Final[Mapping[str, Any]] = {"x0": 0, "x1": 1, "xref": "x domain", "yref": "y"}


def sections(found: RepeatsSummary, runs: Sequence[Run]) -> tuple[Section, ...]:
    """The figures of repeats, from repeats.json and all runs; those that were cut short are not drawn."""
    whole: Sequence[Run] = [run for run in runs if run.name in found.runs]
    return figure_sections(FIGURES, whole)


def _in_order(name: str, runs: Sequence[Run]) -> Figure | None:
    """A measure in each run, in their order, with the mean over them and its interval."""
    values = [value(MEASURES[name], run.summary) for run in runs]
    if not values or None in values:
        return None
    over = over_runs(values)
    figure = Figure(layout(260, _caption(over.ci95, len(values))))
    low, high = over.ci95
    if low is not None and high is not None:
        figure.add_shape(
            type="rect", y0=low, y1=high, fillcolor=light("shade"), layer="below", line={"width": 0}, **ACROSS
        )
    dotted = {"color": light("muted"), "width": 1, "dash": "dot"}
    figure.add_shape(type="line", y0=over.mean, y1=over.mean, line=dotted, **ACROSS)
    figure.add_scatter(
        x=list(range(1, len(values) + 1)), y=values, text=[run.name for run in runs], mode="lines+markers",
        line={"color": light("blue"), "width": 1.5}, marker={"color": light("blue"), "size": 8},
        hovertemplate="%{text}: %{y:,.4~r}<extra></extra>", showlegend=False,
    )  # fmt: skip
    return figure.update_layout(
        xaxis=x_axis("run")
        | {"range": [0.5, len(values) + 0.5], "tick0": 1, "dtick": math.ceil(len(values) / MOST_TICKS)},
        yaxis=axis(MEASURES[name].unit) | {"rangemode": "tozero", "nticks": 5},
    )


def _caption(bounds: Sequence[float | None], runs: int) -> str:
    shaded = " The shaded band is its 95% interval." if None not in bounds else ""
    return f"Each mark is a run, in order. The line is the mean of all {runs}.{shaded}"


FIGURES: Final[Mapping[str, Plot[Sequence[Run]]]] = {
    name.replace(":", "-"): Plot("Run by run", name, partial(_in_order, name), wide=False) for name in IN_EACH_RUN
}
