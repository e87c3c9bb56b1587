"""One answer as its events are taken in, whatever the dialect: its text, its arrivals, and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backends.dialect import outside
from backends.dialect.errors import Error, verdict
from backends.dialect.outside import Unfit, shown
from backends.dialect.sse import json_values
from bench.types import Body, DeltaKind


@dataclass(slots=True)
class Answer:
    """What has been read so far; `begun` once anything but white space has come, not `streamed` where it came whole."""

    pieces: list[str] = field(default_factory=list)
    arrivals: list[tuple[int, DeltaKind]] = field(default_factory=list)
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
        self.arrivals.append((t_ns, kind))

    def end(self, reason: Any) -> None:
        """Take in why the answer ended; null and an empty word say nothing."""
        self.finish = outside.word(reason, "the finish reason") or self.finish

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


SomeAnswer = TypeVar("SomeAnswer", bound=Answer)


def read(answer: SomeAnswer, body: Body, take: Callable[[SomeAnswer, Any, int], None]) -> SomeAnswer:
    """Take in every event of a body until the answer is done or failed.

    An event that `take` cannot read, since it is not of the dialect's shape, is counted and passed over; a value in
    its right place that no sound server sends makes the answer malformed.
    """
    for event, t_ns in zip(*json_values(body), strict=True):
        try:
            take(answer, event, t_ns)
        except Unfit as problem:
            answer.error = "malformed", str(problem)
        except (AttributeError, KeyError, TypeError, ValueError):
            answer.unread += 1
            answer.unread_example = answer.unread_example or shown(event)
        if answer.done or answer.error:
            break
    return answer
