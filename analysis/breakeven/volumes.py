"""From which monthly volumes on a choice is no dearer than another: a set of whole numbers, not one number.

An API's bill is a line through the origin, ours a staircase. With k replicas self-hosting wins on
[max((k−1)·N1, (F + k·c)/a), k·N1], so it may win and lose many times before it wins for good, or never win at all.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Kind = Literal["point", "intervals", "never", "always", "undecided"]


class Span(NamedTuple):
    """Whole volumes from `first` to `last`, both included; `last` None means without end."""

    first: int
    last: int | None


ALWAYS: Final = (Span(1, None),)


@dataclass(frozen=True, slots=True)
class BreakEven:
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


def from_spans(spans: tuple[Span, ...], reasons: tuple[str, ...] = (), unit: str = "requests/month") -> BreakEven:
    """The break-even that these spans are, in ascending order."""
    return BreakEven(kind_of(spans), spans, reasons, unit)


def kind_of(spans: tuple[Span, ...]) -> Kind:
    """What spans in ascending order are, where nothing else is open."""
    if not spans:
        return "never"
    if spans == ALWAYS:
        return "always"
    return "point" if len(spans) == 1 and spans[0].last is None else "intervals"
