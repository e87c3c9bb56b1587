"""`bench.py run --repeat N`: the same load again and again, so that the spread between runs is in the intervals."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.app.compare import read
from bench.app.results import captured_is_kept, exit_code, recorded_stop, summarise
from bench.app.run import observe
from bench.cli.base import echo
from bench.cli.view import TerminalView
from bench.exit_codes import worst_of
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.compare.comparison import Run
    from analysis.present.document import Document
    from bench.app.request import RunRequest
    from bench.cli.output import Screen
    from bench.runs.manifest import WindowChoice
    from bench.server.launch import Server


def repeat(request: "RunRequest", asked: int, screen: "Screen", *, keep_server: bool) -> int:
    """Make the run as often as asked, each in its own folder, and conclude from all; returns the worst exit code.

    What ends it early (Ctrl-C, a limit on spending, a server that cannot be started) keeps the runs that are there,
    and concludes from them.
    """
    from bench.app.run import launched
    from bench.runs import folder as files

    folder, codes = request.out, [0]
    files.make(folder)
    with _concluding(folder, screen), ExitStack() as stack:
        files.write_json(folder / files.REPEATS, {"schema": files.SCHEMA, "asked": asked, "keep_server": keep_server})
        server = None
        if keep_server:
            server = stack.enter_context(launched(request, TerminalView(screen).say, folder / files.SERVER_LOG))
        for number in range(1, asked + 1):
            screen.print(f"run {number} of {asked}", highlight=False)
            stopped, code = _one(request.one_of(folder, f"{number:02}"), screen, server)
            codes.append(code)
            if stopped is not None:
                break
    return worst_of(codes)


@contextmanager
def _concluding(folder: Path, screen: "Screen") -> Iterator[None]:
    """Conclude from the runs that the block has made, also where it fails; where there is none the folder goes."""
    from bench.runs import folder as files

    try:
        yield
    except BaseException as problem:
        if _runs(folder):
            conclude(folder, screen)
        elif not any(folder.glob(f"*/{files.RUN}")):
            files.discard(folder, but_named_in=str(problem))
        raise
    conclude(folder, screen)


def _one(request: "RunRequest", screen: "Screen", server: "Server | None") -> tuple[str | None, int]:
    """One of the runs: why it stopped early, if it did, and its exit code."""
    from analysis.present.of_repeats import in_short
    from bench.cli.output import show_fact

    stopped = observe(request, TerminalView(screen), server)
    with captured_is_kept(request.out):
        summary = summarise(request.out)
    show_fact(screen, f"run {request.out.name}", in_short(summary))
    return stopped, exit_code(stopped, summary)


# --- what is made of them ---------------------------------------------------------------------------------------


def decode_all(folder: Path, screen: "Screen", window: "WindowChoice | None") -> int:
    """Read the captures of each of the repeats again and conclude from all; returns the worst exit code."""
    from bench.runs import folder as files

    folders = [path.parent for path in sorted(folder.glob(f"*/{files.RUN}"))]
    codes = [exit_code(recorded_stop(one), summarise(one, window)) for one in folders]
    if not codes:
        raise UserError(f"{folder}: there is no run in it to conclude from")
    conclude(folder, screen)
    return worst_of(codes)


def conclude(folder: Path, screen: "Screen") -> None:
    """Write repeats.json and repeats.html from the runs that are there, and show what they say together."""
    from analysis.repeats import summarize
    from bench.cli.output import show, show_fact
    from bench.runs import folder as files

    asked = files.read_json(folder, files.REPEATS)
    found = summarize(_runs(folder), asked["asked"], keep_server=asked["keep_server"])
    files.write_json(folder / files.REPEATS, found)
    screen.print()
    show(screen, _write_page(folder, found))
    show_fact(screen, "report", str(folder / files.REPEATS_PAGE))


def report_all(folder: Path, form: Literal["html", "markdown", "json"]) -> None:
    """Write the page of repeats again, or print them."""
    from analysis.present.of_repeats import document
    from bench.cli.output import deliver
    from bench.runs import folder as files

    found = files.read_json(folder, files.REPEATS)
    if "runs" not in found:
        raise UserError(f"{folder}: nothing was concluded from its runs yet; do so with: bench.py decode {folder}")
    if form == "html":
        _write_page(folder, found)
        echo(str(folder / files.REPEATS_PAGE))
    else:
        deliver(document(found, _runs(folder)), "markdown", as_json=form == "json")


def _runs(folder: Path) -> "list[Run]":
    """The runs of which there are results, in their order."""
    from bench.runs import folder as files

    paths = sorted(path.parent for path in folder.glob(f"*/{files.SUMMARY}"))
    return [read(path)._replace(name=path.name) for path in paths]


def _write_page(folder: Path, found: dict[str, Any]) -> "Document":
    """Write repeats.html, which has figures; gives what it shows."""
    from analysis.present import to_html
    from analysis.present.of_repeats import document
    from analysis.present.repeats_figures import sections
    from bench.runs import folder as files

    runs = _runs(folder)
    page = document(found, runs, sections(found, runs))
    files.write_text(folder / files.REPEATS_PAGE, to_html.render(page))
    return page
