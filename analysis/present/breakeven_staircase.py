"""What a month costs by volume: the staircase of our replicas, a line for each API, and who is cheapest."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from analysis.breakeven.comparison import Alternative, CostComparison
from analysis.breakeven.curves import Lines, lines, serves_all, volumes_of
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
from analysis.present.figure import Figure, Trace, scatter
from analysis.stats.distributions import CONFIDENCE, Floats

SELF_HOSTING: Final = "self-hosting"


def cost(comparison: CostComparison) -> Figure | None:
    """What a month costs by volume: the staircase of our replicas, a line for each API, and who is cheapest."""
    alternatives = comparison.alternatives
    if len(comparison.volumes) < 2 or not alternatives:
        return None
    volumes = volumes_of(comparison)
    curves = [lines(alternative.pairing, alternative.states, volumes) for alternative in alternatives]
    own = {f"{SELF_HOSTING}, the rest at {api.name}": curve for api, curve in zip(alternatives, curves, strict=True)}
    if serves_all(comparison):
        own = {SELF_HOSTING: curves[0]}
    apis = [(api, curves[i].api_usd, *style(i)) for i, api in enumerate(alternatives)]
    bills = [*(curve.self_usd for curve in own.values()), *(usd for _, usd, _, _ in apis)]
    drawn = np.concatenate(bills)
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    if not len(drawn):
        return None
    low_usd, high_usd = drawn.min() / 1.5, drawn.max() * 1.5
    figure = framed(470, _caption(comparison))
    figure.add_traces(_winners(volumes, bills, [OURS] * len(own) + [color for _, _, color, _ in apis], low_usd))
    figure.add_traces([band for curve in own.values() for band in _own_band(curve, volumes)])
    for api, usd, color, _ in apis:
        figure.add_traces([*_price_band(api, usd, color, volumes), *_where_it_may_lie(api, usd, color, volumes)])
    figure.add_traces([line(volumes, usd, api.name, color, dash) for api, usd, color, dash in apis])
    for i, (name, curve) in enumerate(own.items()):
        figure.add_traces([line(volumes, curve.self_usd, name, OURS, DASHES[i % len(DASHES)])])
    for api, usd, color, _ in apis:
        figure.add_traces(_break_evens(api, usd, color, volumes))
    mark_volume(figure, comparison.requests_per_month, is_log=True)
    return figure.update_layout(
        xaxis=volume_axis(volumes),
        yaxis=axis("cost per month") | {"tickprefix": "$", "tickformat": ",.2~f"} | log_range(low_usd, high_usd),
    )


def _own_band(curve: Lines, volumes: Floats) -> list[Trace]:
    """What eight of ten states of self-hosting cost, where they differ."""
    known = np.isfinite(curve.high_usd)
    if not np.any(known) or np.array_equal(curve.low_usd[known], curve.high_usd[known]):
        return []
    return [band(volumes[known], curve.low_usd[known], curve.high_usd[known], OURS, "eight of ten states")]


def _winners(volumes: Floats, bills: Sequence[Floats], colors: Sequence[str], floor_usd: float) -> list[Trace]:
    """The ground below the cheapest of these bills, in its colour."""
    usd = np.stack(bills)
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


def _price_band(alternative: Alternative, usd: Floats, color: str, volumes: Floats) -> list[Trace]:
    """The 95% interval of a measured price, all along its line."""
    low, high = alternative.usd_ci95
    if low is None or high is None or not alternative.pairing.usd_per_request:
        return []
    price = float(alternative.pairing.usd_per_request)
    return [band(volumes, usd * (low / price), usd * (high / price), color, f"price of {escape(alternative.name)}")]


def _where_it_may_lie(alternative: Alternative, usd: Floats, color: str, volumes: Floats) -> list[Trace]:
    """The stretch of an API's line that holds the first break-even in 95 of 100 draws."""
    low, high = alternative.found.first.ci95
    if low is None or low == high or low > volumes[-1]:
        return []
    ends = np.clip([low, volumes[-1] if high is None else high], volumes[0], volumes[-1])
    x = np.unique(np.concatenate([ends, volumes[(volumes > ends[0]) & (volumes < ends[1])]]))
    return [
        scatter(
            x=x, y=np.interp(x, volumes, usd), mode="lines", hoverinfo="skip", showlegend=False,
            line={"color": light(f"{color}-tint"), "width": 12},
            name=f"break-even with {escape(alternative.name)}",
        )
    ]  # fmt: skip


def _break_evens(alternative: Alternative, usd: Floats, color: str, volumes: Floats) -> list[Trace]:
    """A dot at the first volume at which self-hosting pays, a diamond at the one from which it does for good."""
    first, permanent = alternative.found.answer.first, alternative.found.answer.permanent
    marks = [(first, "circle", "top left", "from")]
    if permanent != first:
        marks.append((permanent, "diamond", "bottom right", "for good from"))
    return [
        scatter(
            x=[volume], y=np.interp([volume], volumes, usd), text=[f"{volume:,}"],
            mode="markers+text", textposition=place, showlegend=False, name=f"{words} {volume:,}", hoverinfo="skip",
            textfont={"color": light(color)}, cliponaxis=False,
            marker={"color": light(color), "size": 10, "symbol": symbol,
                    "line": {"color": light("page"), "width": 1.5}},
        )
        for volume, symbol, place, words in marks
        if volume is not None and volumes[0] <= volume <= volumes[-1]
    ]  # fmt: skip


def _caption(comparison: CostComparison) -> str:
    caption = (
        "Cost per month by number of requests, on logarithmic axes. Self-hosting is a staircase with one step per "
        "replica. The area below the lines has the colour of whichever is cheapest on average. A dot marks the first "
        "volume at which self-hosting costs no more than that API; a diamond marks the volume from which it never "
        "costs more again, if different. The thick part of a line contains the first break-even in 95 of 100 states "
        "consistent with the measurements."
    )
    if any(None not in alternative.usd_ci95 for alternative in comparison.alternatives):
        caption += " The band along a line is the 95% interval of the measured price."
    if any(alternative.pairing.worth != 1 for alternative in comparison.alternatives):
        caption += " An API's line is for the number of good requests that self-hosting gives."
    if any(alternative.states.capacity_measured for alternative in comparison.alternatives):
        caption += (
            "The line for self-hosting is its expected cost, the band covers eight of ten states of its capacity, "
            f"and a dot requires {CONFIDENCE:.0%} of the states."
        )
    if never := [alternative.name for alternative in comparison.alternatives if not alternative.found.answer.spans]:
        caption += f" Without a dot: {', '.join(never)}, where self-hosting does not surely pay at any volume."
    return caption
