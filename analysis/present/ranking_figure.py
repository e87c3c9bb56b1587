"""What a month costs by volume, a line for each way to be served, and who is the cheapest where."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from analysis.breakeven.comparison import CostComparison
from analysis.breakeven.ranking import Ranking
from analysis.breakeven.ways import expected_usd
from analysis.present.breakeven_look import framed, mark_volume
from analysis.present.charts import axis, escape, light, line_of, x_axis
from analysis.present.figure import Figure
from analysis.stats.distributions import Floats
from analysis.wording import dollars

POINTS: Final = 600
TIMES: Final = 2.5
"""How many times the volume asked about the axis reaches."""
FAR: Final = 5.0
"""What costs so many times the cheapest at the volume asked about may leave the picture."""


def cost(comparison: CostComparison) -> Figure | None:
    """The bills of all ways around the user's volume, on linear axes; where another is the cheapest there is a mark."""
    ranking = comparison.ranking
    if ranking is None:
        return None
    volumes = drawn_volumes(ranking, comparison.requests_per_month)
    most_usd, beyond = _shown_up_to(ranking, volumes)
    figure = framed(430, _caption(ranking, comparison.requests_per_month, beyond))
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
            x=at, y=marked_usd, mode="markers", name="another becomes cheapest", showlegend=False, cliponaxis=False,
            text=[escape(span.name) for span in changes], hovertemplate="%{text} from %{x:,.0f} on<extra></extra>",
            marker={"color": light("ink"), "size": 9, "symbol": "circle-open", "line": {"width": 2}},
        )  # fmt: skip
    mark_volume(figure, comparison.requests_per_month, is_log=False)
    return figure.update_layout(
        xaxis=x_axis("requests per month") | {"tickformat": "~s", "hoverformat": ",.0f", "range": [0, volumes[-1]]},
        yaxis=axis("cost per month")
        | {"tickprefix": "$", "tickformat": ",.4~r"}
        | ({"rangemode": "tozero"} if most_usd is None else {"range": [0, most_usd]}),
    )


def _shown_up_to(ranking: Ranking, volumes: Floats) -> tuple[float | None, list[str]]:
    """($ up to which the axis reaches, the ways that leave the picture): where one costs many times the cheapest at the
    volume asked about, the others would all lie on the axis.
    """
    near = [bill for place, bill in enumerate(ranking.month) if place < 2 or bill.usd <= FAR * ranking.month[0].usd]
    beyond = [bill.name for bill in ranking.month[len(near) :]]
    if not beyond:
        return None, []
    by_name = {way.name: way for way in ranking.ways}
    most = [float(expected_usd(by_name[bill.name], volumes[-1:])[0]) for bill in near]
    return (1.1 * max(most), beyond) if all(map(math.isfinite, most)) and max(most) else (None, [])


def drawn_volumes(ranking: Ranking, requests_per_month: int | None) -> Floats:
    """Around the volume asked about; where none was, as far as the order changes."""
    known = float(ranking.spans[-1].last)
    last = TIMES * (requests_per_month or max((float(span.first) for span in ranking.spans[1:]), default=known / TIMES))
    edges = [float(edge) for span in ranking.spans for edge in (span.first, span.last) if edge <= last]
    return np.unique(np.concatenate([np.linspace(1, max(2.0, min(last, known)), POINTS).round(), np.array(edges)]))


def _caption(ranking: Ranking, requests_per_month: int | None, beyond: Sequence[str]) -> str:
    found = "Expected cost per month by number of requests; a circle marks where another option becomes cheapest."
    if requests_per_month is None or not ranking.month:
        return found
    first = ranking.month[0]
    if len(ranking.ways) == 1:
        return f"Expected cost per month by number of requests; at {requests_per_month:,}, {dollars(first.usd, 2)}."
    said = f"{found} At {requests_per_month:,} requests {first.name} costs least: {dollars(first.usd, 2)}."
    far = f" Far more expensive there, and off the chart: {', '.join(beyond)}." if beyond else ""
    return said + far
