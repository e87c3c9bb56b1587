"""What a study would measure, how long that takes and what it may cost, without asking anybody."""

from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from analysis.money import gpu_prices
from analysis.money.numbers import SECONDS_PER_HOUR
from analysis.wording import count, dollars, number
from bench.app.dry import dry_plan
from bench.app.pricing import most_usd
from bench.app.request import RunRequest
from bench.app.sweep.running import is_cell_done, requests_of
from bench.app.sweep.study import Study
from bench.plan.calls import lengths, total

ASSUMED_TOKENS_PER_S: Final = 50.0
"""How fast an answer is taken to come where nobody has measured it."""
START_S: Final = 30.0
"""How long a server is taken to need before its first cell."""
PROBES: Final = 10
"""How many rates a search for the capacity is taken to try, of some 10 s each."""


class StudyEstimate(NamedTuple):
    """One contender's part: cells that are left, seconds, dollars at most at an API, and of its own hours."""

    contender: str
    cells: int
    seconds: float
    api_usd: Decimal | None
    hours_usd: Decimal | None


def estimates(study: Study, folder: Path) -> list[StudyEstimate]:
    """What each contender's cells that are left would take."""
    requests = requests_of(study, folder)
    found = []
    for contender in study.contenders:
        left = [
            request
            for cell, request in requests.values()
            if cell.contender == contender and not is_cell_done(cell, folder)
        ]
        searches = sum(
            cell.load.search is not None and not is_cell_done(cell, folder)
            for cell, _ in requests.values()
            if cell.contender == contender
        )
        seconds = sum(map(_seconds, left)) + searches * PROBES * 10.0
        launches = bool(left) and left[0].url is None
        seconds += START_S * launches
        found.append(StudyEstimate(contender.name, len(left), seconds, _api_usd(left), _hours_usd(left, seconds)))
    return found


def _seconds(request: RunRequest) -> float:
    """By its duration or its rate; of a closed loop by the tokens of its answers at an assumed speed."""
    load = request.workload.load
    if load.duration_s is not None:
        return load.duration_s + (load.warmup_s or 0.0)
    plan, _ = dry_plan(request)
    calls = total(plan) or 0
    if load.rate_per_s:
        return calls / load.rate_per_s
    tokens = sum(lengths(plan, seq)[1] for seq in range(calls))
    return tokens / ASSUMED_TOKENS_PER_S / (load.concurrency or 1)


def _api_usd(left: list[RunRequest]) -> Decimal | None:
    budgets = [request.costs.budget for request in left if request.costs.budget is not None]
    if not budgets:
        return None
    if any(request.workload.load.duration_s is not None for request in left):
        return budgets[0].cap_usd  # as many as fit into the time
    usd = sum(
        (most_usd(dry_plan(request)[0], budget) for request in left if (budget := request.costs.budget)), Decimal(0)
    )
    return min(usd, budgets[0].cap_usd)


def _hours_usd(left: list[RunRequest], seconds: float) -> Decimal | None:
    priced = [hourly for request in left if (hourly := gpu_prices.hourly_of(request.costs.pricing)) is not None]
    return priced[0].usd * Decimal(seconds) / SECONDS_PER_HOUR if priced else None


def lines(study: Study, folder: Path) -> list[str]:
    """The estimate in words."""
    each = estimates(study, folder)
    said = []
    for one in each:
        api = "" if one.api_usd is None else f", at most {dollars(one.api_usd)} at its API"
        own = "" if one.hours_usd is None else f", {dollars(one.hours_usd)} of its own hours"
        said.append(f"{one.contender}: {count(one.cells, 'cell')}, about {hours(one.seconds)}{api}{own}")
    seconds = sum(one.seconds for one in each)
    usd = sum((one.api_usd or Decimal(0)) + (one.hours_usd or Decimal(0)) for one in each)
    cells = count(sum(one.cells for one in each), "cell")
    said.append(f"together: {cells}, about {hours(seconds)}, {dollars(usd)}")
    said.append(
        f"times of closed loops are at an assumed {number(ASSUMED_TOKENS_PER_S)} tokens/s for each request in flight; "
        "what is measured corrects them; nothing was sent"
    )
    return said


def hours(seconds: float) -> str:
    """A time to be expected, as `12 s`, `4 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / SECONDS_PER_HOUR:.1f} h"
