"""What a terminal shows of a run: lines and progress while it is made, its results afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.app.request import RunRequest
from bench.app.results import describe, report_of
from bench.app.view import LiveFigures, OnProgress
from bench.cli.base import shown
from bench.cli.output import Screen, show, show_fact
from bench.cli.progress import ProgressView, ShownLoad


class TerminalView:
    """Shows a run on a screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self.screen.print(shown(line), highlight=False, soft_wrap=not self.screen.is_terminal, markup=False)

    @contextmanager
    def load(self, request: RunRequest, calls: int | None, figures: LiveFigures) -> Iterator[OnProgress]:
        """Show where the load stands."""
        work = request.workload
        shown = ShownLoad(work.load, calls, work.scenario.has_sessions)
        with ProgressView(self.screen, shown, figures) as view:
            yield view.update


def show_results(screen: Screen, folder: Path) -> None:
    """Print what was made of a run's folder."""
    screen.print()
    show(screen, describe(folder))
    show_fact(screen, "report", str(report_of(folder)))
