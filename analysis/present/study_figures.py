"""The figures of a study: how contenders trade latency, speed and money, and what a month of each costs."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from analysis.breakeven.comparison import CostComparison
from analysis.present import ranking_figure
from analysis.present.breakeven_look import LEFT_PX, framed
from analysis.present.charts import Plot, axis, escape, light, line_of, x_axis
from analysis.present.figure import Figure
from analysis.study import CellPlace, ContenderResult, StudyResult, pareto, per_gpu

NAMES: Final = {
    "tokens_per_s_per_gpu": "output tokens/s a GPU",
    "output_tokens_per_s": "output tokens/s in all",
    "tokens_per_s_per_user": "tokens/s a user reads",
    "ttft_ms_p50": "time to first token, median, ms",
    "usd_per_million_output_tokens": "$ per million output tokens",
}


class Drawing(NamedTuple):
    """A study, and what its ways cost, if that is known."""

    study: StudyResult
    bills: CostComparison | None


def latency(drawing: Drawing) -> Figure | None:
    """How long the first token takes against how much is served."""
    caption = (
        "Each line is a contender, each dot a load, in the order of the study: more throughput to the right, an "
        "earlier first token towards the bottom."
    )
    return _traded(drawing, "output_tokens_per_s", "ttft_ms_p50", caption)


def user_against_all(drawing: Drawing) -> Figure | None:
    """What one user gets against what all get."""
    caption = "Each dot is a cell: more tokens/s for one user to the right, more for all towards the top."
    return _traded(drawing, "tokens_per_s_per_user", per_gpu(drawing.study), caption, "higher")


def user_against_usd(drawing: Drawing) -> Figure | None:
    """What one user gets against what a token costs."""
    caption = "Each dot is a cell: more tokens/s for one user to the right, cheaper tokens towards the bottom."
    return _traded(drawing, "tokens_per_s_per_user", "usd_per_million_output_tokens", caption, "lower")


def bills(drawing: Drawing) -> Figure | None:
    return None if drawing.bills is None else ranking_figure.cost(drawing.bills)


HEIGHT_PX: Final = 300
NARROW_PX, KEY_PX, CHARACTER_PX, ROW_PX = 250, 50, 7, 20
FRONT: Final = " Diamonds on the dotted line form the Pareto front: no other cell beats them on both."


def _traded(
    drawing: Drawing, x: str, y: str, caption: str, front: Literal["lower", "higher"] | None = None
) -> Figure | None:
    """A line for each contender, and through those cells that no other beats in both figures the front."""
    on_front = frozenset[CellPlace]() if front is None else pareto(drawing.study, y, front)
    rows = _legend_rows([contender.name for contender in drawing.study.contenders])
    figure, drawn = framed(HEIGHT_PX + ROW_PX * rows, caption + (FRONT if front else "")), False
    if front is not None:
        _draw_front(figure, drawing.study, on_front, x, y)
    for i, contender in enumerate(drawing.study.contenders):
        known = _points(contender, x, y)
        if not known:
            continue
        drawn, style = True, line_of(i)
        marked = [CellPlace(contender.name, load) in on_front for _, _, load in known]
        figure.add_scatter(
            x=np.array([a for a, _, _ in known]), y=np.array([b for _, b, _ in known]), mode="lines+markers",
            name=escape(contender.name), text=[escape(load) for _, _, load in known], cliponaxis=False,
            line={**style, "width": 1.5},
            marker={
                "size": [12 if front else 8 for front in marked], "color": style["color"],
                "symbol": ["diamond" if front else "circle" for front in marked],
                "line": {"color": light("page"), "width": 1},
            },
            hovertemplate=f"%{{text}}<br>{NAMES[x]}: %{{x:,.4~r}}<br>{NAMES[y]}: %{{y:,.4~r}}",
        )  # fmt: skip
    if not drawn:
        return None
    return figure.update_layout(
        xaxis=x_axis(NAMES[x]) | {"rangemode": "tozero"},
        yaxis=axis(NAMES[y]) | {"rangemode": "tozero", "nticks": 6},
        hovermode="closest", margin={"l": LEFT_PX, "t": 16},
        # Beside each other, and on a small screen, a figure is narrow: many names take their room below it.
        legend={"y": -60 / HEIGHT_PX, "yanchor": "top", "maxheight": 1.0},
    )  # fmt: skip


def _legend_rows(names: Sequence[str]) -> int:
    """How many lines the names take in the narrowest figure."""
    each = max(1, NARROW_PX // (KEY_PX + CHARACTER_PX * max(map(len, names), default=0)))
    return math.ceil(len(names) / each)


def _points(contender: ContenderResult, x: str, y: str) -> list[tuple[float, float, str]]:
    """Both figures and the load of each usable cell that knows both."""
    return [
        (a, b, cell.load)
        for cell in contender.cells
        if cell.is_usable and (a := cell.figure(x)) is not None and (b := cell.figure(y)) is not None
    ]


def _draw_front(figure: Figure, study: StudyResult, front: frozenset[CellPlace], x: str, y: str) -> None:
    """A dotted line through the cells of the front."""
    found = sorted(
        (a, b)
        for contender in study.contenders
        for a, b, load in _points(contender, x, y)
        if CellPlace(contender.name, load) in front
    )
    figure.add_scatter(
        x=np.array([a for a, _ in found]), y=np.array([b for _, b in found]), mode="lines", showlegend=False,
        hoverinfo="skip", line={"color": light("muted"), "width": 5, "dash": "dot"}, opacity=0.35, cliponaxis=False,
    )  # fmt: skip


TRADES: Final[Mapping[str, Plot[Drawing]]] = {
    "latency": Plot("Trade-offs", "Latency against throughput", latency, wide=False),
    "front": Plot("Trade-offs", "Speed per user against throughput", user_against_all, wide=False),
    "usd": Plot("Trade-offs", "Speed per user against cost", user_against_usd, wide=False),
}
FIGURES: Final[Mapping[str, Plot[Drawing]]] = {
    **TRADES,
    "bills": Plot("What a month costs", "All options around your volume", bills),
}
