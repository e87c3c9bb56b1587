"""What became of a request, beyond what the wire saw of it."""

import gevent

from bench.wire.capture import Received
from bench.wire.clock import now_ns
from bench.wire.connection import CLOSED_BY_SERVER, RequestOutcome

ROUND_TRIP_NS = 500_000_000
"""A connection that the server had closed before it saw a request shows it within so long."""
_REFUSED_PAUSE_S = 0.05


def not_sent(code: str, message: str) -> RequestOutcome:
    """That of a request that was never written."""
    return RequestOutcome(None, now_ns(), Received(), None, (code, message))


def is_unseen(outcome: RequestOutcome) -> bool:
    """Say whether the server had closed the connection before it saw the request."""
    return (
        outcome.error is not None
        and outcome.error[0] in CLOSED_BY_SERVER
        and not outcome.received.parts
        and outcome.sent_ns is not None
        and outcome.end_ns - outcome.sent_ns < ROUND_TRIP_NS
    )


def pause_if_unreached(outcome: RequestOutcome) -> None:
    """Wait a moment where there was no connection: a dead server refuses in microseconds."""
    if outcome.sent_ns is None:
        gevent.sleep(_REFUSED_PAUSE_S)
