"""How every plot looks: distributions, panels over time, axes and colours."""

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from analysis.present import series
from analysis.present.figure import Figure, Trace, scatter
from analysis.present.palette import CLEAR, FONT, PALETTE, SERIES
from analysis.run.sections import PhaseSpan
from analysis.stats.distributions import Floats, at_position
from analysis.stats.pool import Ordered
from bench.process.printable import printable

TIME_TITLE: Final = "time since the run's start, s"
ROW_GAP_PX: Final = 44
TOP_PX: Final = 50
BOTTOM_PX: Final = 48
DASHES: Final = ("solid", "dash", "dot", "dashdot")
BARE: Final = {"data": {"scatter": [{"type": "scatter"}]}}
"""The template that sets nothing."""


T = TypeVar("T")


def escape(text: str) -> str:
    """Text from outside as a label, which plotly reads as HTML."""
    return html.escape(printable(text))


class Plot(NamedTuple, Generic[T]):
    """A figure's place on a page; a wide one takes a whole row, others share it."""

    section: str
    title: str
    draw: Callable[[T], Figure | None]
    wide: bool = True


class Panel(NamedTuple):
    title: str
    unit: str
    traces: Sequence[Trace]


def distribution(
    curves: Mapping[str, Floats | Ordered],
    x_title: str,
    y_title: str,
    caption: str,
    percentiles: Mapping[str, float | None],
    never: int = 0,
) -> Figure | None:
    """Cumulative shares of the values of each curve; `percentiles` are marked on the first one, by name (`p99`)."""
    if not all(len(values) for values in curves.values()):
        return None
    found = [values if isinstance(values, Ordered) else Ordered.of(values) for values in curves.values()]
    for ordered in found:
        ordered.fetch([*series.ranks(len(ordered)), *_decisive(ordered)])
    x_scale = scale(Ordered.together(found))
    figure = Figure(
        layout(300, caption)
        | {
            "xaxis": x_axis(x_title) | x_scale,
            "yaxis": axis(y_title) | {"tickformat": ".0%", "range": [0, 1.08], "nticks": 6},
            "legend": {"x": 1, "y": 0.02, "xanchor": "right", "yanchor": "bottom", "bgcolor": CLEAR},
        }
    )
    for i, (name, ordered) in enumerate(zip(curves, found, strict=True)):
        x, share = series.ecdf(ordered, never)
        figure.add_scatter(
            x=compact(x), y=compact(share), name=name, showlegend=len(curves) > 1,
            mode="lines", line={"shape": "hv", **line_of(i)},
            hovertemplate="%{y:.1%} within %{x:,.3~r} ms<extra></extra>",
        )  # fmt: skip
    n = len(next(iter(curves.values())))
    known = {name: value for name, value in percentiles.items() if value is not None}
    # A cumulative curve leaves two corners free: above it to the left, below it to the right.
    crowded = 0.0 if x_scale.get("type") == "log" else 0.3 * max(ordered[-1] for ordered in found)
    figure.add_scatter(
        x=list(known.values()), y=[int(name[1:]) / 100 * n / (n + never) for name in known], text=list(known),
        mode="markers+text", textposition=["top left" if x > crowded else "bottom right" for x in known.values()],
        cliponaxis=False, showlegend=False,
        marker={"color": light("ink"), "size": 6}, hovertemplate="%{text}: %{x:,.3~r} ms<extra></extra>",
    )  # fmt: skip
    return figure


def line_of(place: int) -> dict[str, str]:
    """The colour and dashes of the line at this place; 16 of them can be told apart."""
    return {"color": light(SERIES[place % len(SERIES)]), "dash": DASHES[place // len(SERIES) % len(DASHES)]}


def scale(ordered: Ordered) -> dict[str, Any]:
    """The axis of such values: linear from zero, or logarithmic where the tail is far, with labels for both."""
    first, usual, rare, last = _decisive(ordered)
    if first > last:
        return {"rangemode": "tozero"}
    ordered.fetch([first, usual, rare, last])
    ticks = series.ticks_1_2_5(ordered[first], ordered[last])
    far = at_position(ordered, rare) > 10 * at_position(ordered, usual)
    return {
        "type": "log" if far else "linear",
        "tickmode": "array" if far else "auto",
        "tickvals": ticks,
        "ticktext": [f"{tick:,.6g}" for tick in ticks],
        "rangemode": "tozero",
    }


def _decisive(ordered: Ordered) -> tuple[int, float, float, int]:
    """Where in the values are the first above 0, the median and the far tail of those, and the last."""
    first, last = ordered.positive(), len(ordered) - 1
    usual, rare = (first + level * (last - first) for level in (0.5, 0.999))
    return first, usual, rare, last


def over_time(
    panels: Sequence[Panel], phases: Sequence[PhaseSpan], end_s: float, caption: str, row_px: int = 120
) -> Figure:
    """Panels one above the other on one time axis from 0 to `end_s`, the phases shaded through all of them."""
    figure = stacked(panels, TIME_TITLE, caption, row_px, {"range": [0, end_s], "hoverformat": ",.2f"})
    for phase in phases:
        _add_phase(figure, phase, with_name=phase.end_s - phase.start_s > 0.18 * end_s)
    return figure


def stacked(panels: Sequence[Panel], x_title: str, caption: str, row_px: int, x_more: Mapping[str, Any] = {}) -> Figure:
    """Panels one above the other on one x axis; `x_more` is what else plotly is told of that."""
    inner_px = len(panels) * (row_px + ROW_GAP_PX) - ROW_GAP_PX
    look = layout(inner_px + TOP_PX + BOTTOM_PX, caption)
    look["margin"] |= {"t": TOP_PX, "b": BOTTOM_PX}
    anchor = f"y{len(panels)}" if len(panels) > 1 else "y"
    look |= {"hovermode": "x unified", "xaxis": x_axis(x_title) | {"anchor": anchor, **x_more}, "annotations": []}
    traces = []
    for i, panel in enumerate(panels):
        # Plotly's suffix of an axis: none for the first, then 2, 3 …
        suffix, top = str(i + 1) if i else "", 1 - i * (row_px + ROW_GAP_PX) / inner_px
        traces += [trace | {"yaxis": f"y{suffix}", "showlegend": False} for trace in panel.traces]
        domain = [max(0.0, top - row_px / inner_px), top]
        look[f"yaxis{suffix}"] = axis(panel.unit) | {"domain": domain, "rangemode": "tozero", "nticks": 5}
        title = "  ".join([f"<b>{panel.title}</b>"] * bool(panel.title) + _keys(panel.traces))
        look["annotations"].append(_above(title, 0, xref="paper", xanchor="left", y=top, yshift=3))
    return Figure(look, traces)


def _keys(traces: Sequence[Trace]) -> list[str]:
    """The legend as one line of text, which fits a narrow page where plotly's would cover the title."""
    if len(traces) > len(SERIES):
        return [f"{traces[0]['name']} to {traces[-1]['name']}"]
    keys = []
    for trace in traces:
        line, marker = trace.get("line", {}), trace.get("marker", {})
        dot, stroke = "✕" if marker.get("symbol") == "x" else "●", "╌" if "dash" in line else "━"
        key = f"{dot if trace['mode'] == 'markers' else stroke}\u2009{trace['name']}"
        keys.append(f'<span style="color: {marker.get("color") or line["color"]}">{key}</span>')
    return keys if all(trace["name"] for trace in traces) else []


def _add_phase(figure: Figure, phase: PhaseSpan, with_name: bool) -> None:
    if phase.name != "measured":
        shade(figure, phase.start_s, phase.end_s)
    if with_name:
        name, middle_s = phase.name.replace("warmup", "warm-up"), (phase.start_s + phase.end_s) / 2
        above(figure, name, middle_s, font={"color": light("muted")}, yshift=24)


def label(figure: Figure, text: str, **at: Any) -> None:
    """A text without an arrow; `at` is passed on to plotly's annotation."""
    figure.add_annotation(text=text, showarrow=False, **at)


def above(figure: Figure, text: str, x: float, **other: Any) -> None:
    """A text above the panels at one x."""
    figure.add_annotation(**_above(text, x, **other))


def _above(text: str, x: float, **other: Any) -> dict[str, Any]:
    return {"text": text, "showarrow": False, "x": x, "yref": "paper", "y": 1, "yanchor": "bottom"} | other


def shade(figure: Figure, start: float, end: float) -> None:
    """Shade a stretch of the x axis through all panels."""
    figure.add_shape(
        type="rect", x0=start, x1=end, y0=0, y1=1, yref="paper", layer="below",
        line={"width": 0}, fillcolor=light("shade"),
    )  # fmt: skip


def mark(figure: Figure, x: float) -> None:
    """A dotted line at one x, through all panels."""
    figure.add_shape(
        type="line", x0=x, x1=x, yref="paper", y0=0, y1=1, line={"color": light("ink"), "width": 1.5, "dash": "dot"}
    )


def steps(edges: Floats, values: Floats, color: str, name: str = "") -> Trace:
    """A rate per bin as a step curve."""
    return scatter(
        x=compact(edges), y=compact(np.append(values, values[-1:])), name=name,
        mode="lines", line={"shape": "hv", "color": light(color), "width": 1.5}, hovertemplate="%{y:,.4~r}",
    )  # fmt: skip


def level(phase: PhaseSpan, value: float, name: str) -> Trace:
    """A dashed line at one height through a phase."""
    return scatter(
        x=[phase.start_s, phase.end_s], y=[value, value], name=name,
        mode="lines", line={"dash": "dash", "color": light("ink"), "width": 1.5}, hovertemplate="%{y:,.4~r}",
    )  # fmt: skip


def compact(values: Floats) -> npt.NDArray[np.float32]:
    """Seven digits are more than a screen shows, and half the size."""
    return values.astype(np.float32)


def light(name: str) -> str:
    """A colour of the palette; the report exchanges it for its dark twin when the page is dark."""
    return PALETTE[name].light


def layout(height_px: int, caption: str) -> dict[str, Any]:
    """What the layout of every figure begins with."""
    return {
        "template": BARE,
        "height": height_px,
        "meta": caption,
        "margin": {"l": 64, "r": 12, "t": 12, "b": BOTTOM_PX},
        "font": {"family": FONT, "size": 12, "color": light("ink")},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "hoverlabel": {"bgcolor": light("raised"), "bordercolor": light("line"), "font": {"color": light("ink")}},
    }


def x_axis(title: str) -> dict[str, Any]:
    found = axis(title)
    return found | {"title": found["title"] | {"standoff": 8}}


def axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"color": light("muted")}},
        "gridcolor": light("line"),
        "linecolor": light("line"),
        "zeroline": False,
        "separatethousands": True,
        "exponentformat": "none",
    }
