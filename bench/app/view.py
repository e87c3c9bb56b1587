"""What is reported of a run while it is made: to a terminal, a log, or nobody."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from bench.app.request import RunRequest
from bench.load.controller import Progress
from bench.runs.live import LiveFigures

__all__ = ["SILENT", "LiveFigures", "OnProgress", "Progress", "RunView"]

OnProgress = Callable[[Progress], None]


class RunView(Protocol):
    """Receives reports of a run's progress, and may do with them as it likes."""

    def say(self, line: str) -> None:
        """Take a line for the user, which may contain secrets: see RunRequest.shown."""
        ...

    def load(self, request: RunRequest, calls: int | None, figures: LiveFigures) -> AbstractContextManager[OnProgress]:
        """A context, entered when the load begins, that takes every Progress; `figures` reads the captures.

        `calls` is the plan's number of calls, None if only time ends the load.
        """
        ...


class _Silent:
    def say(self, line: str) -> None:
        pass

    @contextmanager
    def load(self, request: RunRequest, calls: int | None, figures: LiveFigures) -> Iterator[OnProgress]:
        yield lambda _: None


SILENT: RunView = _Silent()
