"""`bench.py run --repeat N`: the same load again and again, so that the spread between runs is in the intervals."""

from pathlib import Path
from typing import Any, Literal

from analysis.present.document import Document
from bench.app import repeat as app
from bench.app.campaign import Runs
from bench.app.options import Window
from bench.app.request import RunRequest
from bench.cli.base import echo
from bench.cli.campaign import asked_of, say_ended
from bench.cli.output import Screen, deliver, show, show_fact
from bench.cli.view import TerminalView


def repeat(request: RunRequest, times: int, screen: Screen, options: dict[str, Any], *, keep_server: bool) -> int:
    """Make the run so many times, and show what the runs say together; returns the worst exit code."""

    def on_run(name: str, in_short: str) -> None:
        show_fact(screen, f"run {name}", in_short)

    view = TerminalView(screen)
    made = app.repeat(request, times, Runs(view), asked_of(request, options), view.say, on_run, keep_server=keep_server)
    if made.document is not None:
        _show(screen, made.document, request.out)
    if made.outcomes[-1].problem is not None:
        say_ended(screen, made.outcomes[-1], request.out)
    return made.code


def _show(screen: Screen, document: Document, folder: Path) -> None:
    screen.print()
    show(screen, document)
    show_fact(screen, "report", str(app.page_of(folder)))


def decode_all(folder: Path, screen: Screen, window: Window | None) -> int:
    """Read the captures of each of the repeats again and conclude from all; returns the worst exit code."""
    document, code = app.decode(folder, window)
    _show(screen, document, folder)
    return code


def report_all(folder: Path, form: Literal["html", "markdown", "json"]) -> None:
    """Write the page of repeats again, or print them."""
    document = app.report(folder, with_page=form == "html")
    if form == "html":
        echo(str(app.page_of(folder)))
    else:
        deliver(document, "markdown", as_json=form == "json")
