"""What a run would offer and may cost, without any request."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from analysis.money import gpu_prices
from analysis.money.numbers import SECONDS_PER_HOUR
from analysis.present import in_words
from analysis.run.server_metrics import planned_share
from analysis.wording import dollars, number
from bench.app.planning import cacheable_line, notes, plan_of_work
from bench.app.prepare import WARM_SALT
from bench.app.pricing import ApiEstimate, PlanSize, estimate, in_a_line, size_of
from bench.app.request import RunRequest
from bench.durations import expected
from bench.plan.calls import Plan, sessions
from bench.plan.common import in_common
from bench.plan.prompts import calibrate
from bench.plan.written import plan_hash
from bench.runs.folder import SCHEMA
from bench.runs.manifest import RecordedTraffic
from bench.runs.sections import dump
from bench.types import Load, Setting

ASSUMED_TOKENS_PER_S: Final = 50.0
"""The speed at which answers are assumed to arrive when nothing has measured it."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """What each of `runs` would offer to whom, and what all of them may cost; keys as in run.json, dollars exact.

    `url` is None if a server would be launched. `size` is one run's; `seconds` is the duration of one run's load, known
    from `seconds_by` or, for a closed loop, assumed. `hours_usd` is what self-hosted servers cost meanwhile.
    """

    backend: str
    model: str
    url: str | None
    runs: int
    offered: str
    load: Load
    size: PlanSize
    cacheable_share: float | None
    recorded: RecordedTraffic | None
    plan_hash: str
    seconds: float
    seconds_by: str
    hours_usd: Decimal | None
    api: ApiEstimate | None
    settings: tuple[Setting, ...]


def dry_run(request: RunRequest, *, runs: int = 1, batch: bool = False) -> DryRun:
    """Describe what each run would offer and may cost; with `batch`, at the prices of batches.

    No server is asked, so prompts are counted only if there is a local tokenizer.
    """
    plan, recorded = dry_plan(request)
    size, budget, load = size_of(plan), request.costs.budget, request.workload.load
    seconds = seconds_of(load, plan, size)
    return DryRun(
        request.backend.name,
        request.model,
        request.url,
        runs,
        load_line(request),
        load,
        size,
        None if size.requests is None else _cacheable_share(plan, recorded),
        recorded,
        plan_hash(plan),
        seconds,
        "duration" if load.duration_s is not None else "rate" if load.rate_per_s else "assumed speed",
        hours_usd(request, runs * seconds),
        None if budget is None else estimate(plan, budget, batch=batch, runs=runs),
        request.settings,
    )


def lines(found: DryRun) -> list[str]:
    """The same in words."""
    lines = [*setting_lines(found.settings), found.offered, *(notes(found.recorded) if found.recorded else ())]
    size = found.size
    if size.requests is not None:
        counted = "by the tokenizer" if size.is_counted else "one token a word assumed"
        lines.append(
            f"plan: {size.requests:,} requests, {size.prompt_tokens:,} prompt tokens ({counted}), "
            f"{size.output_tokens:,} output tokens at most"
        )
        if found.recorded is None and found.cacheable_share is not None:
            lines.append(cacheable_line(found.cacheable_share))
    lines.append(f"plan hash: {found.plan_hash}")
    assumed = f"; {ASSUMED}" if found.seconds_by == "assumed speed" else ""
    hours = "" if found.hours_usd is None else f", {dollars(found.hours_usd)} for servers by the hour"
    lines.append(f"load: about {expected(found.runs * found.seconds)}{hours}{assumed}")
    if found.api is not None:
        lines.append(in_a_line(found.api, size, found.runs))
    if found.runs > 1:
        lines.append(f"{found.runs} runs, each with all of this; --max-usd covers all of them together")
    return [*lines, "nothing was sent"]


ASSUMED: Final = f"closed loops are timed at an assumed {number(ASSUMED_TOKENS_PER_S)} tokens/s per request in flight"


def document(found: Any) -> dict[str, Any]:
    """The result of any dry run, as JSON has it."""
    return {"schema": SCHEMA, "dry_run": True, **dump(found)}


def setting_lines(settings: tuple[Setting, ...]) -> list[str]:
    """Options that were not on the command line, and where they came from."""
    return [f"{each.option} {each.value}: from {each.source}" for each in settings]


def seconds_of(load: Load, plan: Plan | None, size: PlanSize | None = None) -> float:
    """How long a load takes: by its duration or rate; for a closed loop, by its answers at an assumed speed.

    `size` is the plan's, if already known: a long plan takes seconds to add up.
    """
    if load.duration_s is not None or plan is None:
        return (load.duration_s or 0.0) + (load.warmup_s or 0.0)
    if load.rate_per_s:
        return (sessions(plan) or 0) / load.rate_per_s
    size = size or size_of(plan)
    in_flight = load.concurrency or min(size.requests or 1, load.max_in_flight)
    return (size.output_tokens or 0) / ASSUMED_TOKENS_PER_S / in_flight


def hours_usd(request: RunRequest, seconds: float) -> Decimal | None:
    """What self-hosted servers cost in that time, rounded to a millionth; None without a price per hour."""
    hourly = gpu_prices.hourly_of(request.costs.pricing)
    return None if hourly is None else round(hourly.usd * Decimal(seconds) / SECONDS_PER_HOUR, 6)


def _cacheable_share(plan: Plan, recorded: RecordedTraffic | None) -> float | None:
    """What the summary holds as `cache.planned`."""
    if recorded is not None:
        return recorded.cacheable_share
    common = in_common(plan)
    return planned_share(common.known, common.prompts)


def dry_plan(request: RunRequest) -> tuple[Plan, RecordedTraffic | None]:
    """Make the plan of a run without asking a server."""
    work = request.workload
    source, count = work.tokenizer or ("nobody", lambda _: None)
    vocabulary = calibrate(
        count,
        source,
        shared_prefix=work.scenario.opens,
        sessions=work.scenario.has_sessions,
    )
    return plan_of_work(work, vocabulary, count, WARM_SALT, None, None)


def load_line(request: RunRequest) -> str:
    """The scenario and how much load there is, in words."""
    return (
        f"scenario {request.workload.scenario.name}: {in_words.load(request.workload.load, request.workload.scenario)}"
    )
