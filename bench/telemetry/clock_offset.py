"""The offset of another machine's clock from ours, from the Date headers of its HTTP answers.

A Date names the second in which an answer was written, which was between our request and its arrival, so each answer
confines the offset to an interval of a little over a second. The intersection of several is narrower: typically a tenth
of a second after ten answers. Its middle is taken as the offset.
"""

from email.utils import parsedate_to_datetime
from typing import NamedTuple


class OffsetBounds(NamedTuple):
    """The bounds between which the other clock is ahead of ours, in s."""

    low_s: float
    high_s: float

    @property
    def offset_s(self) -> float:
        """The middle."""
        return (self.low_s + self.high_s) / 2

    @property
    def within_s(self) -> float:
        """The largest possible error of the middle."""
        return (self.high_s - self.low_s) / 2


def date_s(header: str | None) -> int | None:
    """The second that a Date header names, since 1970; None if unreadable."""
    try:
        return None if header is None else int(parsedate_to_datetime(header).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None


def narrowed(before: OffsetBounds | None, asked_s: float, answered_s: float, date_s: int | None) -> OffsetBounds | None:
    """The bounds after one more answer, requested and received at these times of our clock (since 1970).

    An answer that contradicts the earlier ones shows that a clock was set: only its own bounds count from then on.
    """
    if date_s is None or answered_s < asked_s:
        return before
    # It was written between our request and its arrival, during [date, date + 1): the widest bounds that both allow.
    now = OffsetBounds(date_s - answered_s, date_s + 1 - asked_s)
    if before is None:
        return now
    both = OffsetBounds(max(before.low_s, now.low_s), min(before.high_s, now.high_s))
    return both if both.low_s <= both.high_s else now
