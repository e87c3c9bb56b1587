"""repeats.json from the runs of one load that was offered again and again: pure, so that it can be made again.

Each number is the mean over the runs of what each run's summary.json says, and its interval is Student's t with the run
as the unit: what a run's own sampling adds is part of what differs from run to run. Means are geometric, as comparisons
of runs are (analysis/compare): the ratio of two of them is the change that `compare` reports.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.checks import repeats as repeat_checks
from analysis.checks.finding import Finding
from analysis.compare.comparison import Run
from analysis.run.metrics import METRICS
from analysis.run.sections import Intervals, MetricSummary, RequestCounts, RunCost, Throughput
from analysis.run.summary import RunVerdict, Status, WrittenFinding
from analysis.stats.changes import LEAST_RUNS
from analysis.stats.distributions import LEVELS, UNKNOWN, Interval, Sample, all_known, mean_interval
from analysis.wording import SEVERITY, together
from bench.runs import folder as files
from bench.runs.sections import JsonSection

STATISTICS: Final = ("mean", *LEVELS)


@dataclass(frozen=True, slots=True)
class RepeatedRequests(JsonSection):
    """What became of the measured calls of all runs together."""

    planned: int
    succeeded: int
    failed: int
    dropped: int
    unfinished: int
    by_error: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeansOverRuns(JsonSection):
    """The intervals and the spreads between runs (cv) of the statistics that a subclass names."""

    ci95: Intervals
    cv: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class RepeatedMetric(MeansOverRuns):
    """A metric's statistics; `count` is of the values of all runs."""

    count: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class RepeatedThroughput(MeansOverRuns):
    """What was served per second, and how much of it was good."""

    requests_per_s: float | None
    output_tokens_per_s: float | None
    total_tokens_per_s: float | None
    goodput_rps: float | None
    slo_attainment: float | None


@dataclass(frozen=True, slots=True)
class RepeatedCost(MeansOverRuns):
    """What it cost, in dollars."""

    usd_per_request: float | None
    usd_per_good_request: float | None
    usd_per_million_output_tokens: float | None
    usd_per_million_total_tokens: float | None


# The annotations of a class are its own fields, without those of what it extends.
COUNTS: Final = tuple(name for name in RepeatedRequests.__annotations__ if name != "by_error")
THROUGHPUT: Final = tuple(RepeatedThroughput.__annotations__)
COST: Final = tuple(RepeatedCost.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatsAsked(JsonSection):
    """repeats.json before anything was concluded: how many runs are wanted, and whether one server serves them all."""

    schema: int = files.SCHEMA
    asked: int
    keep_server: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatsSummary(RepeatsAsked):
    """repeats.json: what the runs say together; their names are those of their folders.

    A run that was cut short is no repeat of the others: it is named in `left_out` and counts only for the verdict.
    """

    runs: tuple[str, ...]
    left_out: tuple[str, ...]
    backend: str
    model: str
    scenario: str
    plan_hash: str
    seed: int | None
    verdict: RunVerdict
    requests: RepeatedRequests
    metrics: Mapping[str, RepeatedMetric]
    throughput: RepeatedThroughput
    cost: RepeatedCost | None


class OverRuns(NamedTuple):
    """One statistic over the runs: its mean, the interval of that, and the spread between runs (cv); None is unknown.

    `cv` is the standard deviation over the mean, both arithmetic.
    """

    mean: float | None
    ci95: Interval
    cv: float | None


def over_runs(values: Sequence[float | None]) -> OverRuns:
    """The mean over the runs, unknown where any run does not know its value; intervals want three runs.

    It is geometric; arithmetic, with an interval to match, where a run has a value that has no logarithm.
    """
    if not (given := all_known(values)):
        return OverRuns(None, UNKNOWN, None)
    known = np.array(given, np.float64)
    has_logs = known.min() > 0
    scaled = np.log(known) if has_logs else known
    low, high = mean_interval(Sample(scaled, np.arange(len(known) + 1))) if len(known) >= LEAST_RUNS else UNKNOWN

    def back(value: float | None) -> float | None:
        return None if value is None else float(np.exp(value)) if has_logs else value

    around = float(known.mean())
    return OverRuns(
        back(float(scaled.mean())),
        (back(low), back(high)),
        float(known.std(ddof=1)) / around if len(known) > 1 and around else None,
    )


def summarize(runs: Sequence[Run], asked: int, *, keep_server: bool) -> RepeatsSummary:
    """What one run or more say together, of `asked` that were wanted."""
    whole = [run for run in runs if not run.run.interrupted]
    summaries, first = [run.summary for run in whole], runs[0].summary
    findings = [finding for check in repeat_checks.CHECKS for finding in check(whole, asked)]
    return RepeatsSummary(
        asked=asked,
        keep_server=keep_server,
        runs=tuple(run.name for run in whole),
        left_out=tuple(run.name for run in runs if run.run.interrupted),
        backend=first.backend,
        model=first.model,
        scenario=first.scenario,
        plan_hash=first.plan_hash,
        seed=first.seed,
        verdict=verdict(runs, findings),
        requests=_requests([summary.requests for summary in summaries]),
        metrics={name: _metric([summary.metric(name) for summary in summaries]) for name in METRICS},
        throughput=RepeatedThroughput(**_means(THROUGHPUT, [summary.throughput for summary in summaries])),
        cost=_cost([summary.cost for summary in summaries]),
    )


def _requests(outcomes: Sequence[RequestCounts]) -> RepeatedRequests:
    counts = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in COUNTS}
    return RepeatedRequests(**counts, by_error=sum((Counter(outcome.by_error) for outcome in outcomes), Counter()))


def _metric(described: Sequence[MetricSummary]) -> RepeatedMetric:
    return RepeatedMetric(count=sum(one.count for one in described), **_means(STATISTICS, described))


def _cost(costs: Sequence[RunCost | None]) -> RepeatedCost | None:
    known = all_known(costs)
    return RepeatedCost(**_means(COST, known)) if known else None


def _means(names: Sequence[str], found: Sequence[MetricSummary | Throughput | RunCost]) -> dict[str, Any]:
    """Each statistic's mean over the runs by its name, with `ci95` and `cv` of all."""
    over = {name: over_runs([getattr(one, name) for one in found]) for name in names}
    return {
        **{name: statistic.mean for name, statistic in over.items()},
        "ci95": {name: statistic.ci95 for name, statistic in over.items()},
        "cv": {name: statistic.cv for name, statistic in over.items()},
    }


def verdict(runs: Sequence[Run], own: Sequence[Finding]) -> RunVerdict:
    """The worst verdict of the runs and of our own findings; those of runs stand once, with the runs they are of."""
    statuses: list[Status] = [*(run.summary.verdict.status for run in runs), *(finding.status for finding in own)]
    worst: Status = max(statuses, key=SEVERITY.index, default="suspect")
    return RunVerdict(worst, (*(finding.written for finding in own), *_of_runs(runs)))


def _of_runs(runs: Sequence[Run]) -> list[WrittenFinding]:
    """The reasons of the runs by code, those of invalid runs first, in the words of the first run that has them."""
    ordered = sorted(runs, key=lambda run: run.summary.verdict.status != "invalid")
    found = together((reason.code, (run.name, reason)) for run in ordered for reason in run.summary.verdict.reasons)
    reasons = []
    for of_code in found.values():
        names = sorted({name for name, _ in of_code})
        where = f"all {len(runs)} runs" if 1 < len(names) == len(runs) else ", ".join(names)
        _, first = of_code[0]
        reasons.append(replace(first, message=f"{where}: {first.message}"))
    return reasons
