"""Where calls come from: a scenario, a file, a trace; and how a session's turns become its prompts.

A session is a row of calls: each turn after the first is due when the answer before it has ended and the pause is over.
Its prompt is all that was said before, the answer included, and what the turn adds. A request of its own is a session
of one turn.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.plan.prompts import Vocabulary
from bench.types import Call, Message


class Source(Protocol):
    """What is asked, as pure functions of (session, turn); a frozen dataclass that can be pickled.

    It has sessions without end, of which the load takes the first; none has more turns than `turns_max`. `due_ns` are
    their own arrival times, None where the load says when. `least` is the fewest tokens of a prompt and of an answer.
    """

    @property
    def seed(self) -> int: ...
    @property
    def salt(self) -> int: ...
    @property
    def vocabulary(self) -> Vocabulary: ...
    @property
    def turns_max(self) -> int: ...
    @property
    def due_ns(self) -> NDArray[np.int64] | None: ...
    @property
    def least(self) -> tuple[int, int]: ...

    def salted(self, salt: int) -> "Source":
        """The same with other first words in its prompts."""
        ...

    def turns(self, session: int) -> int:
        """How many turns the session has."""
        ...

    def lengths(self, session: int, turn: int) -> tuple[int, int]:
        """The tokens of the whole prompt and of the longest answer, without making any text."""
        ...

    def cacheable(self, session: int, turn: int) -> int:
        """How many of the prompt's first tokens a prefix cache without bounds has seen in calls before."""
        ...

    def call(self, session: int, turn: int) -> Call:
        """The call; the plan adds its number, and when it is due."""
        ...

    def facts(self) -> Mapping[str, object]:
        """What decides its calls but for the salt, in JSON: it goes into the plan's hash."""
        ...


class Conversation:
    """What has been said in one session so far, as the load offers it."""

    def __init__(self) -> None:
        self._system: tuple[Message, ...] = ()
        self._turns: dict[int, tuple[Message, ...]] = {}

    def prompt(self, call: Call, answer: str | None = None) -> tuple[Message, ...]:
        """The whole prompt of the session's next call, after the answer to the one before.

        A later turn that begins with an answer has planned it: that takes the place of the one that came back. Of a
        turn before the oldest that the call remembers nothing is kept but the system's messages.
        """
        added = call.messages
        if call.turn == 0:
            heads = next((i for i, message in enumerate(added) if message.role != "system"), len(added))
            self._system, added = added[:heads], added[heads:]
        else:
            said = Message("assistant", answer or "")
            if added[:1] and added[0].role == "assistant":
                said, added = added[0], added[1:]
            self._turns[call.turn - 1] = (*self._turns.get(call.turn - 1, ()), said)
        self._turns[call.turn] = added
        self._turns = {turn: messages for turn, messages in self._turns.items() if turn >= call.since}
        return (*self._system, *(message for messages in self._turns.values() for message in messages))
