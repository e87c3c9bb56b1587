"""What a month costs by volume: the staircase of our replicas, a line for each API, and who is cheapest."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go

from analysis.breakeven.comparison import Alternative, CostComparison
from analysis.breakeven.curves import CostCurve, curves_of, volumes_of
from analysis.present.breakeven_look import (
    DASHES,
    OURS,
    band,
    framed,
    ground,
    line,
    log_range,
    mark_volume,
    style,
    volume_axis,
)
from analysis.present.charts import axis, escape, light
from analysis.stats.distributions import CONFIDENCE, Floats

SELF_HOSTING: Final = "self-hosting"


def cost(comparison: CostComparison) -> go.Figure | None:
    """What a month costs by volume: the staircase of our replicas, a line for each API, and who is cheapest."""
    if len(comparison.volumes) < 2 or not comparison.alternatives:
        return None
    volumes = volumes_of(comparison)
    own, apis = curves_of(comparison, volumes)
    drawn = np.concatenate([curve.usd for curve in (*own, *apis)])
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    if not len(drawn):
        return None
    low_usd, high_usd = drawn.min() / 1.5, drawn.max() * 1.5
    figure = framed(470, _caption(comparison))
    figure.add_traces(_winners(volumes, own, apis, low_usd))
    figure.add_traces([band for each in own for band in _own_band(each, volumes)])
    for alternative, api in zip(comparison.alternatives, apis, strict=True):
        figure.add_traces([*_price_band(alternative, api, volumes), *_where_it_may_lie(alternative, api, volumes)])
    figure.add_traces([_api_line(comparison, api, volumes) for api in apis])
    figure.add_traces([_own_line(comparison, each, volumes) for each in own])
    for alternative, api in zip(comparison.alternatives, apis, strict=True):
        figure.add_traces(_break_evens(alternative, api, volumes))
    mark_volume(figure, comparison)
    return figure.update_layout(
        xaxis=volume_axis(volumes),
        yaxis=axis("cost per month") | {"tickprefix": "$", "tickformat": ",.2~f"} | log_range(low_usd, high_usd),
    )


def _own_line(comparison: CostComparison, curve: CostCurve, volumes: Floats) -> go.Scatter:
    name, dash = SELF_HOSTING, "solid"
    if curve.alternative is not None:
        name, dash = (
            f"{SELF_HOSTING}, the rest at {comparison.alternatives[curve.alternative].name}",
            DASHES[curve.alternative % 3],
        )
    return line(volumes, curve.usd, name, OURS, dash)


def _own_band(curve: CostCurve, volumes: Floats) -> list[go.Scatter]:
    """What eight of ten states of self-hosting cost, where they differ."""
    known = np.isfinite(curve.high_usd)
    if not np.any(known) or np.array_equal(curve.low_usd[known], curve.high_usd[known]):
        return []
    return [band(volumes[known], curve.low_usd[known], curve.high_usd[known], OURS, "eight of ten states")]


def _api_line(comparison: CostComparison, curve: CostCurve, volumes: Floats) -> go.Scatter:
    assert curve.alternative is not None
    return line(volumes, curve.usd, comparison.alternatives[curve.alternative].name, *style(curve.alternative))


def _winners(
    volumes: Floats, own: Sequence[CostCurve], apis: Sequence[CostCurve], floor_usd: float
) -> list[go.Scatter]:
    """The ground below the cheapest line, in its colour."""
    colors = [OURS] * len(own) + [style(i)[0] for i in range(len(apis))]
    usd = np.stack([curve.usd for curve in (*own, *apis)])
    cheapest, lowest_usd = np.argmin(usd, axis=0), usd.min(axis=0)
    names = np.array(colors)[cheapest]
    ends = np.flatnonzero(names[1:] != names[:-1]) + 1
    grounds: dict[str, list[Floats]] = {}
    for start, end in zip([0, *ends], [*ends, len(volumes) - 1], strict=True):
        span = slice(start, end + 1)
        x = np.concatenate([volumes[span], volumes[span][[-1, 0]], [np.nan]])
        y = np.concatenate([np.maximum(lowest_usd[span], floor_usd), [floor_usd] * 2, [np.nan]])
        grounds.setdefault(str(names[start]), []).append(np.stack([x, y]))
    joined = {color: np.concatenate(parts, axis=1) for color, parts in grounds.items()}
    return [ground(x, y, color, f"cheapest: {color}") for color, (x, y) in joined.items()]


def _price_band(alternative: Alternative, curve: CostCurve, volumes: Floats) -> list[go.Scatter]:
    """The 95% interval of a measured price, all along its line."""
    low, high = alternative.usd_ci95
    if low is None or high is None or not alternative.pairing.usd_per_request:
        return []
    assert curve.alternative is not None
    usd = float(alternative.pairing.usd_per_request)
    color, _ = style(curve.alternative)
    return [
        band(volumes, curve.usd * (low / usd), curve.usd * (high / usd), color, f"price of {escape(alternative.name)}")
    ]


def _where_it_may_lie(alternative: Alternative, curve: CostCurve, volumes: Floats) -> list[go.Scatter]:
    """The stretch of an API's line that holds the first break-even in 95 of 100 draws."""
    assert curve.alternative is not None
    low, high = alternative.found.first.low, alternative.found.first.high
    if low is None or low == high or low > volumes[-1]:
        return []
    ends = np.clip([low, volumes[-1] if high is None else high], volumes[0], volumes[-1])
    x = np.unique(np.concatenate([ends, volumes[(volumes > ends[0]) & (volumes < ends[1])]]))
    return [
        go.Scatter(
            x=x, y=np.interp(x, volumes, curve.usd), mode="lines", hoverinfo="skip", showlegend=False,
            line={"color": light(f"{style(curve.alternative)[0]}-tint"), "width": 12},
            name=f"break-even with {escape(alternative.name)}",
        )
    ]  # fmt: skip


def _break_evens(alternative: Alternative, curve: CostCurve, volumes: Floats) -> list[go.Scatter]:
    """A dot at the first volume at which self-hosting pays, a diamond at the one from which it does for good."""
    first, permanent = alternative.found.answer.first, alternative.found.answer.permanent
    marks = [(first, "circle", "top left", "from")]
    if permanent != first:
        marks.append((permanent, "diamond", "bottom right", "for good from"))
    assert curve.alternative is not None
    return [
        go.Scatter(
            x=[volume], y=np.interp([volume], volumes, curve.usd), text=[f"{volume:,}"],
            mode="markers+text", textposition=place, showlegend=False, name=f"{words} {volume:,}", hoverinfo="skip",
            textfont={"color": light(style(curve.alternative)[0])}, cliponaxis=False,
            marker={"color": light(style(curve.alternative)[0]), "size": 10, "symbol": symbol,
                    "line": {"color": light("page"), "width": 1.5}},
        )
        for volume, symbol, place, words in marks
        if volume is not None and volumes[0] <= volume <= volumes[-1]
    ]  # fmt: skip


def _caption(comparison: CostComparison) -> str:
    caption = (
        "What a month costs by its number of requests; both axes are logarithmic. Self-hosting is a staircase with a "
        "step for each further replica. Below the lines the ground has the colour of whoever is cheapest on average. A "
        "dot marks the first volume at which self-hosting costs no more than that API, a diamond the one from which it "
        "never costs more again where that is another. The broad stretch of a line holds the first break-even in 95 of "
        "100 states that the measurements leave possible."
    )
    if any(None not in alternative.usd_ci95 for alternative in comparison.alternatives):
        caption += " The band along a line is the 95% interval of the measured price."
    if any(alternative.pairing.worth != 1 for alternative in comparison.alternatives):
        caption += " An API's line is for as many good requests as self-hosting gives."
    if any(alternative.states.capacity_measured for alternative in comparison.alternatives):
        caption += (
            " Self-hosting is drawn as it is to be expected, within the band of eight of ten states of its capacity; "
            f"a dot wants {CONFIDENCE:.0%} of the states."
        )
    if never := [alternative.name for alternative in comparison.alternatives if not alternative.found.answer.spans]:
        caption += f" Without a dot: {', '.join(never)}, against which self-hosting surely pays nowhere."
    return caption
