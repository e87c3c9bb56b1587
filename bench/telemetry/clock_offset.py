"""How far another machine's clock is from ours, by what its HTTP answers say of their date.

A Date names the second in which an answer was written, and that was between our question and its arrival: each answer
leaves a little over a second for the offset. What all answers leave is narrower, by chance a tenth of a second after
ten of them; the offset is taken from its middle.
"""

from email.utils import parsedate_to_datetime
from typing import NamedTuple


class OffsetBounds(NamedTuple):
    """Between what and what the other clock is ahead of ours, in s."""

    low_s: float
    high_s: float

    @property
    def offset_s(self) -> float:
        """The middle."""
        return (self.low_s + self.high_s) / 2

    @property
    def within_s(self) -> float:
        """How far from the middle it may be."""
        return (self.high_s - self.low_s) / 2


def date_s(header: str | None) -> int | None:
    """The second that a Date header names, since 1970; None where there is none to be read."""
    try:
        return None if header is None else int(parsedate_to_datetime(header).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def narrowed(before: OffsetBounds | None, asked_s: float, answered_s: float, date_s: int | None) -> OffsetBounds | None:
    """The bounds after one more answer, asked and answered at these times of our clock (since 1970).

    One that contradicts those before it tells of a clock that was set: what it leaves counts from then on.
    """
    if date_s is None or answered_s < asked_s:
        return before
    # It was written after we asked and before we had it, and lies in [date, date + 1): the widest that both allow.
    now = OffsetBounds(date_s - answered_s, date_s + 1 - asked_s)
    if before is None:
        return now
    both = OffsetBounds(max(before.low_s, now.low_s), min(before.high_s, now.high_s))
    return both if both.low_s <= both.high_s else now
