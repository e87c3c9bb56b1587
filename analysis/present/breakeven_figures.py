"""The break-even page's plots: one function from `CostComparison` to a Figure each, and one line in FIGURES.

A function returns None when there is nothing to draw. `layout.meta` is the caption: what the figure shows, in words.
Text that comes from outside is escaped, because plotly reads labels as HTML.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from analysis.breakeven.comparison import Alternative, CostComparison, Point
from analysis.breakeven.curves import lines
from analysis.breakeven.scenarios import SensitivityBar
from analysis.present import ranking_figure
from analysis.present.breakeven_look import (
    LEFT_PX,
    OURS,
    TOP_PX,
    framed,
    label_places,
    line,
    log_ticks,
    mark_volume,
    style,
    volume_axis,
)
from analysis.present.breakeven_staircase import cost
from analysis.present.charts import Plot, above, axis, escape, label, layout, light, x_axis
from analysis.present.figure import Figure
from analysis.stats.distributions import CONFIDENCE, Floats
from analysis.wording import count, dollars

SHARES: Final = 200
BAR_PX: Final = 46
PARETO_PX: Final = 380
PAGE_PX: Final = 900


# --- probability ------------------------------------------------------------------------------------------------


def chance(comparison: CostComparison) -> Figure | None:
    """How likely self-hosting is the cheaper way, by volume, and where that is sure enough to decide."""
    known = [(i, alternative) for i, alternative in enumerate(comparison.alternatives) if alternative.states.measured]
    if not known:
        return None
    figure = framed(330, _chance_caption(comparison))
    for i, alternative in known:
        volumes, chances = comparison.volumes, alternative.p_cheaper
        # Lines lie on one another at 0 and at 1: each is narrower than the one below it.
        width = 2 + 1.5 * (len(comparison.alternatives) - 1 - i)
        figure.add_traces([line(volumes, chances, alternative.label, *style(i), "%{y:.1%}", width)])
        if (at := alternative.found.decision) is not None:
            figure.add_scatter(
                x=[at.requests], y=[at.p_cheaper], mode="markers", showlegend=False,
                hoverinfo="skip", cliponaxis=False, name=escape(alternative.label),
                marker={"color": light(style(i)[0]), "size": 9, "line": {"color": light("page"), "width": 1.5}},
            )  # fmt: skip
    for level, words in ((CONFIDENCE, "above: self-host"), (1 - CONFIDENCE, "below: pay the API")):
        figure.add_shape(
            type="line", xref="paper", x0=0, x1=1, y0=level, y1=level,
            line={"color": light("muted"), "width": 1, "dash": "dash"},
        )  # fmt: skip
        label(
            figure, f"{level:.0%}, {words}", font={"color": light("muted"), "size": 11},
            xref="paper", x=0, xanchor="left", y=level, yanchor="top" if level > 0.5 else "bottom",
        )  # fmt: skip
    mark_volume(figure, comparison.requests_per_month, is_log=True)
    return figure.update_layout(
        xaxis=volume_axis(comparison.volumes),
        yaxis=axis("P(self-hosting is cheaper)") | {"tickformat": ".0%", "range": [-0.02, 1.02], "nticks": 6},
    )


def _chance_caption(comparison: CostComparison) -> str:
    caption = (
        "The share of states consistent with the measured prices and capacity in which self-hosting costs no more "
        "than the API."
    )
    at = [
        f"{alternative.found.decision.p_cheaper:.1%} against {alternative.label}"
        for alternative in comparison.alternatives
        if alternative.states.measured and alternative.found.decision is not None
    ]
    if at and comparison.requests_per_month is not None:
        caption += f" At {comparison.requests_per_month:,} requests/month it is {', '.join(at)}."
    return caption


# --- tornado ----------------------------------------------------------------------------------------------------


def tornado(comparison: CostComparison) -> Figure | None:
    """What each input, moved alone from its low to its high value, does to the month against the first API."""
    main = comparison.alternatives[0] if comparison.alternatives else None
    bars = main.tornado if main else ()
    ends = [float(end) for bar in bars for end in bar.savings_usd if end.is_finite()]
    if not main or not ends:
        return None
    low_usd, high_usd = min(0.0, *ends), max(0.0, *ends)
    margin = 0.3 * (high_usd - low_usd or 1.0)
    figure = Figure(layout(len(bars) * BAR_PX + TOP_PX + 50, _tornado_caption(main, bars)))
    for i, bar in enumerate(bars):
        _add_bar(figure, bar, len(bars) - 1 - i, low_usd - 0.5 * margin)
    figure.add_shape(
        type="line", x0=0, x1=0, xref="x", y0=0, y1=1, yref="y domain", line={"color": light("ink"), "width": 1.5}
    )
    for text, anchor in (("costlier ◂ ", "right"), (" ▸ cheaper", "left")):
        above(figure, text, 0, font={"color": light("muted")}, xanchor=anchor, yshift=4)
    return figure.update_layout(
        xaxis=x_axis("monthly saving from self-hosting")
        | {"tickformat": "$,.4~r", "range": [low_usd - margin, high_usd + margin], "nticks": 7},
        yaxis={"showticklabels": False, "showgrid": False, "zeroline": False, "range": [-0.6, len(bars) - 0.4]},
        margin={"t": 44, "l": 12},
    )


def _add_bar(figure: Figure, bar: SensitivityBar, row: int, least_usd: float) -> None:
    """A bar with its ends' amounts beside it and its name above it; an end that nothing can serve is the least."""
    ends = [
        (float(usd) if usd.is_finite() else least_usd, usd, which)
        for usd, which in zip(bar.savings_usd, ("low", "high"), strict=True)
    ]
    left, right = sorted(ends, key=lambda end: end[0])
    drawn = {
        "type": "bar", "x": [right[0] - left[0]], "base": [left[0]], "y": [row], "orientation": "h", "width": 0.42,
        "marker": {"color": light(OURS), "line": {"color": light(OURS), "width": 2}}, "name": escape(bar.name),
        "showlegend": False, "hoverinfo": "skip",
    }  # fmt: skip
    figure.add_traces([drawn])
    beside = [(*left, "right"), (*right, "left")] if left[0] < right[0] else [(*left[:2], "low or high", "left")]
    for at, usd, which, anchor in beside:
        amount = dollars(usd, 0) if usd.is_finite() else "no capacity"
        font = {"size": 11, "color": light("muted")}
        label(figure, f" {amount} <i>({which})</i> ", font=font, x=at, xanchor=anchor, y=row, yanchor="middle")
    label(
        figure, escape(bar.name), xref="paper", x=0, xanchor="left", y=row + 0.24, yanchor="bottom",
        bgcolor=light("page"), borderpad=0,
    )  # fmt: skip


def _tornado_caption(main: Alternative, bars: Sequence[SensitivityBar]) -> str:
    caption = (
        f"What self-hosting saves per month against {main.name} when one input alone goes from its low to its high "
        "value, largest effect first."
    )
    turning = [bar.name for bar in bars if len({usd >= 0 for usd in bar.savings_usd}) == 2]
    if turning:
        return f"{caption} Inputs whose bar crosses the line turn a saving into a loss: {', '.join(turning)}."
    return f"{caption} No single input turns a saving into a loss."


# --- hybrid -----------------------------------------------------------------------------------------------------


def hybrid(comparison: CostComparison) -> Figure | None:
    """What the month at the user's volume costs when a share of the requests goes to our replicas."""
    volume = comparison.requests_per_month
    served = [
        (i, alternative)
        for i, alternative in enumerate(comparison.alternatives)
        if alternative.pairing.host.capacity_rps
    ]
    if volume is None or not served:
        return None
    figure = framed(350, "")
    best = []
    for i, alternative in served:
        shares, usd = _by_share(alternative, volume)
        figure.add_traces([line(shares, usd, alternative.label, *style(i))])
        least = int(np.argmin(usd))
        figure.add_scatter(
            x=[shares[least]], y=[usd[least]], mode="markers", showlegend=False, hoverinfo="skip", cliponaxis=False,
            name=escape(alternative.name), marker={"color": light(style(i)[0]), "size": 10},
        )  # fmt: skip
        best.append(f"{shares[least]:.0%} with {alternative.name} ({dollars(float(usd[least]), 2)})")
    caption = (
        f"What {count(volume, 'request')} a month cost when a share of them goes to our replicas and the rest to the "
        f"API: even a small share costs a whole replica. The cheapest share is marked: {', '.join(best)}."
    )
    return figure.update_layout(
        meta=caption,
        xaxis=x_axis("share served by our replicas") | {"tickformat": ".0%", "range": [-0.02, 1.02]},
        yaxis=axis("cost per month") | {"tickprefix": "$", "tickformat": ",.4~r", "rangemode": "tozero", "nticks": 6},
    )


def _by_share(alternative: Alternative, volume: int) -> tuple[Floats, Floats]:
    """(shares from 0 to 1, $/month to be expected): 0, a single request, and even steps up to all."""
    shares = sorted({Fraction(0), Fraction(1, volume), *(Fraction(i, SHARES) for i in range(1, SHARES + 1))})
    at = np.array([float(volume)])
    cases = (replace(alternative.pairing, offered_share=share, overflow=False) for share in shares)
    usd = [float(lines(pairing, alternative.states, at).self_usd[0]) for pairing in cases]
    return np.array([float(share) for share in shares]), np.array(usd)


# --- what was measured ------------------------------------------------------------------------------------------


def pareto(comparison: CostComparison) -> Figure | None:
    """What a request cost and how long it took in each measured run, and which runs no other beats in both."""
    first_token = [point.ttft_ms_p50 for point in comparison.points]
    whole = [point.response_ms_p99 for point in comparison.points]
    by_first_token = sum(ms is not None for ms in first_token) >= sum(ms is not None for ms in whole)
    latencies, title = (
        (first_token, "time to first token, median, ms") if by_first_token else (whole, "response time, p99, ms")
    )
    pairs = zip(latencies, comparison.points, strict=True)
    placed = [(ms, point) for ms, point in pairs if ms and point.usd_per_request]
    runs = sorted(placed, key=lambda run: run[0])
    if not runs:
        return None
    points = [point for _, point in runs]
    ms, usd = np.array([ms for ms, _ in runs]), 1000 * np.array([point.usd_per_request for point in points])
    figure = Figure(layout(PARETO_PX, _pareto_caption(points, len(comparison.points))))
    best = front(ms, usd, [point.meets_objectives is not False for point in points])
    figure.add_scatter(
        x=ms[best], y=usd[best], mode="lines", name="front", hoverinfo="skip", showlegend=False,
        line={"shape": "hv", "color": light("muted"), "width": 1.5, "dash": "dot"},
    )  # fmt: skip
    x_scale, y_scale = log_ticks(ms), log_ticks(usd, "$")
    figure.add_scatter(
        x=ms, y=usd, mode="markers+text", text=[escape(point.name) for point in points], showlegend=False, name="runs",
        textposition=_places(ms, usd, x_scale["range"], y_scale["range"], points), cliponaxis=False,
        marker={
            "size": 11, "color": light(OURS), "line": {"color": light(OURS), "width": 2},
            "symbol": ["circle-open" if point.meets_objectives is False else "circle" for point in points],
        },
        hovertemplate="%{text}<br>$%{y:,.4~r} for 1,000 requests<br>%{x:,.4~r} ms<extra></extra>",
    )  # fmt: skip
    return figure.update_layout(
        xaxis=x_axis(title) | x_scale,
        yaxis=axis("cost of 1,000 requests") | y_scale,
        margin={"l": LEFT_PX, "t": 24},
    )


def _places(
    ms: Floats, usd: Floats, x_range: Sequence[float], y_range: Sequence[float], points: Sequence[Point]
) -> list[str]:
    """Where the labels go, on a page of usual width."""
    across = (np.log10(ms) - x_range[0]) / (x_range[1] - x_range[0]) * PAGE_PX
    up = (np.log10(usd) - y_range[0]) / (y_range[1] - y_range[0]) * (PARETO_PX - 72)
    return label_places(across, up, [point.name for point in points], PAGE_PX)


def front(ms: Floats, usd: Floats, counts: Sequence[bool]) -> list[int]:
    """The runs that none that counts beats in latency without costing more, or the reverse; by ascending latency."""
    found, least_usd = [], math.inf
    for i in np.lexsort((usd, ms)):
        if counts[i] and usd[i] < least_usd:
            found.append(int(i))
            least_usd = usd[i]
    return found


def _pareto_caption(points: Sequence[Point], given: int) -> str:
    caption = (
        "Each dot is a measured run: faster to the left, cheaper towards the bottom. The dotted line joins the runs "
        "that no other run beats on both."
    )
    if any(point.meets_objectives is False for point in points):
        caption += " Hollow dots missed their objectives and are left off the line."
    left_out = given - len(points)
    return caption + (f" {count(left_out, 'run')} without that latency or a price: not shown." if left_out else "")


FIGURES: Final[Mapping[str, Plot[CostComparison]]] = {
    "cost": Plot("Cost", "Cost against volume", lambda asked: None if asked.has_several_sides else cost(asked)),
    "ways": Plot("Cost", "All options around your volume", ranking_figure.cost),
    "hybrid": Plot("Cost", "Cost by share served by our replicas", hybrid),
    "chance": Plot("How sure it is", "Probability that self-hosting is cheaper", chance),
    "tornado": Plot("How sure it is", "What moves the month most", tornado),
    "pareto": Plot("What was measured", "Cost against latency", pareto),
}
