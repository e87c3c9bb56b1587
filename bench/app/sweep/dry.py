"""What a study would measure, how long that takes and what it may cost, without asking anybody."""

from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from analysis.money import gpu_prices
from analysis.money.numbers import SECONDS_PER_HOUR
from analysis.wording import count, dollars, number
from bench.app.dry import dry_plan
from bench.app.pricing import does_not_fit, most_usd
from bench.app.request import RunRequest
from bench.app.sweep.running import CellRequests, is_cell_done
from bench.app.sweep.study import Study
from bench.durations import expected
from bench.plan.calls import Plan, lengths, sessions, total
from bench.types import Load

ASSUMED_TOKENS_PER_S: Final = 50.0
"""How fast an answer is taken to come where nobody has measured it."""
START_S: Final = 30.0
"""How long a server is taken to need before its first cell."""
PROBES: Final = 10
"""How many rates a search for the capacity is taken to try, of some 10 s each."""


class StudyEstimate(NamedTuple):
    """One contender's part: cells that are left, seconds, dollars at most at an API, and of its own hours.

    `beyond` is what follows where all of it might need more than its limit.
    """

    contender: str
    cells: int
    seconds: float
    api_usd: Decimal | None
    hours_usd: Decimal | None
    beyond: str = ""


def estimates(study: Study, folder: Path, requests: CellRequests) -> list[StudyEstimate]:
    """What each contender's cells that are left would take."""
    found = []
    for contender in study.contenders:
        left = [
            each for each in requests.values() if each[0].contender == contender and not is_cell_done(each[0], folder)
        ]
        searches = sum(cell.load.search is not None for cell, _ in left)
        asked = [(request, _plan(request)) for _, request in left]
        seconds = sum(_seconds(request.workload.load, plan) for request, plan in asked) + searches * PROBES * 10.0
        launches = bool(left) and asked[0][0].url is None
        seconds += START_S * launches
        hours_usd = _hours_usd([request for request, _ in asked], seconds)
        api_usd, beyond = _api_usd(asked)
        found.append(StudyEstimate(contender.name, len(left), seconds, api_usd, hours_usd, beyond))
    return found


def _plan(request: RunRequest) -> Plan | None:
    """None where only time ends the load."""
    return None if request.workload.load.duration_s is not None else dry_plan(request)[0]


def _seconds(load: Load, plan: Plan | None) -> float:
    """By its duration or its rate; of a closed loop by the tokens of its answers at an assumed speed."""
    if plan is None:
        return (load.duration_s or 0.0) + (load.warmup_s or 0.0)
    calls = total(plan) or 0
    if load.rate_per_s:
        return (sessions(plan) or 0) / load.rate_per_s
    tokens = sum(lengths(plan, seq)[1] for seq in range(calls))
    return tokens / ASSUMED_TOKENS_PER_S / (load.concurrency or 1)


def _api_usd(asked: list[tuple[RunRequest, Plan | None]]) -> tuple[Decimal | None, str]:
    billed = [(plan, budget) for request, plan in asked if (budget := request.costs.budget) is not None]
    if not billed:
        return None, ""
    cap_usd = billed[0][1].cap_usd
    if any(plan is None for _, plan in asked):
        return cap_usd, ""  # as many as fit into the time
    usd = sum((most_usd(plan, budget) for plan, budget in billed if plan is not None), Decimal(0))
    return min(usd, cap_usd), does_not_fit(usd, cap_usd)


def _hours_usd(left: list[RunRequest], seconds: float) -> Decimal | None:
    priced = [hourly for request in left if (hourly := gpu_prices.hourly_of(request.costs.pricing)) is not None]
    return priced[0].usd * Decimal(seconds) / SECONDS_PER_HOUR if priced else None


def lines(study: Study, folder: Path, requests: CellRequests) -> list[str]:
    """The estimate in words."""
    each = estimates(study, folder, requests)
    said = []
    for one in each:
        api = "" if one.api_usd is None else f", at most {dollars(one.api_usd)} at its API"
        own = "" if one.hours_usd is None else f", {dollars(one.hours_usd)} of its own hours"
        said.append(f"{one.contender}: {count(one.cells, 'cell')}, about {expected(one.seconds)}{api}{own}{one.beyond}")
    seconds = sum(one.seconds for one in each)
    usd = sum((one.api_usd or Decimal(0)) + (one.hours_usd or Decimal(0)) for one in each)
    cells = count(sum(one.cells for one in each), "cell")
    said.append(f"together: {cells}, about {expected(seconds)}, {dollars(usd)}")
    said.append(
        f"times of closed loops are at an assumed {number(ASSUMED_TOKENS_PER_S)} tokens/s for each request in flight; "
        "what is measured corrects them; nothing was sent"
    )
    return said
