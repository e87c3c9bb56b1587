"""What a client does that is refused: a closed loop's slot waits before it asks again; a dead server is given up.

A slot that asks a full server again at once measures how fast it can refuse, and uses up the plan doing so. An open
loop sends when the plan says, whatever comes back; only that nobody is there any more ends it as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from bench.wire.http1 import MalformedResponse, parse_head

if TYPE_CHECKING:
    from bench.wire.connection import RequestOutcome

FIRST_S, LONGEST_S = 0.5, 8.0
"""The wait after a first refusal, doubling up to the second: those of the vendors' own clients."""

LONGEST_ASKED_S = 60.0
"""A server may ask for no longer a wait than this."""

GONE_AFTER_S = 5.0
LEAST_REFUSALS = 3
"""Nothing but so many refused connections over so long, and the server is gone."""

REFUSING = frozenset({429, 503, 529})
UNREACHED = frozenset({"connect_refused", "connect_timeout", "connect_failed", "reset", "cut_stream"})
_SPREAD = 0.25
_GOLDEN = 0.6180339887
# An error inside a 200. In model output the quotes would be escaped, so this is no answer's text.
_OVERLOADED = re.compile(rb'"(?:error_)?type"\s*:\s*"overloaded(?:_error)?"')
_SHORT_READS = 4


def is_unreached(outcome: "RequestOutcome") -> bool:
    """Say whether nobody was there: no connection, or one that was closed without a byte."""
    return outcome.error is not None and outcome.error[0] in UNREACHED and not outcome.received.parts


def is_refused(outcome: "RequestOutcome") -> bool:
    """Say whether the server would not take the request now: by its status, by an error event, or not at all."""
    if outcome.status != 200:
        return outcome.status in REFUSING or is_unreached(outcome)
    parts = outcome.received.parts
    if len(parts) > _SHORT_READS:
        return False
    answer = b"".join(parts)
    # Few answers have the word, and to look for it takes a tenth of the pattern's time.
    return b"overloaded" in answer and bool(_OVERLOADED.search(answer))


def asked_wait_s(outcome: "RequestOutcome") -> float | None:
    """Give the wait that an answer asks for by `retry-after` or `retry-after-ms`, None or 0 where it asks for none."""
    if outcome.status is None:
        return None
    try:
        head = parse_head(b"".join(outcome.received.parts))
    except MalformedResponse:
        return None
    return None if head is None else retry_after_s(head.headers, datetime.now(UTC))


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a head asks to wait, 0 to 60; its date counts by its own clock where it says what that shows."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
            return min(float(text) * unit_s, LONGEST_ASKED_S)
    until = _date(headers.get("retry-after", ""))
    if until is None:
        return None
    return min(max((until - (_date(headers.get("date", "")) or now)).total_seconds(), 0.0), LONGEST_ASKED_S)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


@dataclass(slots=True)
class SlotBackoff:
    """One slot's refusals in a row; waits are spread by up to a quarter, so that slots do not come back all at once."""

    slot: int
    _refusals: int = 0

    def wait_s(self, *, refused: bool, asked_s: float | None) -> float:
        """Give how long to wait after an answer before the next request."""
        if not refused:
            self._refusals = 0
            return 0.0
        self._refusals += 1
        if asked_s:
            return asked_s
        spread = 1 - _SPREAD * ((self.slot + self._refusals) * _GOLDEN % 1)
        # Doubled no further than it takes to reach the longest: a load may be refused for ever.
        return float(min(FIRST_S * 2 ** min(self._refusals - 1, 16), LONGEST_S) * spread)


@dataclass(slots=True)
class OutageDetector:
    """Whether anybody is there: how long nothing but refused connections has come."""

    said: str = ""
    refusals: int = 0
    _since_ns: int | None = None

    def note(self, now_ns: int, unreached: str | None) -> None:
        """Take in one outcome: what a refused connection's error said, None for any other."""
        if unreached is None:
            self._since_ns, self.refusals = None, 0
            return
        self._since_ns = now_ns if self._since_ns is None else self._since_ns
        self.refusals += 1
        self.said = unreached

    def is_gone(self, now_ns: int) -> bool:
        """Say whether that has been so for long enough, and often enough."""
        since_ns = now_ns if self._since_ns is None else self._since_ns
        return self.refusals >= LEAST_REFUSALS and now_ns - since_ns >= GONE_AFTER_S * 1e9
