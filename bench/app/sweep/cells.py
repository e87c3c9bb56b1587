"""The cells of a study: the order in which they are measured, their folders, and what each asks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bench.app.campaign import Campaign
from bench.app.capacity import CapacitySearch, closed_loop, search_of
from bench.app.options import RunOptions, SearchOptions, values_of
from bench.app.request import RunRequest, run_request
from bench.app.run import slots_of
from bench.app.sweep.study import Contender, Study, StudyLoad, slug
from bench.runs import folder as files
from bench.types import UserError


class PlannedCell(NamedTuple):
    """One measurement: a contender under a load, in one of the repeats."""

    contender: Contender
    load: StudyLoad
    repeat: int

    @property
    def folder(self) -> str:
        """Its folder within its contender's."""
        name = slug(self.load.name)
        return name if self.load.search is not None else f"{name}-{self.repeat:02}"

    @property
    def name(self) -> str:
        """Its folder within the study's."""
        return f"{slug(self.contender.name)}/{self.folder}"


def cells_of(study: Study) -> Iterator[PlannedCell]:
    """All cells in the order in which they are measured.

    With servers together the contenders take turns under each load, and each goes first equally often; with two repeats
    the second runs the first's order backwards, so that steady drift favours nobody. A capacity search has repeats of
    its own, and comes last.
    """
    loads = [load for load in study.loads if load.search is None]
    contenders = tuple(contender for contender in study.contenders if not contender.imported)
    if study.servers == "together":
        once = [(contender, load) for turn, load in enumerate(loads) for contender in _rotated(contenders, turn)]
    else:
        once = [(contender, load) for contender in contenders for load in loads]
    for repeat in range(1, study.repeats + 1):
        for contender, load in once if repeat % 2 else once[::-1]:
            yield PlannedCell(contender, load, repeat)
    for contender in contenders:
        yield from (PlannedCell(contender, load, 1) for load in study.loads if load.search is not None)


def _rotated(contenders: tuple[Contender, ...], turn: int) -> tuple[Contender, ...]:
    # Whoever goes first under a load finds the machine as the previous load left it, so everyone takes a turn at that.
    first = turn % max(1, len(contenders))
    return contenders[first:] + contenders[:first]


def request_of(study: Study, cell: PlannedCell, folder: Path, argv: tuple[str, ...] = ()) -> RunRequest:
    """What a cell asks; repeats have seeds of their own, the same for all contenders. Raises UserError.

    All cells of a contender share one spending account.
    """
    options = {**study.workload, **cell.load.options, **cell.contender.options, "out": folder / cell.name}
    options["seed"] = int(study.workload.get("seed", 0)) + cell.repeat - 1
    try:
        request = run_request(RunOptions.of(options), argv)
    except UserError as problem:
        raise UserError(f"contender {cell.contender.name!r} at {cell.load.name!r}: {problem}") from None
    budget = request.costs.budget
    if budget is not None:
        account = campaign_of(cell.contender, folder).folder / files.LEDGER
        request = replace(request, costs=replace(request.costs, budget=replace(budget, account=account)))
    return request


def campaign_of(contender: Contender, folder: Path) -> Campaign:
    """The runs of a contender. A run that came to its end counts, whatever its verdict."""
    return Campaign(folder / slug(contender.name))


def search_for(cell: PlannedCell, request: RunRequest) -> CapacitySearch:
    """The capacity search of a cell. Raises UserError."""
    try:
        options = SearchOptions(**values_of(SearchOptions, cell.load.search or {}))
        return search_of(request, {"cell": cell.name}, options, request.out)
    except UserError as problem:
        raise UserError(f"contender {cell.contender.name!r} at {cell.load.name!r}: {problem}") from None


def widest(requests: list[tuple[PlannedCell, RunRequest]]) -> RunRequest:
    """What a server is launched for that serves all of these: the most slots, the longest prompts and answers."""
    asked = [request if cell.load.search is None else _of_search(cell, request) for cell, request in requests]
    request = max(asked, key=lambda request: slots_of(request.workload.load))
    scenario = max(
        (one.workload.scenario for one in asked),
        key=lambda scenario: scenario.prompt_tokens.high + scenario.output_tokens.high,
    )
    return replace(request, workload=replace(request.workload, scenario=scenario))


def _of_search(cell: PlannedCell, request: RunRequest) -> RunRequest:
    return replace(request, workload=replace(request.workload, load=closed_loop(search_for(cell, request))))
