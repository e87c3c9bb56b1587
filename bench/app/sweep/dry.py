"""What a study would measure, how long that takes and what it may cost, without any request."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from analysis.wording import count, dollars
from bench.app.dry import ASSUMED, dry_plan, hours_usd, seconds_of, setting_lines
from bench.app.pricing import BEYOND, most_usd
from bench.app.request import RunRequest
from bench.app.sweep.running import CellRequests, is_cell_done
from bench.app.sweep.study import Study
from bench.durations import expected
from bench.plan.calls import Plan
from bench.types import Setting

START_S: Final = 30.0
"""How long a server is assumed to take before its first cell."""
PROBES: Final = 10
"""How many rates a capacity search is assumed to try, about 10 s each."""


@dataclass(frozen=True, slots=True)
class ContenderEstimate:
    """One contender's part: cells left, seconds, dollars at most at an API, and for its own hours.

    `fits` says whether all of it is certain to stay within its limit.
    """

    name: str
    cells: int
    seconds: float
    api_usd: Decimal | None
    hours_usd: Decimal | None
    fits: bool


@dataclass(frozen=True, slots=True)
class DrySweep:
    """What is left of a study, by contender and in total, and which options were not on the command line."""

    contenders: tuple[ContenderEstimate, ...]
    cells: int
    seconds: float
    usd: Decimal
    settings: tuple[Setting, ...]


def dry_sweep(study: Study, folder: Path, requests: CellRequests, settings: tuple[Setting, ...] = ()) -> DrySweep:
    """What the remaining cells would take."""
    each = tuple(_contenders(study, folder, requests))
    usd = sum(((one.api_usd or Decimal(0)) + (one.hours_usd or Decimal(0)) for one in each), Decimal(0))
    return DrySweep(each, sum(one.cells for one in each), sum(one.seconds for one in each), usd, settings)


def _contenders(study: Study, folder: Path, requests: CellRequests) -> Iterator[ContenderEstimate]:
    for contender in study.contenders:
        left = [
            each for each in requests.values() if each[0].contender == contender and not is_cell_done(each[0], folder)
        ]
        searches = sum(cell.load.search is not None for cell, _ in left)
        asked = [(request, _plan(request)) for _, request in left]
        seconds = sum(seconds_of(request.workload.load, plan) for request, plan in asked) + searches * PROBES * 10.0
        launches = bool(left) and asked[0][0].url is None
        seconds += START_S * launches
        own_usd = hours_usd(asked[0][0], seconds) if asked else None
        api_usd, fits = _api_usd(asked)
        yield ContenderEstimate(contender.name, len(left), seconds, api_usd, own_usd, fits)


def _plan(request: RunRequest) -> Plan | None:
    """None if only time ends the load."""
    return None if request.workload.load.duration_s is not None else dry_plan(request)[0]


def _api_usd(asked: list[tuple[RunRequest, Plan | None]]) -> tuple[Decimal | None, bool]:
    """The most that it may cost within its limit, None if nobody bills; and whether it stays within it."""
    billed = [(plan, budget) for request, plan in asked if (budget := request.costs.budget) is not None]
    if not billed:
        return None, True
    cap_usd = billed[0][1].cap_usd
    if any(plan is None for _, plan in asked):
        return cap_usd, True  # as many as fit in the time
    usd = sum((most_usd(plan, budget) for plan, budget in billed if plan is not None), Decimal(0))
    return min(usd, cap_usd), usd <= cap_usd


def lines(found: DrySweep) -> list[str]:
    """The same in words."""
    lines = setting_lines(found.settings)
    for one in found.contenders:
        api = "" if one.api_usd is None else f", at most {dollars(one.api_usd)} for its API"
        own = "" if one.hours_usd is None else f", {dollars(one.hours_usd)} for its own hours"
        beyond = "" if one.fits else BEYOND
        lines.append(f"{one.name}: {count(one.cells, 'cell')}, about {expected(one.seconds)}{api}{own}{beyond}")
    lines.append(f"total: {count(found.cells, 'cell')}, about {expected(found.seconds)}, {dollars(found.usd)}")
    return [*lines, f"{ASSUMED}, and corrected once measured; nothing was sent"]
