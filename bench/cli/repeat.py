"""`bench.py run --repeat N`: the same load repeatedly, so that intervals include the spread between runs."""

from typing import Any

from bench.app import repeat as app
from bench.app.campaign import Runs
from bench.app.request import RunRequest
from bench.cli.campaign import asked_of, say_ended
from bench.cli.output import show_fact
from bench.cli.view import TerminalView, progress_screen, show_result


def repeat(
    request: RunRequest, times: int, options: dict[str, Any], *, keep_server: bool, as_json: bool, quiet: bool
) -> int:
    """Make `times` runs and show what they say together; returns the worst exit code."""
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
