"""From which monthly volumes on self-hosting is no dearer than an API: a set of whole numbers, not one number.

An API's bill is a line through the origin, ours a staircase. With k replicas self-hosting wins on
[max((k−1)·N1, (F + k·c)/a), k·N1], so it may win and lose many times before it wins for good, or never win at all.

Strategy: costs never fall as volume grows. So where self-hosting loses at N it loses up to the volume whose API bill
pays for its cost at N: the search jumps there, upwards to the first volume it wins, and downwards, from a volume
beyond which it surely wins, to the last it loses. Both ends are exact for any traffic and any commitment.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from analysis.breakeven.overflow import overflow_pays_from
from analysis.breakeven.routing import Case, own_exact_usd
from analysis.breakeven.selfhost import bounds, last_at_same_cost
from analysis.money.numbers import decimal, exact
from analysis.wording import dollars

# Only where a full replica is within a thousandth of the API's price does the search need more steps than this.
MOST_STEPS: Final = 2_000

Kind = Literal["point", "intervals", "never", "always", "undecided"]


class Span(NamedTuple):
    """Whole volumes from `first` to `last`, both included; `last` None means without end."""

    first: int
    last: int | None


ALWAYS: Final = (Span(1, None),)
ALL_BUT_A_TIE: Final = (
    "a full replica costs exactly what the API does, or all but that: further spans are left out, the permanent one is "
    "a bound"
)
BOTH_FREE: Final = "both are free: neither saves anything"
NEVER_A_CAPACITY: Final = "the objectives are met at no rate (capacity 0), so no number of replicas serves any volume"


@dataclass(frozen=True, slots=True)
class Answer:
    """Where the choice that costs something up front, or by the month, is no dearer than the other.

    point: from `first` on for good · intervals: in `spans` only, for good from `permanent` where that is known ·
    never · always · undecided: the measurements do not tell. Volumes are counted in `unit`.

    In `spans` it is no dearer in 95% of the states that the measurements leave possible or more, in `open_spans` in
    fewer than that but more than 5%; where nothing was measured there is one state, and nothing is open. Of volumes
    beyond `known_to` only those in the last span, if it has no end, are known; None: all are.
    """

    kind: Kind
    spans: tuple[Span, ...] = ()
    reasons: tuple[str, ...] = ()
    unit: str = "requests/month"
    open_spans: tuple[Span, ...] = ()
    known_to: int | None = None

    @property
    def first(self) -> int | None:
        """The smallest volume at which it is no dearer."""
        return self.spans[0].first if self.spans else None

    @property
    def permanent(self) -> int | None:
        """The smallest volume from which it never is dearer again."""
        return self.spans[-1].first if self.spans and self.spans[-1].last is None else None

    def holds(self, volume: int) -> bool:
        """Whether it is no dearer at this volume."""
        return any(span.first <= volume and (span.last is None or volume <= span.last) for span in self.spans)


def answer_of(spans: tuple[Span, ...], reasons: tuple[str, ...] = (), unit: str = "requests/month") -> Answer:
    """The answer that these spans are, in ascending order."""
    return Answer(kind_of(spans), spans, reasons, unit)


def kind_of(spans: tuple[Span, ...]) -> Kind:
    """What spans in ascending order are, where nothing else is open."""
    if not spans:
        return "never"
    if spans == ALWAYS:
        return "always"
    return "point" if len(spans) == 1 and spans[0].last is None else "intervals"


def break_even(case: Case) -> Answer:
    """Exactly where self-hosting is no dearer than the API, whose price does not depend on the volume."""
    if not case.host.capacity_rps:
        return answer_of((), (NEVER_A_CAPACITY,))
    if not case.offered_share:
        return answer_of(ALWAYS, ("no request is offered to our replicas, so both ways are the same",))
    if not case.usd_saved_per_offered:
        return _while_free(case)
    if not case.overflow:
        return _staircase(case)
    first = overflow_pays_from(case.host, case.usd_saved_per_offered)
    return answer_of(() if first is None else (Span(first, None),), (_too_dear(case),) if first is None else ())


def _while_free(case: Case) -> Answer:
    """Where nothing is saved at the API: as long as our replicas cost nothing either."""
    limits = bounds(case.host)
    if not limits.usd_per_request and limits.high_usd <= 0:
        return answer_of(ALWAYS, (BOTH_FREE,))
    volume = 1
    for _ in range(MOST_STEPS):
        if own_exact_usd(case, volume) > 0:
            break
        volume = _next_step(case, volume)
    spans = (Span(1, volume - 1),) if volume > 1 else ()
    return answer_of(spans, ("a request that we serve saves nothing at the API",))


def _staircase(case: Case) -> Answer:
    line = _line(case)
    if (line.gain_usd < 0 and line.low_usd >= 0) or (line.gain_usd == 0 and line.low_usd > 0):
        return answer_of((), (_too_dear(case),))
    reasons: tuple[str, ...] = ()
    if line.gain_usd > 0:
        permanent = _permanent(case, math.ceil(line.high_usd / line.gain_usd))
        spans, known_to = _spans(case, math.ceil(line.low_usd / line.gain_usd), permanent, None)
    else:
        until = math.floor(line.low_usd / line.gain_usd) if line.gain_usd else None
        spans, known_to = _spans(case, 1, None, until)
        reasons = (_too_dear(case),)
    if known_to is None:
        return answer_of(spans, reasons)
    return Answer("intervals", spans, (*reasons, ALL_BUT_A_TIE), known_to=known_to)


class _Line(NamedTuple):
    """Self-hosting wins at N only if gain·N ≥ low, and surely if gain·N ≥ high."""

    gain_usd: Fraction
    low_usd: Fraction
    high_usd: Fraction


def _line(case: Case) -> _Line:
    r = exact(case.offered_share)
    slope, low_usd, high_usd = bounds(case.host)
    return _Line(r * (case.usd_saved_per_offered - slope), low_usd, high_usd)


def _too_dear(case: Case) -> str:
    full, saved = map(decimal, (bounds(case.host).usd_per_request, case.usd_saved_per_offered))
    costs = f"a request costs {dollars(full)} on our replicas even when they are full"
    return f"{costs}, and saves {dollars(saved)} at the API"


def _permanent(case: Case, sure: int) -> int:
    """The smallest volume from which self-hosting wins for good, given one beyond which it surely does."""
    volume = max(1, sure)
    for _ in range(MOST_STEPS):
        loses = _pays_from(case, volume) - 1
        if loses < 1 or not _wins(case, loses):
            return max(1, loses + 1)
        volume = loses
    return volume


def _spans(case: Case, start: int, permanent: int | None, until: int | None) -> tuple[tuple[Span, ...], int | None]:
    """Where self-hosting wins from `start` on, and up to where that is all; None where it is to the end.

    It wins for good from `permanent` on or, where it never does, not beyond `until`; None is unknown.
    """
    spans: list[Span] = []
    volume, begun = max(1, start), 0
    last = permanent - 1 if permanent is not None else until
    for _ in range(MOST_STEPS):
        if last is not None and volume > last:
            break
        pays_from = _pays_from(case, volume)
        if pays_from <= volume:
            begun = begun or volume
            volume = _next_step(case, volume)
            continue
        if begun:
            spans.append(Span(begun, volume - 1))
        begun, volume = 0, pays_from
    complete = last is not None and volume > last
    if begun and not (complete and permanent):
        spans.append(Span(begun, volume - 1))
    if permanent:
        spans.append(Span(begun if begun and complete else permanent, None))
    return tuple(spans), None if complete else volume - 1


def _next_step(case: Case, requests_per_month: int) -> int:
    """The smallest volume above this one at which some hour needs another replica."""
    share = exact(case.offered_share)
    return math.floor(last_at_same_cost(case.host, requests_per_month * share) / share) + 1


def _wins(case: Case, requests_per_month: int) -> bool:
    return _pays_from(case, requests_per_month) <= requests_per_month


def _pays_from(case: Case, requests_per_month: int) -> int:
    """The smallest volume whose savings at the API pay for our replicas at this one."""
    return math.ceil(own_exact_usd(case, requests_per_month) / (exact(case.offered_share) * case.usd_saved_per_offered))
