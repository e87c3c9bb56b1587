"""What a month costs by volume, a line for each way to be served, and who is the cheapest where."""

from typing import Final

import numpy as np
import plotly.graph_objects as go

from analysis.breakeven.comparison import CostComparison
from analysis.breakeven.ranking import Ranking, expected_usd
from analysis.present.breakeven_look import framed, mark_volume
from analysis.present.charts import axis, escape, light, line_of, x_axis
from analysis.stats.distributions import Floats
from analysis.wording import dollars

POINTS: Final = 600
TIMES: Final = 2.5
"""How many times the volume asked about the axis reaches."""


def cost(comparison: CostComparison) -> go.Figure | None:
    """The bills of all ways around the user's volume, on linear axes; where another is the cheapest there is a mark."""
    ranking = comparison.ranking
    if ranking is None:
        return None
    volumes = drawn_volumes(ranking, comparison.requests_per_month)
    figure = framed(430, _caption(ranking, comparison.requests_per_month))
    for i, way in enumerate(ranking.ways):
        usd = expected_usd(way, volumes)
        figure.add_scatter(
            x=volumes, y=np.where(np.isfinite(usd), usd, np.nan), name=escape(way.name), mode="lines",
            line={**line_of(i), "width": 2}, hovertemplate="$%{y:,.2f}",
        )  # fmt: skip
    changes = [span for span in ranking.spans[1:] if span.first <= volumes[-1]]
    by_name = {way.name: way for way in ranking.ways}
    if changes:
        at = np.array([float(span.first) for span in changes])
        marked_usd = [float(expected_usd(by_name[span.name], at[i : i + 1])[0]) for i, span in enumerate(changes)]
        figure.add_scatter(
            x=at, y=marked_usd, mode="markers", name="another is the cheapest", showlegend=False, cliponaxis=False,
            text=[escape(span.name) for span in changes], hovertemplate="%{text} from %{x:,.0f} on<extra></extra>",
            marker={"color": light("ink"), "size": 9, "symbol": "circle-open", "line": {"width": 2}},
        )  # fmt: skip
    mark_volume(figure, comparison.requests_per_month, is_log=False)
    return figure.update_layout(
        xaxis=x_axis("requests per month") | {"tickformat": "~s", "hoverformat": ",.0f", "range": [0, volumes[-1]]},
        yaxis=axis("cost per month") | {"tickprefix": "$", "tickformat": ",.4~r", "rangemode": "tozero"},
    )


def drawn_volumes(ranking: Ranking, requests_per_month: int | None) -> Floats:
    """Around the volume asked about; where none was, as far as the order changes."""
    known = float(ranking.spans[-1].last)
    last = TIMES * (requests_per_month or max((float(span.first) for span in ranking.spans[1:]), default=known / TIMES))
    edges = [float(edge) for span in ranking.spans for edge in (span.first, span.last) if edge <= last]
    return np.unique(np.concatenate([np.linspace(1, max(2.0, min(last, known)), POINTS).round(), np.array(edges)]))


def _caption(ranking: Ranking, requests_per_month: int | None) -> str:
    found = "What a month is expected to cost by its requests; where a circle is, another way becomes the cheapest."
    if requests_per_month is None or not ranking.month:
        return found
    first = ranking.month[0]
    if len(ranking.ways) == 1:
        return f"What a month is expected to cost by its requests; at {requests_per_month:,}, {dollars(first.usd, 2)}."
    return f"{found} At {requests_per_month:,} requests {first.name} costs least, {dollars(first.usd, 2)}."
