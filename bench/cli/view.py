"""What a terminal shows of a run: lines and progress while it is made, its results afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from analysis.present.document import Document
from bench.app.request import RunRequest
from bench.app.view import LiveFigures, OnProgress
from bench.cli.base import shown
from bench.cli.output import Screen, deliver, say, show_fact
from bench.cli.progress import ProgressView, ShownLoad


class TerminalView:
    """Shows a run on a screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def say(self, line: str) -> None:
        """Print a line as it is."""
        say(self.screen, shown(line))

    @contextmanager
    def load(self, request: RunRequest, calls: int | None, figures: LiveFigures) -> Iterator[OnProgress]:
        """Show where the load stands."""
        if self.screen.quiet:
            yield lambda _: None
            return
        work = request.workload
        shown = ShownLoad(work.load, calls, work.scenario.has_sessions)
        with ProgressView(self.screen, shown, figures) as view:
            yield view.update


def progress_screen(*, quiet: bool) -> Screen:
    """Standard error, for everything that is not a result."""
    return Screen(stderr=True, quiet=quiet)


def show_result(
    document: Document, places: Mapping[str, Path], *, as_json: bool = False, quiet: bool = False
) -> Screen:
    """Print a result and its path; returns the screen used, which beside JSON is standard error."""
    screen = progress_screen(quiet=quiet) if as_json else Screen()
    if not as_json:
        screen.print()
    deliver(document, "text", as_json=as_json, screen=screen, places=places)
    if as_json:
        for label, place in places.items():
            show_fact(screen, label, str(place))
    return screen
