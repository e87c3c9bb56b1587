"""`bench.py run --repeat N`: the same load again and again, so that the spread between runs is in the intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.app import repeat as app
from bench.app.campaign import Outcome, Runs
from bench.app.request import RunRequest
from bench.app.results import exit_code, recorded_stop, summarise
from bench.cli.base import echo
from bench.cli.campaign import asked_of, say_ended
from bench.cli.view import TerminalView
from bench.exit_codes import worst_of
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.present.document import Document
    from bench.app.campaign import Outcome
    from bench.app.request import RunRequest
    from bench.cli.output import Screen
    from bench.runs.manifest import WindowChoice


def repeat(request: "RunRequest", times: int, screen: "Screen", options: dict[str, Any], *, keep_server: bool) -> int:
    """Make the run so many times, and show what the runs say together; returns the worst exit code."""

    def on_run(outcome: "Outcome") -> None:
        _show_run(screen, request.out, outcome)

    view = TerminalView(screen)
    made = app.repeat(request, times, Runs(view), asked_of(request, options), view.say, on_run, keep_server=keep_server)
    if made.document is not None:
        _show(screen, made.document, request.out)
    if made.outcomes[-1].problem is not None:
        say_ended(screen, made.outcomes[-1], request.out)
    return made.code


def _show_run(screen: "Screen", folder: Path, run: "Outcome") -> None:
    from analysis.present.of_repeats import in_short
    from analysis.run import summary as summaries
    from bench.cli.output import show_fact
    from bench.runs import folder as files

    if (folder / run.name / files.SUMMARY).exists():
        show_fact(screen, f"run {run.name}", in_short(summaries.read(folder / run.name)))


def _show(screen: "Screen", document: "Document", folder: Path) -> None:
    from bench.cli.output import show, show_fact
    from bench.runs import folder as files

    screen.print()
    show(screen, document)
    show_fact(screen, "report", str(folder / files.REPEATS_PAGE))


def decode_all(folder: Path, screen: "Screen", window: "WindowChoice | None") -> int:
    """Read the captures of each of the repeats again and conclude from all; returns the worst exit code."""
    from bench.app.repeat import conclude
    from bench.runs import folder as files

    folders = [path.parent for path in sorted(folder.glob(f"*/{files.RUN}"))]
    codes = [exit_code(recorded_stop(one), summarise(one, window)) for one in folders]
    if not codes:
        raise UserError(f"{folder}: there is no run in it to conclude from")
    _show(screen, conclude(folder), folder)
    return worst_of(codes)


def report_all(folder: Path, form: Literal["html", "markdown", "json"]) -> None:
    """Write the page of repeats again, or print them."""
    from analysis.present.of_repeats import document
    from bench.app.repeat import runs_of, write_page
    from bench.cli.output import deliver
    from bench.runs import folder as files

    found = files.read_json(folder, files.REPEATS)
    if "runs" not in found:
        raise UserError(f"{folder}: nothing was concluded from its runs yet; do so with: bench.py decode {folder}")
    if form == "html":
        write_page(folder, found)
        echo(str(folder / files.REPEATS_PAGE))
    else:
        deliver(document(found, runs_of(folder)), "markdown", as_json=form == "json")
