"""Sessions under way: when a turn has ended, what was answered goes into the next one's prompt.

That takes time from the wire, which the kernel's stamps do not mind; what else is to be sent in that time is late by
it. docs/performance.md says how much it is.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from bench.load.answer_cost import reply_of
from bench.load.dispatch import Ready
from bench.plan.calls import Plan, call, following
from bench.plan.source import Conversation
from bench.types import Call, Decode
from bench.wire.connection import RequestOutcome

_TIMESPEC = struct.Struct("qq")


class TurnOutcome(NamedTuple):
    """How a turn went: the call that follows it, None where none does; `ended` says that others were to follow."""

    ready: Ready | None
    ended: bool


class Sessions:
    """This process's sessions; a turn that fails ends its own."""

    def __init__(self, plan: Plan, encode: Callable[[Call], bytes], decode: Decode) -> None:
        self._plan = plan
        self._encode = encode
        self._decode = decode
        # What was said before the call of this number, and in it.
        self._conversations: dict[int, Conversation] = {}

    def after(self, seq: int, outcome: RequestOutcome | None, offset_ns: int) -> TurnOutcome:
        """What follows a call and its answer (None: it was not sent); the wall clock is ahead by `offset_ns`."""
        conversation = self._conversations.pop(seq, None)
        upcoming = following(self._plan, seq)
        if upcoming is None:
            return TurnOutcome(None, ended=False)
        reply = None if outcome is None else reply_of(outcome, self._decode)
        if outcome is None or reply is None or reply.error is not None:
            return TurnOutcome(None, ended=True)
        if conversation is None:
            conversation = Conversation()
            conversation.prompt(call(self._plan, seq))
        messages = conversation.prompt(upcoming, reply.text)
        self._conversations[upcoming.seq] = conversation
        due_ns = _arrived_ns(outcome, offset_ns) + upcoming.pause_ns
        return TurnOutcome(Ready(upcoming.seq, due_ns, self._encode(upcoming._replace(messages=messages))), ended=False)


def _arrived_ns(outcome: RequestOutcome, offset_ns: int) -> int:
    """When an answer's last byte came, as its record will have it: by the kernel's stamp where there is one."""
    kernel = outcome.received.kernel
    second: int
    nanosecond: int
    second, nanosecond = _TIMESPEC.unpack(kernel[-_TIMESPEC.size :]) if kernel else (0, 0)
    if not second:
        return outcome.end_ns
    return min(second * 1_000_000_000 + nanosecond - offset_ns, outcome.end_ns)
