"""Run the same load repeatedly, so that intervals include the spread between runs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from analysis.compare.comparison import Run
from analysis.present.document import Document
from analysis.present.of_repeats import document, in_short
from analysis.present.repeats_figures import sections
from analysis.repeats import RepeatsAsked, RepeatsSummary, summarize
from analysis.run import summary as summaries
from bench.app.around import share_library, write_page
from bench.app.campaign import Campaign, Maker, Outcome, begun, is_done, make_run
from bench.app.compare import read
from bench.app.request import RunRequest
from bench.app.results import exit_code, recorded_stop, summarise
from bench.app.run import launched
from bench.exit_codes import worst_of
from bench.runs import folder as files
from bench.runs.manifest import WindowChoice
from bench.runs.sections import dump, load
from bench.server.launch import Server
from bench.types import UserError

Say = Callable[[str], None]


class Repeated(NamedTuple):
    """What the runs say together, None if none has results; and the outcome of each, the last perhaps a failure."""

    document: Document | None
    outcomes: list[Outcome]

    @property
    def code(self) -> int:
        """The exit code: the worst of the runs'."""
        return worst_of(outcome.code for outcome in self.outcomes)


def repeat(
    request: RunRequest,
    times: int,
    maker: Maker,
    asked: Mapping[str, Any],
    say: Say,
    on_run: Callable[[str, str], None],
    *,
    keep_server: bool,
) -> Repeated:
    """Make the run so many times, each in its own folder, or continue; and summarise all of them.

    If something ends it early (Ctrl-C, a spending limit, a dead server), the runs so far are kept and summarised.
    Raises UserError if a run cannot start.
    """
    folder, campaign, outcomes = request.out, Campaign(request.out), list[Outcome]()
    names = [f"{number:02}" for number in range(1, times + 1)]
    with begun(folder, "repeat", {**asked, "keep_server": keep_server}):
        _check(folder, times)
        files.write_json(folder / files.REPEATS, dump(RepeatsAsked(asked=times, keep_server=keep_server)))
        share_library(folder)
        try:
            kept: AbstractContextManager[Server | None] = nullcontext()
            if keep_server and not all(is_done(campaign, name) for name in names):
                kept = launched(request, say, folder / files.SERVER_LOG)
            with kept as server:
                for name in names:
                    say(f"run {int(name)} of {times}")
                    outcomes.append(make_run(campaign, name, request, maker, server))
                    if (folder / name / files.SUMMARY).exists():
                        on_run(name, in_short(summaries.read(folder / name)))
                    if outcomes[-1].problem is not None:
                        break
        finally:
            together = conclude(folder) if any(folder.glob(f"*/{files.SUMMARY}")) else None
        if together is None:
            outcomes[-1].raise_if_it_never_began()
    return Repeated(together, outcomes)


def _check(folder: Path, times: int) -> None:
    """Refuse fewer runs than were asked for before: the existing ones would not answer this question."""
    if (folder / files.REPEATS).exists() and (before := _asked(folder).asked) > times:
        raise UserError(
            f"--repeat {times}: {folder} was started for {before} runs; give {before} or more, or another --out"
        )


def _asked(folder: Path) -> RepeatsAsked:
    return load(RepeatsAsked, files.read_json(folder, files.REPEATS), folder / files.REPEATS)


def decode(folder: Path, window: WindowChoice | None = None) -> tuple[Document, int]:
    """Decode the captures of each repeat again and summarise all; returns the worst exit code too."""
    folders = [path.parent for path in sorted(folder.glob(f"*/{files.RUN}"))]
    codes = [exit_code(recorded_stop(one), summarise(one, window)) for one in folders]
    if not codes:
        raise UserError(f"{folder}: no run found in it")
    return conclude(folder), worst_of(codes)


def report(folder: Path, page: Path | None = None) -> Document:
    """What the runs of a folder say together, from its summary; written with its figures to `page`, if given.

    Raises UserError if there is no summary yet.
    """
    if "runs" not in _asked(folder).other:
        raise UserError(f"{folder}: its runs have no common summary yet; make it with: bench.py decode {folder}")
    found = load(RepeatsSummary, files.read_json(folder, files.REPEATS), folder / files.REPEATS)
    return document(found, runs_of(folder)) if page is None else _write_page(folder, found, page)


def page_of(folder: Path) -> Path:
    """Where the page of repeats lies."""
    return folder / files.REPEATS_PAGE


def conclude(folder: Path) -> Document:
    """Write repeats.json and repeats.html from the runs so far; returns the document."""
    task = _asked(folder)
    found = summarize(runs_of(folder), task.asked, keep_server=task.keep_server)
    files.write_json(folder / files.REPEATS, dump(found))
    return _write_page(folder, found, page_of(folder))


def _write_page(folder: Path, found: RepeatsSummary, page: Path) -> Document:
    """Write repeats.html with its figures; returns the document."""
    runs = runs_of(folder)
    shown = document(found, runs, sections(found, runs))
    write_page(page, shown)
    return shown


def runs_of(folder: Path) -> list[Run]:
    """The runs that have results, in order."""
    paths = sorted(path.parent for path in folder.glob(f"*/{files.SUMMARY}"))
    return [read(path)._replace(name=path.name) for path in paths]
