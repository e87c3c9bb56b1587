"""Run a study: cell by cell in turns, each server launched once; whatever fails, fails a cell with its reason.

The folder alone says how far it is: a cell is done when its own files say so. So after a normal end, Ctrl-C or kill -9
the same command continues with the next cell, and no cell is measured twice.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import yaml

from analysis.capacity import written as searches
from analysis.capacity.search import Capacity
from bench.app.around import share_library
from bench.app.campaign import Maker, Outcome, begun, check_began, is_done, make_run, outcome_of
from bench.app.capacity import find
from bench.app.options import plain
from bench.app.pace import RunPace
from bench.app.request import RunRequest, ServerToLaunch
from bench.app.run import launched
from bench.app.sweep.cells import PlannedCell, campaign_of, cells_of, request_of, search_for, widest
from bench.app.sweep.study import Study
from bench.exit_codes import EXIT_INTERRUPTED, EXIT_OUT_OF_BUDGET, EXIT_USER_ERROR, worst_of
from bench.load.spend import Ledger
from bench.process.secrets import without_userinfo
from bench.runs import folder as files
from bench.server.launch import Server
from bench.types import Setting, UserError

FAILED: Final = "failed.json"

CellRequests = Mapping[str, tuple[PlannedCell, RunRequest]]
"""All cells of a study with their requests, by name, in order."""


class SweepPosition(NamedTuple):
    """Progress of a sweep: cells done, failed and in total, the time left if known, money spent."""

    done: int
    failed: int
    cells: int
    left_s: float | None
    spent_usd: Decimal


class SweepView(Protocol):
    """Receives the progress of a sweep."""

    def say(self, line: str) -> None:
        """Take a line for the user."""
        ...

    def begin(self, cell: PlannedCell, position: SweepPosition) -> None:
        """A cell is about to be measured."""
        ...

    def end(self, cell: PlannedCell, outcome: Outcome) -> None:
        """A cell was measured, or failed."""
        ...


@dataclass
class Sweep:
    """A study in progress in its folder: the servers that run, and what has failed."""

    study: Study
    folder: Path
    requests: CellRequests
    maker: Maker
    searcher: Maker
    view: SweepView
    servers: dict[str, tuple[Server, ExitStack]] = field(default_factory=dict)
    given_up: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    pace: RunPace = field(default_factory=RunPace)
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self) -> None:
        """Measure every cell that is not done. A failure costs its cell, or its contender's, and no others."""
        cells = [cell for cell, _ in self.requests.values()]
        # Cells that failed in an earlier command are tried again: what failed them may have been fixed.
        (self.folder / FAILED).unlink(missing_ok=True)
        with ExitStack() as stack:
            for place, cell in enumerate(cells):
                if is_cell_done(cell, self.folder):
                    continue
                self.view.begin(cell, self._position(cells))
                began_s = time.monotonic()
                outcome = self._measure(cell, stack)
                self.view.end(cell, outcome)
                self.outcomes.append(outcome)
                if outcome.problem is None:
                    self.pace.took(time.monotonic() - began_s)
                elif outcome.code == EXIT_INTERRUPTED:
                    break
                else:
                    self.failed[cell.name] = outcome.problem
                    files.write_json(self.folder / FAILED, {"schema": files.SCHEMA, "cells": self.failed})
                    # A contender has one spending account, so its other cells could not be paid for either.
                    if outcome.code == EXIT_OUT_OF_BUDGET:
                        self.given_up[cell.contender.name] = outcome.problem
                self._end_servers_but(cells[place + 1 :])

    def _position(self, cells: list[PlannedCell]) -> SweepPosition:
        done = sum(is_cell_done(cell, self.folder) for cell in cells)
        left_s = self.pace.seconds(len(cells) - done - len(self.failed))
        return SweepPosition(done, len(self.failed), len(cells), left_s, spent_usd(self.study, self.folder))

    def _measure(self, cell: PlannedCell, stack: ExitStack) -> Outcome:
        if (why := self.given_up.get(cell.contender.name)) is not None:
            return Outcome(cell.name, EXIT_USER_ERROR, why)  # its server never came up, or its money is spent
        _, request = self.requests[cell.name]
        try:
            server = self._server(cell, request, stack)
            if cell.load.search is None:
                campaign = campaign_of(cell.contender, self.folder)
                ended: Outcome | None = make_run(campaign, cell.folder, request, self.maker, server)
            else:
                ended = find(search_for(cell, request), self.searcher, self.view.say, server).ended
        except (UserError, KeyboardInterrupt) as problem:
            return outcome_of(cell.name, problem)
        return Outcome(cell.name, 0) if ended is None else ended._replace(name=cell.name)

    def _server(self, cell: PlannedCell, request: RunRequest, stack: ExitStack) -> Server | None:
        """The contender's server, launched before its first cell, and again if it has died."""
        if not isinstance(request.server, ServerToLaunch):
            return None
        name = cell.contender.name
        if name in self.servers:
            server, own = self.servers[name]
            if server.exit_code() is None:
                return server
            own.close()
            self.view.say(f"{name}: its server has ended; starting it again")
        if self.study.servers == "one at a time":
            self._end_servers_but([cell])
        folder = campaign_of(cell.contender, self.folder).folder
        folder.mkdir(exist_ok=True)
        mine = [(one, asked) for one, asked in self.requests.values() if one.contender == cell.contender]
        own = stack.enter_context(ExitStack())
        try:
            server = own.enter_context(launched(widest(mine), self.view.say, folder / files.SERVER_LOG))
        except UserError as problem:
            self.given_up[name] = str(problem)
            raise
        self.servers[name] = server, own
        return server

    def _end_servers_but(self, cells: list[PlannedCell]) -> None:
        """Stop the servers of contenders that have no cell among these; with one at a time, of all but the next one."""
        wanted = {cell.contender.name for cell in cells if not is_cell_done(cell, self.folder)}
        for name in [name for name in self.servers if name not in wanted]:
            _, own = self.servers.pop(name)
            own.close()


def is_cell_done(cell: PlannedCell, folder: Path) -> bool:
    """Whether a cell has come to its end."""
    if cell.load.search is None:
        return is_done(campaign_of(cell.contender, folder), cell.folder)
    return capacity_of(cell, folder) is not None


def capacity_of(cell: PlannedCell, folder: Path) -> Capacity | None:
    """What a cell's search has found; None where it has not come to its end."""
    own = campaign_of(cell.contender, folder).folder / cell.folder
    return searches.read(own).capacity if (own / files.CAPACITY).exists() else None


def spent_usd(study: Study, folder: Path) -> Decimal:
    """What all contenders have spent."""
    ledgers = (campaign_of(contender, folder).folder / files.LEDGER for contender in study.contenders)
    return sum((Ledger.spending(path).spent_usd for path in ledgers if path.exists()), Decimal(0))


def requests_of(
    study: Study, folder: Path, argv: tuple[str, ...] = (), settings: tuple[Setting, ...] = ()
) -> CellRequests:
    """Every cell in order with its request, by name. Raises UserError for anything wrong with any of them."""
    found = {
        cell.name: (cell, replace(request_of(study, cell, folder, argv), settings=settings)) for cell in cells_of(study)
    }
    for cell, request in found.values():
        if cell.load.search is not None:
            search_for(cell, request)
    return found


class CellOutcomes(NamedTuple):
    """The outcomes of the cells that this command has tried."""

    outcomes: list[Outcome]

    @property
    def code(self) -> int:
        """The exit code: the worst of the cells'; a cell that could not start is not wrong use if others could."""
        return worst_of(outcome.code for outcome in self.outcomes)


def sweep(
    study: Study,
    folder: Path,
    requests: CellRequests,
    makers: tuple[Maker, Maker],
    view: SweepView,
    conclude: Callable[[], None],
) -> CellOutcomes:
    """Run a study, or continue it, and summarise what exists, also if it ends early.

    `requests` are what its cells ask; `makers` make the runs of cells and of searches. Raises UserError if no cell at
    all could be measured.
    """
    with begun(folder, "sweep", study.asked()):
        secrets = {secret for _, request in requests.values() for secret in request.access.secrets}
        files.write_text(folder / files.STUDY_FILE, _hidden(yaml_of(study), secrets))
        share_library(folder)
        at_work = Sweep(study, folder, requests, *makers, view)
        at_work.run()
        if at_work.outcomes:
            check_began(folder, at_work.outcomes[0])
        if any(is_cell_done(cell, folder) for cell, _ in requests.values()):
            conclude()
    return CellOutcomes(at_work.outcomes)


def _hidden(text: str, secrets: set[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def yaml_of(study: Study) -> str:
    """The study as a file that `sweep` reads."""
    loads = [
        {"name": load.name, **load.options, **({"capacity": load.search or True} if load.search is not None else {})}
        for load in study.loads
    ]
    content = {
        "workload": study.workload,
        "contenders": [
            {"name": each.name, **each.options, **({"imported": each.imported} if each.imported else {})}
            for each in study.contenders
        ],
        "loads": loads,
        "repeats": study.repeats,
        "servers": study.servers,
        "requests_per_month": study.requests_per_month,
        "versus": study.versus,
        "main_load": study.main_load,
    }
    given = {name: plain(value, without_userinfo) for name, value in content.items() if value not in (None, (), {})}
    text: str = yaml.safe_dump(given, sort_keys=False, allow_unicode=True)
    return text
