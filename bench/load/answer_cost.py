"""What an answer has cost, by its own account: where spending has a limit, each is decoded as it ends.

That takes time from the wire, which the kernel's stamps do not mind, and which no uncapped run spends.
"""

from itertools import accumulate
from typing import TYPE_CHECKING

from bench.load.spend import SpendLimiter
from bench.types import Decode, Reply
from bench.wire import http1

if TYPE_CHECKING:
    from bench.wire.connection import RequestOutcome


class Billing:
    """Charges calls as they end."""

    def __init__(self, limiter: SpendLimiter, decode: Decode) -> None:
        self.limiter = limiter
        self._decode = decode

    def settle(self, seq: int, outcome: "RequestOutcome") -> None:
        """Charge a call by what its answer says, as far as the limiter believes it."""
        reply = reply_of(outcome, self._decode)
        self.limiter.settle(seq, sent=outcome.sent_ns is not None, status=outcome.status, reply=reply)


def reply_of(outcome: "RequestOutcome", decode: Decode) -> Reply | None:
    """What an answer says, without its times; None where it is none, or cannot be decoded."""
    if outcome.status != 200:
        return None
    parts = outcome.received.parts
    try:
        response = http1.parse(b"".join(parts), list(accumulate(map(len, parts))), [0] * len(parts))
        reply = decode(200, response.headers, response.body)
    except Exception:  # whatever is wrong with an answer, the load goes on
        return None
    return reply._replace(error=outcome.error or response.error or reply.error)
