"""What is told of a run while it is made: to a terminal, a log, or nobody."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bench.app.request import RunRequest
from bench.load.controller import Progress
from bench.runs.live import LiveFigures

__all__ = ["SILENT", "LiveFigures", "OnProgress", "Progress", "RunView"]

OnProgress = Callable[[Progress], None]


class RunView(Protocol):
    """Is told of a run; what it does with that is its own affair."""

    def say(self, line: str) -> None:
        """Take a line for the user, which may have secrets in it: see RunRequest.shown."""
        ...

    def load(self, request: RunRequest, calls: int | None, figures: LiveFigures) -> AbstractContextManager[OnProgress]:
        """Give a context, entered when the load begins, that takes every Progress; `figures` look at the captures.

        `calls` are those of the plan, None where only time ends the load.
        """
        ...


class _Silent:
    def say(self, line: str) -> None:
        pass

    @contextmanager
    def load(self, request: RunRequest, calls: int | None, figures: LiveFigures) -> Iterator[OnProgress]:
        yield lambda _: None


SILENT: RunView = _Silent()
