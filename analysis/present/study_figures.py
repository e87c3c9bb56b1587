"""The figures of a study: how contenders trade latency, speed and money, and what a month of each costs."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import plotly.graph_objects as go

from analysis.breakeven.comparison import CostComparison
from analysis.present import ranking_figure
from analysis.present.breakeven_look import LEFT_PX, framed
from analysis.present.charts import Plot, axis, escape, light, line_of, x_axis
from analysis.study import CellPlace, StudyResult, per_gpu

NAMES: Final = {
    "tokens_per_s_per_gpu": "output tokens/s a GPU",
    "output_tokens_per_s": "output tokens/s in all",
    "tokens_per_s_per_user": "tokens/s a user reads",
    "ttft_ms_p50": "time to first token, median, ms",
    "usd_per_million_output_tokens": "$ per million output tokens",
}


class Drawing(NamedTuple):
    """A study, its cells on the front, and what its ways cost, if that is known."""

    study: StudyResult
    front: frozenset[CellPlace]
    bills: CostComparison | None


def latency(drawing: Drawing) -> go.Figure | None:
    """How long the first token takes against how much is served."""
    caption = (
        "Each line is a contender, each dot a load, in the order of the study: further right more is served, further "
        "down the first token comes sooner."
    )
    return _traded(drawing, "output_tokens_per_s", "ttft_ms_p50", caption)


def user_against_all(drawing: Drawing) -> go.Figure | None:
    """What one user gets against what all get; filled dots are on the front."""
    caption = (
        "Each dot is a cell: further right one user reads faster, further up all get more. No other cell beats a "
        "diamond in both."
    )
    return _traded(drawing, "tokens_per_s_per_user", per_gpu(drawing.study), caption, marks=drawing.front)


def user_against_usd(drawing: Drawing) -> go.Figure | None:
    """What one user gets against what a token costs."""
    caption = "Each dot is a cell: further right one user reads faster, further down a token costs less."
    return _traded(drawing, "tokens_per_s_per_user", "usd_per_million_output_tokens", caption, marks=drawing.front)


def bills(drawing: Drawing) -> go.Figure | None:
    return None if drawing.bills is None else ranking_figure.cost(drawing.bills)


def _traded(
    drawing: Drawing, x: str, y: str, caption: str, marks: frozenset[CellPlace] = frozenset()
) -> go.Figure | None:
    figure, drawn = framed(360, caption), False
    for i, contender in enumerate(drawing.study.contenders):
        cells = [cell for cell in contender.cells if cell.is_usable]
        known = [(a, b, cell.load) for cell in cells if (a := cell.figure(x)) is not None
                 and (b := cell.figure(y)) is not None]  # fmt: skip
        if not known:
            continue
        drawn, style = True, line_of(i)
        on_front = [CellPlace(contender.name, load) in marks for _, _, load in known]
        figure.add_scatter(
            x=np.array([a for a, _, _ in known]), y=np.array([b for _, b, _ in known]), mode="lines+markers",
            name=escape(contender.name), text=[escape(load) for _, _, load in known], cliponaxis=False,
            line={**style, "width": 1.5},
            marker={
                "size": [12 if front else 8 for front in on_front], "color": style["color"],
                "symbol": ["diamond" if front else "circle" for front in on_front],
                "line": {"color": light("page"), "width": 1},
            },
            hovertemplate=f"%{{text}}<br>{NAMES[x]}: %{{x:,.4~r}}<br>{NAMES[y]}: %{{y:,.4~r}}",
        )  # fmt: skip
    if not drawn:
        return None
    return figure.update_layout(
        xaxis=x_axis(NAMES[x]) | {"rangemode": "tozero"},
        yaxis=axis(NAMES[y]) | {"rangemode": "tozero", "nticks": 6},
        hovermode="closest", margin={"l": LEFT_PX},
    )  # fmt: skip


FIGURES: Final[Mapping[str, Plot[Drawing]]] = {
    "latency": Plot("How they trade", "Latency against throughput", latency, wide=False),
    "front": Plot("How they trade", "One user against all", user_against_all, wide=False),
    "usd": Plot("How they trade", "One user against money", user_against_usd, wide=False),
    "bills": Plot("What a month costs", "Every way around your volume", bills),
}
