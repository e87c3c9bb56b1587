"""A break-even as a Document: what to do against each API, the volumes, the month, and what moves the answer.

It is made of what `--json` prints (breakeven.json), in which exact amounts are text.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from analysis.present.document import (
    PAGE,
    Block,
    Cell,
    Column,
    Document,
    Fact,
    Facts,
    Note,
    Notes,
    Prose,
    Row,
    Section,
    Table,
    facts,
    row,
)
from analysis.wording import DASH, dollars, number, percent

KINDS: Final = {
    "point": "pays from one volume on",
    "intervals": "pays at some volumes only",
    "never": "never pays",
    "always": "pays at any volume",
    "undecided": "undecided, too near to call",
}
CHOICES: Final = {
    "self-host": "self-host",
    "api": "pay the API",
    "same": "both cost the same",
    "undecided": KINDS["undecided"],
}
ANSWERS: Final = (
    Column("API", "left"),
    Column("a request"),
    Column("answer", "left"),
    Column("pays from"),
    Column("for good from", drop=2),
    Column("95% interval", drop=1),
    Column("P(cheaper)", drop=3),
)
MONTH: Final = (
    Column("API", "left"),
    Column("the API's bill"),
    Column("ours"),
    Column("saved"),
    Column("in 9 of 10 at least", drop=1),
    Column("replicas", drop=3),
    Column("left to the API", drop=2),
)
BARS_TOLD: Final = 3
METHOD: Final = (
    "Self-hosting is paid for what is reserved, not for what is used: enough replicas for the busiest hour, each at "
    "its measured capacity times the highest use allowed. An API is paid by the request. A month has 730 hours. Both "
    "break-evens are exact whole numbers of requests, found on the staircase itself.",
    "Bills are those of a month to be expected; saved in 9 of 10 at least is what self-hosting saves or more in nine "
    "of ten states that the measurements leave possible. The interval is that of the first volume at which it pays; P "
    "is that self-hosting is no dearer at your volume. A dash: nothing was measured that could make it uncertain.",
    "What is uncertain by measurement (the mean price of a request, the capacity of a replica) is laid out as states, "
    "all as likely; the probability is the share of the states in which self-hosting costs no more. From 95% on it is "
    "recommended, up to 5% the API is, and between them the measurements do not decide. Prices, peaks and the cost of "
    "operation are no noise but choices: each is moved alone to see what it does.",
)

Shown = Mapping[str, Any]


def document(shown: Shown, figures: Sequence[Section] = ()) -> Document:
    """The comparison of self-hosting with each API."""
    apis, volume = shown["rivals"], shown["requests_per_month"]
    months = tuple(_month_row(api) for api in apis if api["month"])
    month: tuple[Block, ...] = (Table(MONTH, months, f"A month of {volume:,} requests"),) if volume is not None else ()
    caption = "Self-hosting is no dearer from so many requests/month on"
    return Document(
        title=title([api["name"] for api in apis]),
        kind="Break-even of self-hosting" + ("" if volume is None else f" at {volume:,} requests a month"),
        warnings=tuple(map(Note, shown["warnings"])),
        blocks=(
            facts(_compared(shown)),
            Section("What to do", tuple(map(_advice, apis))),
            Section("Break-even", (Table(ANSWERS, tuple(map(_answer_row, apis)), caption), *month)),
            *figures,
            Section("How it was found", (Prose(METHOD),), PAGE),
        ),
        data=shown,
    )


def title(apis: Sequence[str]) -> str:
    """What is compared, in a line."""
    *others, last = apis or ("",)
    return f"Self-hosting or {', '.join(others) + ' or ' if others else ''}{last}" if last else "Self-hosting"


def of_choice(what: str, shown: Shown) -> Document:
    """The answer of a small calculator: from which volume on `what` costs no more."""
    answer, volume = shown["answer"], shown["requests_per_month"]
    rows = [Fact("answer", answer["kind"], tone="strong"), Fact("", f"{what} {_where(answer)}")]
    rows += [Fact("because", reason) for reason in answer["reasons"]]
    if volume is not None:
        pays = "pays" if shown["pays"] else "does not pay"
        rows.append(Fact("volume", f"at {volume:,} requests/month it {pays}"))
    return Document(title="", kind="Break-even", blocks=(Facts(tuple(rows)),), data=shown)


def _where(answer: Shown) -> str:
    if answer["kind"] == "always":
        return "costs no more at any volume"
    if answer["first"] is None:
        return "never pays"
    return f"pays from {answer['first']:,} {answer['unit']} on"


def _compared(shown: Shown) -> list[tuple[str, str]]:
    """What stands against the APIs, and whose prices theirs are."""
    servers, volume, snapshot = shown["servers"], shown["requests_per_month"], shown["prices"]
    day = snapshot["as_of"] or "an unknown day"
    rows = [("servers", servers["description"]), ("capacity", _capacity(servers))]
    if volume is not None:
        rows.append(("volume", f"{volume:,} requests/month"))
    return [*rows, ("API prices", f"{snapshot['source']} {snapshot['version']}, prices of {day}")]


def _capacity(servers: Shown) -> str:
    low, high = servers["capacity_rps_ci95"]
    rate = number(servers["capacity_rps"])
    if low is not None:
        rate += f" ({number(low)} to {number(high)})"
    if not servers["capacity_rps"]:
        return "none: no rate meets the objectives"
    used = (
        f"{percent(servers['utilization'])} of it used at most, peak {number(servers['peak_to_mean'])} times the mean"
    )
    return f"{rate} requests/s a replica, {used}: {servers['requests_per_replica']:,} requests/month for each"


# --- against one API --------------------------------------------------------------------------------------------


def _advice(api: Shown) -> Section:
    """What to do, what the price of a request is, and what moves the answer most."""
    low, high = api["usd_per_request_ci95"]
    rows = []
    if low is not None:
        price = f"{_usd(api['usd_per_request'])} a request, 95% interval {_usd(low)} to {_usd(high)}"
        rows.append(("price", price))
    bars = [_bar(bar, of_month=api["month"] is not None) for bar in api["tornado"][:BARS_TOLD]]
    rows += [("" if i else "sensitive", bar) for i, bar in enumerate(bars)]
    return Section(
        f"Against {api['name']}: {_verdict(api)}",
        (
            Notes(tuple(map(Note, api["advice"]))),
            facts(rows),
            Notes(tuple(Note(warning, tone="warn") for warning in api["warnings"]), "note"),
        ),
        boxed=True,
        tone="warn" if _is_open(api) else "",
    )


def _verdict(api: Shown) -> str:
    return KINDS[api["answer"]["kind"]] if api["choice"] is None else CHOICES[api["choice"]]


def _is_open(api: Shown) -> bool:
    return _verdict(api) == KINDS["undecided"]


def _bar(bar: Shown, *, of_month: bool) -> str:
    """What an input does to the user's month or, where no volume is named, to the first break-even."""
    if of_month:
        low, high = ("nothing, or any loss" if usd is None else _usd(usd, 2) for usd in bar["saving_usd"])
        return f"{bar['input']}: saves {low} to {high} a month"
    low, high = ("never" if volume is None else f"{volume:,}" for volume in bar["first_break_even"])
    return f"{bar['input']}: first break-even {low} to {high}"


# --- rows -------------------------------------------------------------------------------------------------------


def _answer_row(api: Shown) -> Row:
    answer, measured = api["answer"], api["measured"]
    chance = api["p_cheaper"] if measured else None
    return row(
        api["name"],
        _usd(api["usd_per_request"]),
        Cell(_verdict(api), tone="warn" if _is_open(api) else ""),
        _whole(answer["first"]),
        _whole(answer["permanent"]),
        _interval(api["first_break_even"]) if measured else DASH,
        DASH if chance is None else f"{chance:.1%}",
    )


def _month_row(api: Shown) -> Row:
    month = api["month"]
    least = month["saving_usd_80"][0] if api["measured"] else None
    amounts = (month["api_usd"], month["self_usd"], month["saving_usd"], least)
    share = f"{month['api_share']:.0%}" if month["api_share"] else "none"
    return row(api["name"], *(_usd(usd, 2) for usd in amounts), _replicas(month["replicas_ci95"]), share)


def _replicas(ends: Sequence[int | None]) -> str:
    fewest, most = ends
    if fewest is None or most is None:
        return DASH
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _interval(first: Shown) -> str:
    """The interval of the first break-even; an end may lie among the states without one."""
    low, high = first["ci95"]
    never = "" if low is not None and high is not None else f" ({first['never_share']:.0%} never)"
    return f"{'never' if low is None else f'{low:,}'} to {'never' if high is None else f'{high:,}'}{never}"


def _whole(requests_per_month: int | None) -> str:
    return DASH if requests_per_month is None else f"{requests_per_month:,}"


def _usd(amount: str | float | None, places: int | None = None) -> str:
    return dollars(None if amount is None else Decimal(str(amount)), places)
