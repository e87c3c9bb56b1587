"""One recorded request, from any file; and how values in a file are read, by their kind."""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.types import Message, UserError

SECOND_NS: Final = 10**9
_MOST_TOKENS: Final = 10**9
# The years 1970 to 5138 in seconds: larger numbers count a smaller unit.
_LARGEST_S: Final = 10**11
_SHOWN: Final = 40
_SHOWN_NAMES: Final = 200
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?\s*(Z|[+-]\d\d:?\d\d)?")


class TrafficRow(NamedTuple):
    """One recorded request; None for what the file does not have.

    `t_ns` is when it came, on a clock that starts anywhere. Calls of one `session` follow each other: `pause_ns` lies
    between the end of the one before and this one. The prompt begins with `blocks` of `block_tokens` tokens each, the
    last perhaps part full; equal leading blocks are equal text. A call that `failed` was sent all the same.
    """

    line: int
    t_ns: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    session: str | None = None
    pause_ns: int | None = None
    blocks: tuple[int, ...] = ()
    block_tokens: int | None = None
    cached_tokens: int | None = None
    messages: tuple[Message, ...] = ()
    answer: str | None = None
    model: str | None = None
    failed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no request in it: a blank line, or a conversation without an answer."""
        return self.t_ns is None and self.prompt_tokens is None and not self.messages


class FilePosition(NamedTuple):
    """Where in a file a value is."""

    path: Path
    line: int

    def fault(self, column: str, expected: str, got: object) -> UserError:
        """The error that says what was expected there."""
        text = got if isinstance(got, str) else repr(got)
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        return UserError(f"{self.path}:{self.line}: {column}: expected {expected}, got {shown!r}")

    def tokens(self, column: str, value: Any) -> int:
        """Read a count of tokens, given as a whole number or as text."""
        number = value
        if isinstance(value, str) and re.fullmatch(r"\s*\d{1,12}(\.0*)?\s*", value):
            number = int(value.split(".")[0])
        elif isinstance(value, float) and value.is_integer():
            number = int(value)
        if type(number) is not int or not 0 <= number <= _MOST_TOKENS:
            raise self.fault(column, "a whole number of tokens, 0 or more", value)
        return number

    def tokens_or_none(self, column: str, value: Any) -> int | None:
        """Read an optional count of tokens."""
        return None if value is None or value == "" else self.tokens(column, value)

    def units_ns(self, column: str, value: Any, unit_ns: int) -> int:
        """Read a time in units of so many nanoseconds, exactly as written."""
        try:
            number = Decimal(str(value).strip()) if not isinstance(value, bool) else Decimal("nan")
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite() or not 0 <= number * unit_ns < _LARGEST_S * SECOND_NS:
            raise self.fault(column, "a time as a number, 0 or more", value)
        return math.floor(number * unit_ns)

    def instant_ns(self, column: str, value: Any) -> int:
        """Read ISO 8601 (UTC unless it has a zone) to the nanosecond, or a Unix time.

        A number of seconds is below 10^11 until the year 5138: a larger one counts milliseconds, and so on.
        """
        match = _INSTANT.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            for unit_ns in (SECOND_NS, 10**6, 10**3, 1):
                with suppress(UserError):
                    return self.units_ns(column, value, unit_ns)
            raise self.fault(column, "a time in ISO 8601 or Unix seconds", value)
        text, fraction, zone = match.groups()
        try:
            at = datetime.fromisoformat(text + (zone or ""))
        except ValueError:
            raise self.fault(column, "a time in ISO 8601 or Unix seconds", value) from None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return int(at.timestamp()) * SECOND_NS + int((fraction or "").ljust(9, "0"))

    def text(self, column: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.fault(column, "text", value)
        return value


def shown_names(names: Iterable[object]) -> str:
    """Arbitrary names from a file, as part of a line."""
    shown = ", ".join(" ".join(str(name).split()) for name in names) or "none"
    return shown if len(shown) <= _SHOWN_NAMES else f"{shown[:_SHOWN_NAMES]}…"


def ascending(path: Path, column: str, rows: Iterator[TrafficRow]) -> Iterator[TrafficRow]:
    """Yield the rows of a trace. Raises UserError if time goes backwards, which would be ambiguous."""
    before: TrafficRow | None = None
    for row in rows:
        if before is not None and row.t_ns is not None and before.t_ns is not None and row.t_ns < before.t_ns:
            back_s = (before.t_ns - row.t_ns) / SECOND_NS
            raise UserError(
                f"{path}:{row.line}: {column}: goes {back_s:g} s backwards from line {before.line}; sort the file by "
                f"{column}"
            )
        before = row
        yield row


def in_order(rows: Iterator[TrafficRow]) -> Iterator[TrafficRow]:
    """Yield the rows of a log in order of time: exports are written in the order in which calls end."""
    return iter(sorted(rows, key=lambda row: (row.t_ns or 0, row.line)))
