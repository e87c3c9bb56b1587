"""The break-even page: what to do against each API, in words first, then the numbers, then the figures."""

from typing import Any, Final

from analysis.breakeven.comparison import Alternative, CostComparison, FirstBreakEven
from analysis.present import pages, to_html
from analysis.present.breakeven_figures import FIGURES
from analysis.present.document import Document, Drawn, Figures
from analysis.present.figures import drawn
from analysis.wording import DASH, dollars

KINDS: Final = {
    "point": "pays from one volume on",
    "intervals": "pays at some volumes only",
    "never": "never pays",
    "always": "pays at any volume",
    "undecided": "too near to call",
}
CHOICES: Final = {
    "self-host": "self-host", "api": "pay the API", "same": "both cost the same", "undecided": "too near to call",
}  # fmt: skip
HEAD: Final = (
    "API", "a request", "the API's bill", "ours", "saved", "in nine of ten at least", "pays from", "for good from",
    "95% interval", "P(cheaper)",
)  # fmt: skip
TABLE: Final = (
    "Bills of a month to be expected, what self-hosting saves, and what it saves or more in nine of ten states that "
    "the measurements leave possible, at the volume asked about. It surely pays first, and for good, from so many "
    "requests a month; the interval is that of the first volume at which it pays. P is that self-hosting is no dearer "
    "at your volume. A dash: nothing was measured that could make it uncertain"
)
METHOD: Final = (
    "Self-hosting is paid for what is reserved, not for what is used: enough replicas for the busiest hour, each at "
    "its measured capacity times the highest use allowed. An API is paid by the request. A month has 730 hours. Both "
    "break-evens are exact whole numbers of requests, found on the staircase itself.",
    "What is uncertain by measurement (the mean price of a request, the capacity of a replica) is laid out as states, "
    "all as likely; the probability is the share of the states in which self-hosting costs no more. From 95% on it is "
    "recommended, up to 5% the API is, and between them the measurements do not decide. Prices, peaks and the cost of "
    "operation are no noise but choices: each is moved alone to see what it does.",
)


def render(comparison: CostComparison) -> str:
    """The comparison as one self-contained HTML page."""
    return pages.render(
        "breakeven.html",
        title=_title(comparison),
        host=comparison.host,
        volume=comparison.requests_per_month,
        warnings=comparison.warnings,
        alternatives=[_answer(alternative) for alternative in comparison.alternatives],
        head=HEAD,
        about=TABLE,
        rows=[_row(alternative) for alternative in comparison.alternatives],
        sections=pages.sections(FIGURES, comparison),
        method=METHOD,
    )


def figure_pages(comparison: CostComparison) -> dict[str, str]:
    """Each figure that there is something to draw in as an HTML page of its own, by name."""
    title = _title(comparison)
    alone = {
        name: Figures((Drawn(name, FIGURES[name].title, figure),))
        for name, figure in drawn(FIGURES, comparison).items()
    }
    return {name: to_html.render(Document(title=title, blocks=(figures,))) for name, figures in alone.items()}


def _title(comparison: CostComparison) -> str:
    names = [alternative.name for alternative in comparison.alternatives]
    return f"Self-hosting or {_listed(names)}" if names else "Self-hosting"


def _answer(alternative: Alternative) -> dict[str, Any]:
    kind, decision = alternative.found.answer.kind, alternative.found.decision
    return {
        "name": alternative.name,
        "open": kind == "undecided" if decision is None else decision.choice == "undecided",
        "verdict": KINDS[kind] if decision is None else CHOICES[decision.choice],
        "advice": alternative.advice,
        "warnings": alternative.warnings,
    }


def _row(alternative: Alternative) -> tuple[str, ...]:
    decision, measured = alternative.found.decision, alternative.states.measured
    return (
        alternative.name,
        dollars(alternative.pairing.usd_per_request),
        *_month(alternative),
        _whole(alternative.found.answer.first),
        _whole(alternative.found.answer.permanent),
        _interval(alternative.found.first) if measured else DASH,
        f"{decision.p_cheaper:.1%}" if decision and measured else DASH,
    )


def _month(alternative: Alternative) -> tuple[str, str, str, str]:
    """(the API's bill, ours, the difference, that of nine in ten) at the volume asked about."""
    at = alternative.found.decision
    if at is None:
        return (DASH,) * 4
    amounts = (at.api_usd, at.self_usd, at.saving_usd)
    least = dollars(at.low_usd, 2) if alternative.states.measured and at.low_usd.is_finite() else DASH
    api, ours, saved = (dollars(usd, 2) if usd.is_finite() else DASH for usd in amounts)
    return api, ours, saved, least


def _interval(first: FirstBreakEven) -> str:
    """The interval of the first break-even; its upper end may lie among the states without one."""
    if first.low is None:
        return DASH
    return f"{first.low:,} " + ("or more" if first.high is None else f"to {first.high:,}")


def _whole(requests_per_month: int | None) -> str:
    return DASH if requests_per_month is None else f"{requests_per_month:,}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
