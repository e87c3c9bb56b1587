"""`bench.py run --repeat N`: the same load again and again, so that the spread between runs is in the intervals."""

from pathlib import Path
from typing import Any, Literal

from bench.app import repeat as app
from bench.app.campaign import Runs
from bench.app.options import Window
from bench.app.request import RunRequest
from bench.cli.base import echo
from bench.cli.campaign import asked_of, say_ended
from bench.cli.output import deliver, show_fact
from bench.cli.view import TerminalView, progress_screen, show_result


def repeat(
    request: RunRequest, times: int, options: dict[str, Any], *, keep_server: bool, as_json: bool, quiet: bool
) -> int:
    """Make the run so many times, and show what the runs say together; returns the worst exit code."""
    screen = progress_screen(quiet=quiet)

    def on_run(name: str, in_short: str) -> None:
        show_fact(screen, f"run {name}", in_short)

    view = TerminalView(screen)
    made = app.repeat(request, times, Runs(view), asked_of(request, options), view.say, on_run, keep_server=keep_server)
    if made.document is not None:
        show_result(made.document, {"report": app.page_of(request.out)}, as_json=as_json, quiet=quiet)
    if made.outcomes[-1].problem is not None:
        say_ended(made.outcomes[-1], request.out)
    return made.code


def decode_all(folder: Path, window: Window | None) -> int:
    """Read the captures of each of the repeats again and conclude from all; returns the worst exit code."""
    document, code = app.decode(folder, window)
    show_result(document, {"report": app.page_of(folder)})
    return code


def report_all(folder: Path, form: Literal["html", "markdown", "json"], alone: Path | None = None) -> None:
    """Write the page of repeats again, or print them."""
    page = (alone or app.page_of(folder)) if form == "html" else None
    document = app.report(folder, page)
    if page is not None:
        echo(str(page))
    else:
        deliver(document, "markdown", as_json=form == "json")
