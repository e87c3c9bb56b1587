"""Which way to be served is the cheapest, and where the order changes, as parts of a Document."""

import math
from dataclasses import replace
from typing import Final

from analysis.breakeven.advice import rounded_up
from analysis.breakeven.ranking import Bill, Cheapest, Ranking
from analysis.breakeven.turning import Turn
from analysis.present.document import Cell, Column, Columns, Headline, Section, row, table
from analysis.stats.distributions import CONFIDENCE
from analysis.wording import DASH, dollars, dollars_apart, number

MONTH: Final[Columns[Bill]] = (
    (Column("option", "left"), lambda bill: bill.name),
    (Column("per month"), lambda bill: shown_usd(bill.usd)),
    (Column("in 8 of 10", drop=1), lambda bill: _range(bill)),
    (Column("P(cheapest)", drop=2), lambda bill: _p_cheapest(bill)),
)
SPANS: Final[Columns[Cheapest]] = (
    (Column("requests/month", "left"), lambda span: f"{span.first:,} to {span.last:,}"),
    (Column("cheapest", "left"), lambda span: span.name),
)
TURNS: Final[Columns[Turn]] = (
    (Column("what", "left"), lambda turn: f"{turn.way}, {turn.what}" if turn.way else turn.what),
    (Column("now", "left", drop=1), lambda turn: _turning(turn)[0]),
    (Column("changes the answer", "left"), lambda turn: _turning(turn)[1]),
    (Column("to", "left", drop=2), lambda turn: turn.to),
)
TURNED: Final = "Each input changed alone, by expected bills"
MOST_SHOWN: Final = 8


def headline(ranking: Ranking, requests_per_month: int | None) -> Headline:
    """Who is the cheapest at the volume asked about, how sure that is, and what comes next."""
    if requests_per_month is None or not ranking.month:
        return Headline("cheapest", f"{order(ranking)}.")
    first, named = ranking.month[0], ranking.named
    others = [bill for bill in ranking.month if bill is not named]
    rest = f"; {others[0].name} would cost {shown_usd(others[0].usd)}" if others else ""
    bill = f"{named.name} at {shown_usd(named.usd)} a month{rest}"
    at = f"At {requests_per_month:,} requests a month"
    if not others:
        return Headline("cheapest", f"{at} {first.name} costs {shown_usd(first.usd)}.")
    level = [bill.name for bill in ranking.month if bill.p_cheapest >= CONFIDENCE]
    if len(level) > 1:
        told = f"{' and '.join(level)} cost the same, {shown_usd(named.usd)} a month"
        beyond = [f"; {bill.name} would cost {shown_usd(bill.usd)}" for bill in others if bill.name not in level]
        return Headline("cheapest", f"{at} {told}{''.join(beyond[:1])}.")
    if ranking.choice is not None and named is not first:
        chance = f"{at} the cheapest is {named.name} with a probability of {named.p_cheapest:.1%}"
        return Headline(
            "cheapest",
            f"{chance}; on average it costs {shown_usd(named.usd)}, {first.name} {shown_usd(first.usd)}.",
        )
    if ranking.choice is not None:
        return Headline("cheapest", f"{at} the cheapest is {bill}.")
    likely = sorted(ranking.month, key=lambda bill: -bill.p_cheapest)
    open_ = " or ".join(bill.name for i, bill in enumerate(likely) if i < 2 or bill.p_cheapest > 1 - CONFIDENCE)
    text = f"{at} the measurements do not decide which is cheapest, {open_}; the lowest expected cost is {bill}."
    return Headline("undecided", text)


def order(ranking: Ranking) -> str:
    """Who is the cheapest at which volumes, in a sentence without its full stop."""
    first, *others = ranking.spans
    ranges = [f"{first.name} is the cheapest up to {first.last:,} requests a month"]
    ranges += [f"{span.name} from {span.first:,}" for span in others[:MOST_SHOWN]]
    more = len(others) - MOST_SHOWN
    return ", ".join(ranges) + (f", and {more} more changes" if more > 0 else "")


def sections(ranking: Ranking, requests_per_month: int | None) -> tuple[Section, ...]:
    """The bills at the volume asked about, the cheapest first, and where the order changes."""
    month = table(MONTH, ranking.month)
    title = "" if requests_per_month is None else f"A month of {requests_per_month:,} requests, all options"
    shown = ranking.spans[:MOST_SHOWN]
    more = len(ranking.spans) - len(shown)
    changes = table(SPANS, shown if len(ranking.ways) > 1 else (), "By expected bills")
    if changes.rows and more:
        rest = row("…", f"{more}{'' if ranking.is_whole else ' or more'} further changes")
        changes = replace(changes, rows=(*changes.rows, rest))
    return (
        *((Section(title, (month,)),) if ranking.month else ()),
        Section("What would change the answer", (table(TURNS, ranking.turns, TURNED),)),
        Section("Where the order changes", (changes,)),
    )


def _range(bill: Bill) -> str:
    return DASH if bill.low_usd == bill.high_usd else f"{shown_usd(bill.low_usd)} to {shown_usd(bill.high_usd)}"


def _p_cheapest(bill: Bill) -> Cell:
    sure = bill.p_cheapest in (0.0, 1.0) and bill.low_usd == bill.high_usd
    return Cell(DASH if sure else f"{bill.p_cheapest:.1%}", tone="good" if bill.p_cheapest >= CONFIDENCE else "")


def _turning(turn: Turn) -> tuple[str, str]:
    """Its value now, and from where on the answer is another.

    A capacity is rounded up: it is the least that makes a way the cheapest, or keeps it so.
    """
    is_usd, falls = turn.what.startswith("$"), turn.at < turn.now
    if turn.what == "requests/month":
        edge, now, at = "up to" if falls else "from", number(turn.now), number(turn.at)
    elif is_usd:
        edge, (now, at) = "below" if falls else "above", dollars_apart(turn.now, turn.at)
    else:
        edge, now, at = "below" if falls else "from", number(turn.now), rounded_up(turn.at)
    return now, f"{edge} {at}"


def shown_usd(usd: float | None) -> str:
    """An amount; a dash for one that is not known or without end."""
    return dollars(usd if usd is not None and math.isfinite(usd) else None, 2)
