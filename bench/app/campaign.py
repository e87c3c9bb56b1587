"""Several runs of one question in one folder: started, interrupted, killed, continued, and paid for together.

The folder alone says how far a campaign is, so that it continues in the same way after a normal end, Ctrl-C, kill -9 or
a power cut: `campaign.json` holds the question, a run is done when its own files say so, and spending is kept in one
account outside the runs' folders. Nothing else is remembered.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from analysis.run import summary as summaries
from analysis.run.summary import RunSummary
from bench.app.request import RunRequest
from bench.app.results import code_of_stop, code_of_summary, exit_code, summarise
from bench.app.run import Stop, never, observe
from bench.app.view import SILENT, RunView
from bench.errors import INTERRUPTED
from bench.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_TO_BE_TRUSTED, EXIT_USER_ERROR, worst_of
from bench.load.spend import Ledger
from bench.runs import folder as files
from bench.runs import manifest
from bench.server.launch import Server
from bench.types import UserError

FILE: Final = files.CAMPAIGN
ASIDE: Final = files.UNFINISHED
"""Where discarded runs go: kept for inspection, never read again."""


class Maker(Protocol):
    """What makes the runs of a campaign: `Runs`, or a fake in tests."""

    def observe(self, request: RunRequest, server: Server | None = None, stop: Stop = never) -> str | None:
        """Offer the load and leave the captures in the run's folder; returns why it stopped early, if it did."""
        ...

    def conclude(self, folder: Path) -> RunSummary:
        """Make the results from the captures; returns the summary."""
        ...


@dataclass(frozen=True, slots=True)
class Runs:
    """Makes runs as `bench.py run` does; without `report`, only `bench.py report` writes it."""

    view: RunView = SILENT
    with_report: bool = True

    def observe(self, request: RunRequest, server: Server | None = None, stop: Stop = never) -> str | None:
        """Offer the load."""
        return observe(request, self.view, server, stop)

    def conclude(self, folder: Path) -> RunSummary:
        """Make the results."""
        return summarise(folder, with_report=self.with_report)


@dataclass(frozen=True, slots=True)
class Campaign:
    """The folder of runs that belong together, and which of them are usable.

    A run that stopped early for a reason in `full_stops` is complete all the same: it had answered its question. A run
    without a usable summary is made again by the next command.
    """

    folder: Path
    full_stops: frozenset[str] = frozenset()
    is_usable: Callable[[RunSummary], bool] = lambda _: True


class Outcome(NamedTuple):
    """What became of a run: its exit code, and why the campaign cannot continue after it; None if it is done.

    The name and the problem together make a sentence.
    """

    name: str
    code: int
    problem: str | None = None

    @property
    def never_began(self) -> bool:
        """Whether the user must fix something before there can be a run."""
        return self.code == EXIT_USER_ERROR

    def raise_if_it_never_began(self) -> None:
        """Raise UserError that says what to fix."""
        if self.never_began:
            raise UserError(f"{self.name}: {self.problem}")


def outcome_of(name: str, problem: UserError | KeyboardInterrupt) -> Outcome:
    """The outcome of a run that could not start, or was interrupted before it did."""
    if isinstance(problem, UserError):
        return Outcome(name, EXIT_USER_ERROR, str(problem))
    return Outcome(name, EXIT_INTERRUPTED, _early(INTERRUPTED))


def check_began(folder: Path, ended: Outcome) -> None:
    """Raise UserError if not even the first run of a folder could start."""
    if not any(folder.rglob(files.RUN)):
        ended.raise_if_it_never_began()


# --- the folder ---------------------------------------------------------------------------------------------------


@contextmanager
def begun(folder: Path, command: str, asked: Mapping[str, Any]) -> Iterator[None]:
    """Create the folder, or continue one with the same question, and lock it while the block runs.

    Raises UserError if the folder has other files, another question, or another command at work in it. If nothing was
    measured or spent, the folder is removed, except for what an error's message names.
    """
    with held(folder, command, asked):
        try:
            yield
        except BaseException as problem:
            _leave(folder, str(problem))
            raise
        _leave(folder)


@contextmanager
def held(folder: Path, command: str, asked: Mapping[str, Any]) -> Iterator[None]:
    """Like `begun`, but keeps whatever is in the folder at the end."""
    if not (folder / FILE).exists():
        with suppress(OSError):
            (folder / f"{FILE}.partial").unlink()  # left by a command that was killed as it started
        files.make(folder)
    # The folder itself is locked, because a lock file would outlive a killed command; the system releases this lock
    # when the process ends, however it ends.
    lock = os.open(folder, os.O_RDONLY)
    try:
        _lock(lock, folder)
        _ask(folder, command, asked)
        yield
    finally:
        os.close(lock)


def _lock(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"--out {folder}: another command is using it; wait for it to end, or choose another folder"
        ) from None
    except OSError:  # a file system without locks
        pass


def _ask(folder: Path, command: str, asked: Mapping[str, Any]) -> None:
    """Write the question down, or compare it with the one that is there."""
    if not (folder / FILE).exists():
        files.write_json(folder / FILE, {"schema": files.SCHEMA, "command": command, "asked": asked})
        return
    content = files.read_json(folder, FILE)
    if content["command"] != command:
        raise UserError(f"--out {folder}: holds runs of {content['command']}, not of {command}; choose another folder")
    before = content["asked"]
    if differing := sorted(name for name in {*before, *asked} if before.get(name) != asked.get(name)):
        raise UserError(
            f"--out {folder}: holds runs of {command} with different {', '.join(differing)}; choose another folder"
        )


def _leave(folder: Path, problem: str = "") -> None:
    # If money was spent the account stays even without a run: whoever continues must not spend it again.
    if any(folder.rglob(files.RUN)) or _has_spent(folder):
        return
    asked = (folder / FILE).read_bytes()
    files.discard(folder, but_named_in=problem)
    if folder.exists():  # an error names this file, and it is part of a folder that can be continued
        files.write_text(folder / FILE, asked)


def _has_spent(folder: Path) -> bool:
    return (folder / files.LEDGER).exists() and Ledger.spending(folder / files.LEDGER).spent_usd > 0


# --- its runs -----------------------------------------------------------------------------------------------------


def is_done(campaign: Campaign, name: str) -> bool:
    """Whether the run of this name came to its end and left usable results."""
    return not is_missing(campaign, name) and (campaign.folder / name / files.SUMMARY).exists()


def is_missing(campaign: Campaign, name: str) -> bool:
    """Whether the load of this run has yet to be offered; if only results are missing, they are made without it."""
    folder = campaign.folder / name
    if not (folder / files.RUN).exists():
        return True
    run = manifest.read(folder)
    if run.interrupted and run.stopped not in campaign.full_stops:
        return True
    return (folder / files.SUMMARY).exists() and not campaign.is_usable(summaries.read(folder))


def make_run(
    campaign: Campaign, name: str, request: RunRequest, maker: Maker, server: Server | None = None, stop: Stop = never
) -> Outcome:
    """Make the run of this name, or the missing part of it; never one that is done.

    The remains of an interrupted run are put aside. All runs of the folder share its account.
    """
    folder = campaign.folder / name
    if is_done(campaign, name):
        return Outcome(name, code_of_summary(summaries.read(folder)))
    stopped = None
    try:
        # A campaign continues, a run never does: a load with a gap in it has measured something else.
        if is_missing(campaign, name):
            put_aside(campaign, name)
            folder.parent.mkdir(exist_ok=True)
            stopped = maker.observe(request.one_of(campaign.folder, name), server, stop)
    except (UserError, KeyboardInterrupt) as problem:
        return outcome_of(name, problem)
    return _concluded(campaign, name, maker, None if stopped in campaign.full_stops else stopped)


def _concluded(campaign: Campaign, name: str, maker: Maker, stopped: str | None) -> Outcome:
    """Make the results, also of a run that stopped early: they show how far it got."""
    try:
        summary = maker.conclude(campaign.folder / name)
    except KeyboardInterrupt:
        return Outcome(name, EXIT_INTERRUPTED, _early(stopped or INTERRUPTED))
    except (UserError, MemoryError) as problem:
        # Something was measured, which exit code 2 (wrong use) would deny.
        code = worst_of((code_of_stop(stopped), EXIT_NOT_TO_BE_TRUSTED))
        why = str(problem) or "out of memory; raise the limit (ulimit -v) and continue"
        return Outcome(name, code, _early(stopped) if stopped else f"has no results: {why}")
    if stopped is not None:
        return Outcome(name, exit_code(stopped, summary), _early(stopped))
    if not campaign.is_usable(summary):
        code = worst_of((code_of_summary(summary), EXIT_NOT_TO_BE_TRUSTED))
        return Outcome(name, code, f"is not to be trusted: {summary.verdict.because}")
    return Outcome(name, code_of_summary(summary))


def _early(stopped: str) -> str:
    return f"stopped early: {stopped}"


def put_aside(campaign: Campaign, name: str) -> None:
    """Move what is left of a run out of the way; it is kept for inspection."""
    folder, place, number = campaign.folder / name, campaign.folder / ASIDE, 1
    if not folder.exists():
        return
    place.mkdir(exist_ok=True)
    while (aside := place / f"{name.replace('/', '-')}-{number}").exists():
        number += 1
    folder.rename(aside)
