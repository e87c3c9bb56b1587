"""What a study's folder says: its cells, the bills of its contenders, study.json and study.html."""

import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from analysis.money import gpu_prices
from analysis.present.document import Document
from analysis.present.of_study import StudyAsked, StudyBills, document
from analysis.run import summary as summaries
from analysis.run.same_requests import have_same_requests
from analysis.study import CellCapacity, ContenderResult, StudyCell, StudyResult, StudyRun, main_load
from bench.app.around import write_page
from bench.app.breakeven.comparison import compare
from bench.app.breakeven.options import BreakEvenOptions
from bench.app.breakeven.servers import FEWEST_RUNS
from bench.app.campaign import is_done
from bench.app.sweep.cells import PlannedCell, campaign_of, cells_of
from bench.app.sweep.running import FAILED, capacity_of
from bench.app.sweep.study import Contender, Study, StudyLoad, flags_of, slug
from bench.process.places import as_typed
from bench.runs import folder as files
from bench.runs import manifest
from bench.runs.manifest import RunManifest
from bench.types import UserError


def described(study: Study, folder: Path) -> Document:
    """What a study's folder says so far."""
    result = gather(study, folder)
    return document(result, bills_of(study, result, folder), asked_of(study, result, folder))


def conclude(study: Study, folder: Path) -> Document:
    """Write study.json and study.html from the cells so far; returns the document."""
    shown = described(study, folder)
    files.write_json(folder / files.STUDY, shown.data)
    write_page(page_of(folder), shown)
    return shown


def page_of(folder: Path) -> Path:
    """Where a study's page lies."""
    return folder / files.STUDY_PAGE


def gather(study: Study, folder: Path) -> StudyResult:
    """Read every cell that exists."""
    failed = files.read_json(folder, FAILED)["cells"] if (folder / FAILED).exists() else {}
    contenders = tuple(_contender(study, contender, folder, failed) for contender in study.contenders)
    loads = tuple(load.name for load in study.loads if load.search is None)
    return StudyResult(contenders, loads, study.main_load or main_load(contenders, loads))


def _contender(study: Study, contender: Contender, folder: Path, failed: dict[str, str]) -> ContenderResult:
    cells = [cell for cell in cells_of(study) if cell.contender == contender]
    found = tuple(
        _imported(contender, load, folder)
        if contender.imported
        else _cell(load, [cell for cell in cells if cell.load == load], folder, failed)
        for load in study.loads
        if load.search is None
    )
    searched = next((cell for cell in cells if cell.load.search is not None), None)
    runs = [folder / run.folder for cell in found for run in cell.runs]
    if searched is not None:
        runs += sorted(path.parent for path in (folder / searched.name).glob(f"*/{files.RUN}"))
    run = manifest.read(runs[0]) if runs else None
    hour = gpu_prices.hourly_of(run.pricing) if run else None
    return ContenderResult(
        name=contender.name,
        backend=run.backend if run and run.imported else str(contender.options.get("backend", "llamacpp")),
        model=run.model if run and run.imported else str(contender.options.get("model", "tiny")),
        cells=found,
        capacity=None if searched is None else _capacity(searched, folder),
        problem=None if searched is None else failed.get(searched.name),
        server=f"{run.server.name} {run.server.version or '(version unknown)'}" if run else None,
        usd_per_hour=None if hour is None else float(hour.usd),
    )


def _cell(load: StudyLoad, cells: Sequence[PlannedCell], folder: Path, failed: dict[str, str]) -> StudyCell:
    runs = []
    for cell in cells:
        if is_done(campaign_of(cell.contender, folder), cell.folder):
            run = manifest.read(folder / cell.name)
            runs.append(StudyRun(cell.name, run.seed, summaries.read(folder / cell.name)))
    problem = next((failed[cell.name] for cell in cells if cell.name in failed), None)
    return StudyCell(load.name, tuple(runs), problem)


def _imported(contender: Contender, load: StudyLoad, folder: Path) -> StudyCell:
    """A cell that another tool measured, by a path relative to the study's folder. Raises UserError if it is none."""
    place = contender.imported.get(load.name)
    if place is None:
        return StudyCell(load.name)
    run, summary = manifest.read(Path(place)), summaries.read(Path(place))
    return StudyCell(load.name, (StudyRun(os.path.relpath(place, folder), run.seed, summary),))


def _capacity(cell: PlannedCell, folder: Path) -> CellCapacity | None:
    if (found := capacity_of(cell, folder)) is None:
        return None
    page = f"{cell.name}/{files.CAPACITY_PAGE}"
    return CellCapacity(found.rate_per_s, found.low_per_s, found.high_per_s, page)


# --- bills --------------------------------------------------------------------------------------------------------


class _Sides(NamedTuple):
    """The arguments of `breakeven` for a study: its own servers, its APIs, and whether their loads differ.

    `names` are what contenders are called in them.
    """

    servers: tuple[str, ...]
    versus: tuple[str, ...]
    differ: bool
    names: Mapping[str, str]


def bills_of(study: Study, result: StudyResult, folder: Path) -> StudyBills:
    """What each way costs, with the command that reproduces it; or why that is not known."""
    sides = _sides(study, result, folder)
    if not sides.servers and not sides.versus:
        missing = "a price per hour (gpu, usd-per-hour or owned)"
        return StudyBills(why=f"no bills: no contender with results has {missing}")
    has_order = len(sides.servers) > 1 or (sides.servers and sides.versus)
    if not has_order and not study.requests_per_month:
        return StudyBills(why="no bills: expected requests-per-month, or an API to compare with (versus)")
    try:
        found = compare(_options(study, sides), datetime.now(UTC))
    except UserError as problem:
        return StudyBills(command=_command(study, sides), why=f"no bills: {problem}")
    return StudyBills(found, _command(study, sides), names=sides.names)


def _options(study: Study, sides: _Sides) -> BreakEvenOptions:
    return BreakEvenOptions(
        servers=sides.servers,
        versus=sides.versus,
        requests_per_month=study.requests_per_month,
        different_plans=sides.differ,
    )


def _command(study: Study, sides: _Sides) -> str:
    words = [f"--self {shlex.quote(text)}" for text in sides.servers]
    words += [f"--versus {shlex.quote(text)}" for text in sides.versus]
    words += [f"--requests-per-month {study.requests_per_month}"] if study.requests_per_month else []
    words += ["--different-plans"] if sides.differ else []
    return f"bench.py breakeven {' '.join(words)}"


def _sides(study: Study, result: StudyResult, folder: Path) -> _Sides:
    """Servers by their capacity if it was found, else by the throughput of their runs at the load that matters."""
    folder = as_typed(folder)
    servers, apis, differ = list[str](), dict[str, list[StudyRun]](), False
    chosen = list[list[RunManifest]]()
    for contender in result.contenders:
        runs = contender.cell(result.main_load).runs if result.main_load else ()
        good = [run for run in runs if run.summary.verdict.status != "invalid"]
        basis = good[0].summary.cost.basis if good and good[0].summary.cost else None
        is_paid = contender.usd_per_hour is not None
        if is_paid and contender.capacity is not None and contender.capacity.rate_per_s:
            place = folder / Path(contender.capacity.page).parent
            servers.append(f"{_plain(contender.name)}={place}")
            differ = True
        elif basis == "self-hosted" and (good := [run for run in good if _rate(run) is not None]):
            taken = _measured(good)
            servers.append(f"{_plain(contender.name)}={','.join(str(folder / run.folder) for run in taken)}")
            chosen.append([manifest.read(folder / run.folder) for run in taken])
        elif basis == "api":
            apis[contender.name] = good

    def is_as_all(run: StudyRun) -> bool:
        own = manifest.read(folder / run.folder)
        return all(any(have_same_requests([own], [each]) for each in runs) for runs in chosen)

    # A run of an API with the same requests as the servers' runs; repeats have different plans.
    as_all = {name: next(filter(is_as_all, good), None) for name, good in apis.items()}
    differ = differ or None in as_all.values()
    versus = (f"{_plain(name)}={folder / (run or apis[name][0]).folder}" for name, run in as_all.items())
    names = {contender.name: _plain(contender.name) for contender in result.contenders}
    return _Sides(tuple(servers), (*versus, *study.versus), differ, names)


def _measured(runs: list[StudyRun]) -> list[StudyRun]:
    """All runs if they are enough to show their spread, else the middle one, the slower of two."""
    if len(runs) >= FEWEST_RUNS:
        return runs
    ordered = sorted(runs, key=lambda run: _rate(run) or 0.0)
    return ordered[(len(ordered) - 1) // 2 :][:1]


def _rate(run: StudyRun) -> float | None:
    """Its throughput; unknown for a run that was too short, whose contender has no bill."""
    return run.summary.throughput.requests_per_s


def _plain(name: str) -> str:
    """A name that `--self NAME=…` and `--versus NAME=…` accept."""
    return name if not set(name) & set("=,'@") else slug(name)


# --- what was asked -----------------------------------------------------------------------------------------------


def asked_of(study: Study, result: StudyResult, folder: Path) -> StudyAsked:
    """The page's box of assumptions."""
    runs = [run for contender in result.contenders for cell in contender.cells for run in cell.runs]
    first = manifest.read(folder / runs[0].folder) if runs else None
    scenario = None if first is None else first.scenario
    return StudyAsked(
        folder=str(as_typed(folder)),
        scenario=scenario,
        slo=() if first is None else first.slo,
        machine=None
        if first is None or first.imported
        else f"{first.hardware.cpu}, {first.hardware.cores} cores, {first.hardware.os}",
        software=None if first is None or first.imported else _software(first),
        repeats=study.repeats,
        servers=study.servers,
        requests_per_month=study.requests_per_month,
        contenders={contender.name: flags_of(contender.options) for contender in study.contenders},
    )


def _software(run: manifest.RunManifest) -> str:
    """The versions that measured, and of what they launched inside themselves."""
    commit = [f"commit {run.git_commit[:12]}"] if run.git_commit else []
    known = [f"{name} {run.packages[name]}" for name in ("python", "locust", "xllamacpp") if run.packages.get(name)]
    return ", ".join([*commit, *known])
