"""repeats.json from the runs of one load that was offered again and again: pure, so that it can be made again.

Each number is the mean over the runs of what each run's summary.json says, and its interval is Student's t with the run
as the unit: what a run's own sampling adds is part of what differs from run to run. Means are geometric, as comparisons
of runs are (analysis/compare): the ratio of two of them is the change that `compare` reports.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.checks import repeats as repeat_checks
from analysis.checks.finding import Finding
from analysis.compare.comparison import Run
from analysis.run.metrics import METRICS
from analysis.run.sections import MetricSummary, RunCost, Throughput
from analysis.run.summary import RunSummary, WrittenFinding
from analysis.stats.changes import LEAST_RUNS
from analysis.stats.distributions import LEVELS, Interval, Sample, mean_interval
from bench.runs.sections import dump

STATISTICS: Final = ("mean", *LEVELS)
THROUGHPUT: Final = (
    "requests_per_s",
    "output_tokens_per_s",
    "total_tokens_per_s",
    "goodput_rps",
    "slo_attainment",
)
COST: Final = (
    "usd_per_request",
    "usd_per_good_request",
    "usd_per_million_output_tokens",
    "usd_per_million_total_tokens",
)
COUNTS: Final = ("planned", "succeeded", "failed", "dropped", "unfinished")
_UNKNOWN: Final[Interval] = (None, None)
_SEVERITY: Final = ("valid", "suspect", "invalid")


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
    known = np.array([value for value in values if value is not None], np.float64)
    if not len(known) or len(known) < len(values):
        return OverRuns(None, _UNKNOWN, None)
    has_logs = known.min() > 0
    scaled = np.log(known) if has_logs else known
    low, high = mean_interval(Sample(scaled, np.arange(len(known) + 1))) if len(known) >= LEAST_RUNS else _UNKNOWN

    def back(value: float | None) -> float | None:
        return None if value is None else float(np.exp(value)) if has_logs else value

    around = float(known.mean())
    return OverRuns(
        back(float(scaled.mean())),
        (back(low), back(high)),
        float(known.std(ddof=1)) / around if len(known) > 1 and around else None,
    )


def summarize(runs: Sequence[Run], asked: int, *, keep_server: bool) -> dict[str, Any]:
    """repeats.json: what the runs say together, of `asked` that were wanted; their names are those of their folders.

    A run that was cut short is no repeat of the others: it is named in `left_out` and counts only for the verdict.
    """
    whole = [run for run in runs if not run.run.interrupted]
    summaries = [run.summary for run in whole]
    return {
        "schema": 1,
        "asked": asked,
        "keep_server": keep_server,
        "runs": [run.name for run in whole],
        "left_out": [run.name for run in runs if run.run.interrupted],
        **(_same(runs[0].summary) if runs else {}),
        "verdict": verdict(runs, [reason for check in repeat_checks.CHECKS for reason in check(whole, asked)]),
        "requests": _requests(summaries),
        "metrics": {name: _metric([summary.metric(name) for summary in summaries]) for name in METRICS},
        "throughput": _statistics(THROUGHPUT, [summary.throughput for summary in summaries]),
        "cost": _cost([summary.cost for summary in summaries]),
    }


def _same(summary: RunSummary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in ("backend", "model", "scenario", "plan_hash", "seed")}


def _requests(summaries: Sequence[RunSummary]) -> dict[str, Any]:
    """What became of the measured calls of all runs together."""
    outcomes = [summary.requests for summary in summaries]
    by_error = sum((Counter(outcome.by_error) for outcome in outcomes), Counter())
    return {name: sum(getattr(outcome, name) for outcome in outcomes) for name in COUNTS} | {"by_error": dict(by_error)}


def _metric(described: Sequence[MetricSummary]) -> dict[str, Any]:
    return {"count": sum(one.count for one in described)} | _statistics(STATISTICS, described)


def _cost(costs: Sequence[RunCost | None]) -> dict[str, Any] | None:
    known = [cost for cost in costs if cost is not None]
    return _statistics(COST, known) if known and len(known) == len(costs) else None


def _statistics(names: Sequence[str], found: Sequence[MetricSummary | Throughput | RunCost]) -> dict[str, Any]:
    """Each statistic's mean over the runs by its name, with `ci95` and `cv` of all."""
    over = {name: over_runs([getattr(one, name) for one in found]) for name in names}
    return {
        **{name: statistic.mean for name, statistic in over.items()},
        "ci95": {name: list(statistic.ci95) for name, statistic in over.items()},
        "cv": {name: statistic.cv for name, statistic in over.items()},
    }


def verdict(runs: Sequence[Run], own: Sequence[Finding]) -> dict[str, Any]:
    """The worst verdict of the runs and of our own reasons; those of runs are said once, with the runs they are of."""
    statuses = [*(run.summary.verdict.status for run in runs), *(reason.status for reason in own)]
    return {
        "status": max(statuses, key=_SEVERITY.index, default="suspect"),
        "reasons": [dump(finding) for finding in (*(reason.written for reason in own), *_of_runs(runs))],
    }


def _of_runs(runs: Sequence[Run]) -> list[WrittenFinding]:
    """The reasons of the runs by code, those of invalid runs first, in the words of the first run that has them."""
    ordered = sorted(runs, key=lambda run: run.summary.verdict.status != "invalid")
    found: dict[str, list[tuple[str, WrittenFinding]]] = {}
    for run in ordered:
        for reason in run.summary.verdict.reasons:
            found.setdefault(reason.code, []).append((run.name, reason))
    reasons = []
    for of_code in found.values():
        names = sorted({name for name, _ in of_code})
        where = f"all {len(runs)} runs" if 1 < len(names) == len(runs) else ", ".join(names)
        _, first = of_code[0]
        reasons.append(replace(first, message=f"{where}: {first.message}"))
    return reasons
