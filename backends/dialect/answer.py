"""One answer as its events are taken in, whatever the dialect: its text, its arrivals, and what became of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from backends.dialect import outside
from backends.dialect.errors import Error, verdict
from backends.dialect.outside import UnsoundValue, known_word, shown
from backends.dialect.sse import json_values
from bench import endings
from bench.deltas import Deltas
from bench.types import Body, DeltaKind, Reply, Usage

Settles = Literal["nothing", "prompt", "all"]
"""How much of a bill the usage is, as in `Reply`."""


@dataclass(slots=True)
class Answer:
    """What has been read so far; `begun` once anything but white space has come, not `streamed` where it came whole.

    `arrivals` are deltas of `bench.types.Reply`, their tokens unknown.
    """

    pieces: list[str] = field(default_factory=list)
    arrivals: Deltas = field(default_factory=Deltas)
    begun: bool = False
    finish: str | None = None
    done: bool = False
    error: Error | None = None
    unread: int = 0
    unread_example: str | None = None
    streamed: bool = True

    def arrive(self, t_ns: int, kind: DeltaKind, said: str) -> None:
        """Take in model output. Runs for every token of a run."""
        if type(said) is not str:
            raise TypeError("model output that is no text")
        if kind == "text":
            self.pieces.append(said)
        if not self.begun:
            if not said or said.isspace():
                kind = "blank"
            else:
                self.begun = True
        self.arrivals.add(t_ns, kind)

    def end(self, reason: Any) -> None:
        """Take in why the answer ended; null, in any spelling, says nothing, and no second word mends a failure."""
        said = outside.word(reason.strip() if isinstance(reason, str) else reason, "the finish reason")
        if said and endings.is_ending(said) and (self.finish is None or endings.is_sound(self.finish)):
            self.finish = said

    def is_untouched(self) -> bool:
        """Whether nothing that was read said anything of an answer."""
        return not (self.arrivals or self.finish or self.error or self.unread)

    def text(self) -> str:
        """All the visible text."""
        return outside.encodable("".join(self.pieces))

    def fault(self, body: Body, what: str, ending: str) -> Error | None:
        """What is wrong with the answer: its events are each `what`, and it ends by what `ending` names."""
        return verdict(
            self.error,
            body.data,
            complete=self.done or self.finish is not None,
            arrivals=len(self.arrivals),
            what=what,
            ending=ending,
            finish=self.finish,
            unread=self.unread_example,
        )

    def reply(
        self,
        headers: Mapping[str, str],
        usage: Usage | None,
        error: Error | None,
        usage_settles: Settles,
        deltas: Deltas | None = None,
    ) -> Reply:
        """What was taken in, with what the dialect makes of its usage, and its `deltas` where it knows their tokens."""
        return Reply(
            text=self.text(),
            deltas=self.arrivals if deltas is None else deltas,
            usage=usage,
            finish=self.finish,
            error=error,
            unread=self.unread,
            unread_example=self.unread_example,
            encoding=content_coding(headers),
            usage_settles=usage_settles,
            streamed=self.streamed,
        )


def content_coding(headers: Mapping[str, str]) -> str | None:
    """The coding that the body came in, though none was asked for; None for none."""
    coding = known_word(headers.get("content-encoding", "").lower())
    return None if coding == "identity" else coding


SomeAnswer = TypeVar("SomeAnswer", bound=Answer)


def read(answer: SomeAnswer, body: Body, take: Callable[[SomeAnswer, Any, int], None]) -> SomeAnswer:
    """Take in every event of a body until the answer is done or failed.

    An event that `take` cannot read, since it is not of the dialect's shape, is counted and passed over; a value in
    its right place that no sound server sends makes the answer malformed.
    """
    for event, t_ns in zip(*json_values(body), strict=True):
        try:
            take(answer, event, t_ns)
        except UnsoundValue as problem:
            answer.error = "malformed", str(problem)
        except (AttributeError, KeyError, TypeError, ValueError):
            answer.unread += 1
            answer.unread_example = answer.unread_example or shown(event)
        if answer.done or answer.error:
            break
    return answer
