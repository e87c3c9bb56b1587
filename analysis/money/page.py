"""The break-even page: what to do against each API, in words first, then the numbers, then the figures."""

from typing import Any, Final

import plotly.graph_objects as go

from analysis import pages
from analysis.money.comparison import Comparison, Rival
from analysis.money.figures import FIGURES
from analysis.money.numbers import dollars
from analysis.money.routing import month
from analysis.money.uncertainty import Uncertainty
from analysis.wording import DASH, percent

VERDICTS: Final = {
    "point": "pays from one volume on",
    "intervals": "pays at some volumes only",
    "never": "never pays",
    "always": "pays at any volume",
    "undecided": "too near to call",
}
HEAD: Final = (
    "API", "a request", "the API's bill", "ours", "saved", "pays from", "for good from", "95% interval", "P(cheaper)",
)  # fmt: skip
TABLE: Final = (
    "Bills of a month, and what self-hosting saves, at the volume asked about. It pays first, and for good, from so "
    "many requests a month; the interval is that of the first. P is that self-hosting is cheaper at your volume"
)
METHOD: Final = (
    "Self-hosting is paid for what is reserved, not for what is used: enough replicas for the busiest hour, each at "
    "its measured capacity times the highest use allowed. An API is paid by the request. A month has 730 hours. Both "
    "break-evens are exact whole numbers of requests, found on the staircase itself.",
    "What is uncertain by measurement (the mean price of a request, the capacity of a replica) is drawn again and "
    "again; the probability is the share of the draws in which self-hosting costs no more. Prices, peaks and the cost "
    "of operation are no noise but choices: each is moved alone to see what it does.",
)


def render(comparison: Comparison) -> str:
    """The comparison as one self-contained HTML page."""
    names = [rival.name for rival in comparison.rivals]
    return pages.render(
        "money/page.html",
        title=f"Self-hosting or {_listed(names)}" if names else "Self-hosting",
        host=comparison.host,
        volume=comparison.requests_per_month,
        warnings=comparison.warnings,
        rivals=[_answer(rival) for rival in comparison.rivals],
        head=HEAD,
        about=TABLE,
        rows=[_row(comparison, rival) for rival in comparison.rivals],
        sections=pages.sections(FIGURES, comparison),
        method=METHOD,
    )


def figures(comparison: Comparison) -> dict[str, go.Figure]:
    """The page's figures by name, those that there is something to draw in."""
    return pages.figures_of(FIGURES, comparison)


def _answer(rival: Rival) -> dict[str, Any]:
    return {
        "name": rival.name,
        "kind": rival.answer.kind,
        "verdict": VERDICTS[rival.answer.kind],
        "advice": rival.advice,
        "warnings": rival.warnings,
    }


def _row(comparison: Comparison, rival: Rival) -> tuple[str, ...]:
    return (
        rival.name,
        dollars(rival.case.usd_per_request),
        *_month(comparison, rival),
        _whole(rival.answer.first),
        _whole(rival.answer.permanent),
        _interval(rival.uncertainty),
        percent(rival.p_cheaper),
    )


def _month(comparison: Comparison, rival: Rival) -> tuple[str, str, str]:
    """(the API's bill, ours, the difference) at the volume asked about."""
    if comparison.requests_per_month is None or not rival.case.host.capacity_rps:
        return DASH, DASH, DASH
    at = month(rival.case, comparison.requests_per_month)
    return dollars(at.api_usd, 2), dollars(at.mixed_usd, 2), dollars(at.saving_usd, 2)


def _interval(uncertainty: Uncertainty) -> str:
    """The interval of the first break-even; its upper end may lie among the draws without one."""
    if uncertainty.low is None:
        return DASH
    return f"{uncertainty.low:,} " + ("or more" if uncertainty.high is None else f"to {uncertainty.high:,}")


def _whole(requests_per_month: int | None) -> str:
    return DASH if requests_per_month is None else f"{requests_per_month:,}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
