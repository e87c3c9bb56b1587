"""What a terminal shows of a run: lines and progress while it is made, its results afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from analysis.present.of_run import document
from analysis.run.summary import RunSummary
from bench.app.request import RunRequest
from bench.app.view import LiveFigures, OnProgress
from bench.cli.base import shown
from bench.cli.output import Screen, show, show_fact
from bench.cli.progress import ProgressView
from bench.runs import folder as files
from bench.runs.sections import dump


class TerminalView:
    """Shows a run on a screen."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self.screen.print(shown(line), highlight=False, soft_wrap=not self.screen.is_terminal, markup=False)

    @contextmanager
    def load(self, request: RunRequest, figures: LiveFigures) -> Iterator[OnProgress]:
        """Show where the load stands."""
        with ProgressView(self.screen, request.workload.load, figures) as view:
            yield view.update


def show_results(screen: Screen, folder: Path, summary: RunSummary) -> None:
    """Print what was made of a run's folder."""
    screen.print()
    show(screen, document(files.read_json(folder, files.RUN), dump(summary)))
    show_fact(screen, "report", str(folder / files.REPORT))
