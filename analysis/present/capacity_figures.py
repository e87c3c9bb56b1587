"""The figures of a search for capacity: how latency, goodput and cost move with the rate, and where it ends."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Final

import numpy as np

from analysis.capacity.search import Capacity, Outcome
from analysis.money.numbers import SECONDS_PER_HOUR
from analysis.present.charts import Panel, Plot, above, axis, layout, light, mark, scale, shade, stacked, x_axis
from analysis.present.document import Section
from analysis.present.figure import Figure, Trace, scatter
from analysis.present.figures import figure_sections
from analysis.present.of_capacity import CapacityResult, LoadPoint, usd_per_request
from analysis.stats.distributions import Floats
from analysis.stats.pool import Ordered
from analysis.wording import dollars, number

RATE: Final = "offered, requests/s"
SYMBOLS: Final[Mapping[Outcome, str]] = {"met": "circle", "missed": "circle-open", "saturated": "x-thin-open"}
ROW_PX: Final = 190
MARKS: Final = "filled = objectives met, hollow = missed, cross = the server fell behind"
_by_rate = attrgetter("rate_per_s")


def sections(found: CapacityResult) -> tuple[Section, ...]:
    return figure_sections(FIGURES, found)


def load(found: CapacityResult) -> Figure | None:
    """Latency above, what was served below, both by the rate that was offered."""
    if not found.runs:
        return None
    latency = [
        _series(found, "p50", "blue", lambda run: run.ttft_ms_p50, " ms"),
        _series(found, "p99", "plum", lambda run: run.ttft_ms_p99, " ms"),
    ]
    last = max(run.rate_per_s for run in found.runs)
    served = [
        scatter(
            x=[0, last], y=[0, last], mode="lines", name="as offered", hoverinfo="skip",
            line={"color": light("muted"), "width": 1, "dash": "dot"},
        ),
        _series(found, "completed", "blue", lambda run: run.completed_per_s, "/s"),
        _series(found, "within the objectives", "green", lambda run: run.goodput_rps, "/s"),
    ]  # fmt: skip
    waits = np.array([ms for run in found.runs for ms in (run.ttft_ms_p50, run.ttft_ms_p99) if ms])
    panels = [Panel("Time to first token", "ms", _drawn(latency)), Panel("Served", "requests/s", _drawn(served))]
    caption = f"Each mark is a run at that rate ({MARKS}). {_knee(found.capacity)}"
    figure = stacked([panel for panel in panels if panel.traces], RATE, caption, ROW_PX)
    if len(waits):
        figure.update_layout(yaxis=scale(Ordered.of(waits)))
    _mark_capacity(figure, found.capacity, last, 22)
    return figure.update_layout(xaxis={"range": [0, 1.04 * last]}, hovermode="x unified")


def _drawn(traces: Sequence[Trace]) -> list[Trace]:
    return [trace for trace in traces if len(trace["x"])]


def _series(
    found: CapacityResult, name: str, color: str, value: Callable[[LoadPoint], float | None], unit: str
) -> Trace:
    """A mark for each run that has the value, its symbol by its outcome, joined in the order of the rates."""
    runs = [run for run in sorted(found.runs, key=_by_rate) if value(run) is not None]
    return scatter(
        x=[run.rate_per_s for run in runs], y=[value(run) for run in runs], name=name, mode="lines+markers",
        line={"color": light(color), "width": 1.5}, hovertemplate=f"%{{y:,.4~r}}{unit}",
        marker={
            "color": light(color), "size": 8, "symbol": [SYMBOLS[run.outcome] for run in runs],
            "line": {"color": light(color), "width": 2},
        },
    )  # fmt: skip


def _knee(capacity: Capacity) -> str:
    if not capacity.rate_per_s:
        return "No rate met the objectives."
    high = number(capacity.high_per_s) if capacity.high_per_s is not None else "the highest rate offered"
    return (
        f"The line is the capacity, {number(capacity.rate_per_s)} requests/s, with its interval shaded, "
        f"{number(capacity.low_per_s)} to {high}."
    )


def _mark_capacity(figure: Figure, capacity: Capacity, last: float, above_px: int) -> None:
    """The capacity as a line through all panels, named so far above them, and its interval as ground."""
    if not capacity.rate_per_s:
        return
    high = last if capacity.high_per_s is None else capacity.high_per_s
    shade(figure, capacity.low_per_s, high)
    mark(figure, capacity.rate_per_s)
    above(figure, f"capacity {number(capacity.rate_per_s)}/s", capacity.rate_per_s, yshift=above_px)


def cost(found: CapacityResult) -> Figure | None:
    """What a request costs by load: the more of them share an hour the less, up to where the objectives end."""
    if not found.usd_per_hour or not found.runs:
        return None
    runs, usd = _priced(found.usd_per_hour, found.runs)
    if not runs:
        return None
    rates = np.array([run.rate_per_s for run in runs])
    figure = Figure(layout(340, _cost_caption(found, found.usd_per_hour)))
    along = np.geomspace(rates.min(), rates.max(), 200)
    figure.add_scatter(
        x=along, y=float(found.usd_per_hour) / (SECONDS_PER_HOUR * along), mode="lines", name="as offered",
        line={"color": light("muted"), "width": 1, "dash": "dot"}, hoverinfo="skip",
    )  # fmt: skip
    for outcome, color in (("met", "blue"), ("missed", "amber"), ("saturated", "fail")):
        of_outcome = [i for i, run in enumerate(runs) if run.outcome == outcome]
        if of_outcome:
            figure.add_scatter(
                x=rates[of_outcome], y=usd[of_outcome], mode="markers", name=outcome,
                marker={"color": light(color), "size": 10, "symbol": SYMBOLS[runs[of_outcome[0]].outcome],
                        "line": {"color": light(color), "width": 2}},
                hovertemplate="%{x:,.4~r} requests/s: $%{y:,.3~r} a request",
            )  # fmt: skip
    _mark_capacity(figure, found.capacity, float(rates.max()), 2)
    return figure.update_layout(
        xaxis=x_axis(RATE) | {"range": [0, 1.04 * float(rates.max())]},
        yaxis=axis("cost per request") | {"tickprefix": "$", "tickformat": ",.3~r", "rangemode": "tozero", "nticks": 6},
        legend={"x": 1, "y": 1, "xanchor": "right", "yanchor": "top", "bgcolor": light("page")},
        margin={"l": 90, "t": 28},
    )


def _priced(usd_per_hour: Decimal, runs: Sequence[LoadPoint]) -> tuple[list[LoadPoint], Floats]:
    priced = [
        (run, usd) for run in sorted(runs, key=_by_rate) if (usd := usd_per_request(usd_per_hour, run)) is not None
    ]
    return [run for run, _ in priced], np.array([usd for _, usd in priced])


def _cost_caption(found: CapacityResult, usd_per_hour: Decimal) -> str:
    caption = (
        f"What a request costs when an hour costs {dollars(usd_per_hour)} and the server is kept busy at that rate. "
        "Right of the line the objectives are missed, so those lower costs are out of reach."
    )
    if found.capacity.rate_per_s:
        usd = float(usd_per_hour) / (SECONDS_PER_HOUR * found.capacity.rate_per_s)
        caption += f" At the capacity a request costs {dollars(usd)}."
    return f"{caption} {_knee(found.capacity)} Marks: {MARKS}."


FIGURES: Final[Mapping[str, Plot[CapacityResult]]] = {
    "load": Plot("By load", "Latency and goodput", load),
    "cost-by-load": Plot("By load", "Cost of a request", cost),
}
