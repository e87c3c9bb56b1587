"""A break-even as a Document: what to do against each API, the volumes, the month, and what moves the answer."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from analysis.breakeven import written
from analysis.breakeven.comparison import Alternative, CostComparison, CostedServers, FirstBreakEven
from analysis.breakeven.decision import Decision
from analysis.breakeven.scenarios import SensitivityBar
from analysis.breakeven.volumes import BreakEven
from analysis.money import prices
from analysis.present import of_ranking
from analysis.present.document import (
    PAGE,
    Cell,
    Column,
    Columns,
    Document,
    Fact,
    Facts,
    Note,
    Notes,
    Prose,
    Section,
    Table,
    facts,
    table,
)
from analysis.wording import DASH, dollars, dollars_apart, number, percent

OURS: Final = "Self-hosting"
KINDS: Final = {
    "point": "pays from one volume up",
    "intervals": "pays at some volumes only",
    "never": "never pays",
    "always": "pays at any volume",
    "undecided": "undecided, too close to call",
}
CHOICES: Final = {
    "self-host": "self-host",
    "api": "pay the API",
    "same": "both cost the same",
    "undecided": KINDS["undecided"],
}
BARS_SHOWN: Final = 3
METHOD: Final = (
    "Self-hosting is paid for as reserved, not as used: enough replicas for the busiest hour, each at its measured "
    "capacity times the maximum utilisation. An API is paid per request. A month has 730 hours. Both break-evens are "
    "exact whole numbers of requests, found on the staircase itself.",
    "Bills are expected costs per month. Saved in 9 of 10 is the least that self-hosting saves in nine of ten "
    "states consistent with the measurements. The interval is that of the first break-even; P(cheaper) is the "
    "probability that self-hosting costs no more at your volume. A dash means that nothing uncertain was measured.",
    "The measurements leave the mean price of a request and the capacity of a replica uncertain. That uncertainty is "
    "laid out as equally likely states; the probability is the share of states in which self-hosting costs no more. "
    "From 95% self-hosting is recommended, up to 5% the API, and in between the measurements do not decide. Prices, "
    "peaks and operating costs are choices, not noise: each is varied on its own to show its effect.",
)


def document(comparison: CostComparison, figures: Sequence[Section] = ()) -> Document:
    """The comparison of self-hosting with each API, or of servers of one's own alone."""
    apis, volume = comparison.alternatives, comparison.requests_per_month
    # Of one side and one API all is said below.
    ranking = comparison.ranking if len(apis) != 1 else None
    month = () if volume is None else (_months(apis, volume),)
    kind = "Break-even of self-hosting" if apis else "Bills of self-hosting" if comparison.sides else "Bills of APIs"
    own = OURS if comparison.sides else ""
    ways = [way.name for way in comparison.ranking.ways] if comparison.ranking and not own else []
    return Document(
        title=title(ways or list(dict.fromkeys(api.name for api in apis)), own),
        kind=kind if volume is None else f"{kind} at {volume:,} requests a month",
        headline=None if ranking is None else of_ranking.headline(ranking, volume),
        warnings=tuple(map(Note, comparison.warnings)),
        blocks=(
            facts(_compared(comparison)),
            *(() if ranking is None else of_ranking.sections(ranking, volume)),
            Section("What to do", tuple(map(_advice, apis))),
            Section("Break-even", (_answers(apis), *month)),
            *figures,
            Section("Method", (Prose(METHOD),), PAGE),
        ),
        data=written.plain(comparison),
    )


def title(apis: Sequence[str], own: str = OURS) -> str:
    """What is compared, in a line."""
    named = " or ".join(filter(None, (", ".join(apis[:-1]), *apis[-1:])))
    return " or ".join(filter(None, (own, named)))


def of_choice(what: str, answer: BreakEven, requests_per_month: int | None = None) -> Document:
    """The answer of a small calculator: from which volume on `what` costs no more, and whether it does at one."""
    rows = [Fact("answer", answer.kind, tone="strong"), Fact("", f"{what} {_where(answer)}")]
    rows += [Fact("because", reason) for reason in answer.reasons]
    if requests_per_month is not None:
        pays = "pays" if answer.holds(requests_per_month) else "does not pay"
        rows.append(Fact("volume", f"at {requests_per_month:,} requests/month it {pays}"))
    data = written.choice(answer, requests_per_month)
    return Document(title="", kind="Break-even", blocks=(Facts(tuple(rows)),), data=data)


def _where(answer: BreakEven) -> str:
    if answer.kind == "always":
        return "costs no more at any volume"
    return "never pays" if answer.first is None else f"pays from {answer.first:,} {answer.unit}"


def _compared(comparison: CostComparison) -> list[tuple[str, str]]:
    """What stands against the APIs, and whose prices theirs are."""
    volume, rows = comparison.requests_per_month, list[tuple[str, str]]()
    for side in comparison.sides:
        rows += [(side.servers.name or "servers", side.servers.description), ("capacity", _capacity(side))]
    if volume is not None:
        rows.append(("volume", f"{volume:,} requests/month"))
    return [*rows, ("API prices", price_source())] if has_api_prices(comparison) else rows


def has_api_prices(comparison: CostComparison) -> bool:
    """Whether an API is among what is compared."""
    return bool(comparison.alternatives) or not comparison.sides


def price_source() -> str:
    """Whose prices those of the APIs are, and of which day."""
    snapshot = prices.snapshot()
    return f"{snapshot.source} {snapshot.version}, prices of {snapshot.as_of or 'an unknown day'}"


def _capacity(side: CostedServers) -> str:
    host, (low, high) = side.host, side.servers.capacity_ci95
    if not host.capacity_rps:
        return "none: no rate meets the objectives"
    rate = number(float(host.capacity_rps)) + ("" if low is None else f" ({number(low)} to {number(high)})")
    peak = number(float(host.traffic.peak))
    used = f"used up to {percent(float(host.utilization))}, peak {peak} times the mean"
    each = math.floor(host.requests_at_peak_per_replica)
    return f"{rate} requests/s per replica, {used}: {each:,} requests/month each"


# --- against one API --------------------------------------------------------------------------------------------


def _advice(api: Alternative) -> Section:
    """What to do, what the price of a request is, and what moves the answer most."""
    low, high = api.usd_ci95
    rows = []
    if low is not None:
        usd = _usd(api.pairing.usd_per_request)
        rows.append(("price", f"{usd} a request, 95% interval {_usd(low)} to {_usd(high)}"))
    bars = [_bar(bar, of_month=api.found.decision is not None) for bar in api.tornado[:BARS_SHOWN]]
    rows += [("" if i else "sensitive", bar) for i, bar in enumerate(bars)]
    return Section(
        f"{(api.servers.name and api.servers.name + ' against ') or 'Against '}{api.name}: {_verdict(api)}",
        (
            Notes(tuple(map(Note, api.advice))),
            facts(rows),
            Notes(tuple(Note(warning, tone="warn") for warning in api.warnings), "note"),
        ),
        boxed=True,
        tone="warn" if _is_open(api) else "",
    )


def _verdict(api: Alternative) -> str:
    decision = api.found.decision
    return KINDS[api.found.answer.kind] if decision is None else CHOICES[decision.choice]


def _is_open(api: Alternative) -> bool:
    return _verdict(api) == KINDS["undecided"]


def _bar(bar: SensitivityBar, *, of_month: bool) -> str:
    """What an input does to the user's month or, where no volume is named, to the first break-even."""
    if of_month:
        low, high = (_usd(usd, 2) if usd.is_finite() else "nothing, or any loss" for usd in bar.savings_usd)
        return f"{bar.name}: saves {low} to {high} a month"
    low, high = ("never" if volume is None else f"{volume:,}" for volume in bar.firsts)
    return f"{bar.name}: first break-even {low} to {high}"


# --- tables -----------------------------------------------------------------------------------------------------


def _answers(apis: Sequence[Alternative]) -> Table:
    columns: Columns[Alternative] = (
        (Column("API", "left"), lambda api: api.label),
        (Column("per request"), lambda api: _usd(api.pairing.usd_per_request)),
        (Column("answer", "left"), lambda api: Cell(_verdict(api), tone="warn" if _is_open(api) else "")),
        (Column("pays from"), lambda api: _whole(api.found.answer.first)),
        (Column("for good from", drop=2), lambda api: _whole(api.found.answer.permanent)),
        (Column("95% interval", drop=1), lambda api: _interval(api.found.first) if api.states.measured else DASH),
        (Column("P(cheaper)", drop=3), _p_cheaper),
    )
    return table(columns, apis, "Requests/month from which self-hosting costs no more")


def _p_cheaper(api: Alternative) -> str:
    return f"{api.found.decision.p_cheaper:.1%}" if api.states.measured and api.found.decision is not None else DASH


def _months(apis: Sequence[Alternative], requests_per_month: int) -> Table:
    months = [(api, api.found.decision) for api in apis if api.found.decision is not None]
    columns: Columns[tuple[Alternative, Decision]] = (
        (Column("API", "left"), lambda each: each[0].label),
        (Column("the API's bill"), lambda each: _bills(each[1])[0]),
        (Column("ours"), lambda each: _bills(each[1])[1]),
        (Column("saved"), lambda each: _bills(each[1])[2]),
        (
            Column("saved in 9 of 10", drop=1),
            lambda each: _usd(each[1].low_usd if each[0].states.measured else None, 2),
        ),
        (Column("replicas", drop=3), lambda each: _replicas(each[1].replicas)),
        (Column("sent to the API", drop=2), lambda each: f"{each[1].api_share:.0%}" if each[1].api_share else "none"),
    )
    return table(columns, months, f"A month of {requests_per_month:,} requests")


def _bills(at: Decision) -> tuple[str, ...]:
    """The API's bill, ours and what is saved, none of them as if it were another, or nothing."""
    bills = (at.api_usd, at.self_usd, at.saving_usd)
    if not all(each.is_finite() for each in bills):
        return tuple(_usd(each, 2) for each in bills)
    return dollars_apart(*bills, Decimal(0), places=2)[:3]


def _replicas(ends: tuple[int, int] | None) -> str:
    if ends is None:
        return DASH
    fewest, most = ends
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _interval(first: FirstBreakEven) -> str:
    """The interval of the first break-even; an end may lie among the states without one."""
    low, high = ("never" if end is None else f"{end:,}" for end in first.ci95)
    never = f" ({first.never_share:.0%} never)" if None in first.ci95 else ""
    return f"{low} to {high}{never}"


def _whole(requests_per_month: int | None) -> str:
    return DASH if requests_per_month is None else f"{requests_per_month:,}"


def _usd(usd: Decimal | float | None, places: int | None = None) -> str:
    """An amount, a dash also for one without end."""
    return dollars(usd if usd is not None and math.isfinite(usd) else None, places)
