"""The runs of two sides, and what changed from the base to the candidate."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.compare import blocks
from analysis.compare.measures import MEASURES, Measure, value
from analysis.compare.stamps import StampsApart, stamps_apart
from analysis.run.agreement import OTHERWISE
from analysis.run.same_requests import have_same_requests
from analysis.run.summary import RunSummary
from analysis.stats.changes import LEAST_RUNS, ChangeEstimate, Verdict, adjusted, between_runs
from analysis.stats.changes import judged as judge_change
from analysis.stats.distributions import CONFIDENCE, UNKNOWN, Floats, t_quantile
from analysis.stats.shares import FailureCounts
from bench.runs.manifest import RunManifest

NO_RATIO: Final = "a change from or to zero has no ratio"
# Student's distribution of so many degrees of freedom is the normal one.
_Z: Final = t_quantile(1 - (1 - CONFIDENCE) / 2, 1000)

Inconclusive = Literal["fail", "pass"]
"""What an inconclusive measure is to a gate."""

Unit = Literal["run", "block", "pair"]
"""What is taken as independent."""

Estimator = Callable[[Measure, Floats, Floats], ChangeEstimate | str]
"""From a measure and its value in each run of the two sides to its change, or why that is unknown."""


class Run(NamedTuple):
    """A run by its folder, as it was named: its run.json and summary.json."""

    name: str
    run: RunManifest
    summary: RunSummary


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one measure. `base` and `candidate` are means over the runs, of what has a ratio geometric ones.

    So `change`, which is from one to the other, never has another sign than what stands beside it shows.
    `change` and `ci95` are relative, for a share differences; `p` is adjusted for its family of measures; None is
    unknown. What does not decide is shown only.
    """

    measure: Measure
    base: float | None
    candidate: float | None
    change: float | None
    ci95: tuple[float, float] | None
    p: float | None
    threshold: float
    verdict: Verdict
    why: str | None
    decides: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from the base to the candidate, and what there is to say of the comparison itself."""

    base: tuple[Run, ...]
    candidate: tuple[Run, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    unit: Unit

    @property
    def verdict(self) -> Verdict:
        """The worst of all measures that decide: worse, inconclusive, better, same."""
        return worst(change.verdict for change in self.changes if change.decides)

    def of(self, verdict: Verdict) -> tuple[Change, ...]:
        """The changes with this verdict, of measures that decide."""
        return tuple(change for change in self.changes if change.decides and change.verdict == verdict)

    def failing(self, inconclusive: Inconclusive) -> tuple[Change, ...]:
        """The changes that fail a gate."""
        return self.of("worse") + (self.of("inconclusive") if inconclusive == "fail" else ())


def worst(found: Iterable[Verdict]) -> Verdict:
    """The most serious of these verdicts; `same` where there is none."""
    ranked: tuple[Verdict, ...] = ("worse", "inconclusive", "better", "same")
    return min(found, key=ranked.index, default="same")


def compare(
    base: Sequence[Run],
    candidate: Sequence[Run],
    thresholds: Mapping[str, float],
    requests: tuple[pa.Table, pa.Table] | None = None,
    warnings: Sequence[str] = (),
) -> Comparison:
    """Compare runs that `check` let pass; `requests` are the tables of the two, where there is one run on each side."""
    estimator = estimator_of(base, candidate, requests)
    return judge(base, candidate, thresholds, estimator, "run" if requests is None else "block", warnings)


def estimator_of(
    base: Sequence[Run], candidate: Sequence[Run], requests: tuple[pa.Table, pa.Table] | None
) -> Estimator:
    """What tells a change from the spread between runs, or from the requests of the one run on each side."""
    if requests is None:
        return partial(_of_runs, base, candidate)
    first, second = (blocks.OneRun(side[0].run, side[0].summary, rows)
                     for side, rows in zip((base, candidate), requests, strict=True))  # fmt: skip
    errors = blocks.errors((first, second), same_plan=has_same_plans(base, candidate))
    return partial(_of_blocks, base[0], candidate[0], errors)


def has_same_plans(base: Sequence[Run], candidate: Sequence[Run]) -> bool:
    """Whether both sides offered the same loads."""
    return have_same_requests([run.run for run in base], [run.run for run in candidate])


def judge(
    base: Sequence[Run],
    candidate: Sequence[Run],
    thresholds: Mapping[str, float],
    estimator: Estimator,
    unit: Unit,
    warnings: Sequence[str] = (),
    deciding: Collection[str] = MEASURES,
) -> Comparison:
    """Judge the change of each measure that any run has, by what `estimator` makes of its values.

    Those named in `deciding` are a family of their own; the others are adjusted for all measures.
    """
    found = estimates(base, candidate, estimator)
    # Those that decide are held to their error rate whatever else is shown beside them.
    ps = adjusted(found) | adjusted({name: each for name, each in found.items() if name in deciding})
    changes = judged(base, candidate, thresholds, found, ps, deciding)
    return Comparison(tuple(base), tuple(candidate), changes, tuple(warnings), unit)


def estimates(base: Sequence[Run], candidate: Sequence[Run], estimator: Estimator) -> dict[str, ChangeEstimate | str]:
    """The change of each measure that any run has, by name, or why it is unknown."""
    found = {}
    for name, measure in MEASURES.items():
        first, second = _values(measure, base), _values(measure, candidate)
        if len(first) or len(second):
            is_whole = (len(first), len(second)) == (len(base), len(candidate))
            found[name] = estimator(measure, first, second) if is_whole else "unknown in some of the runs"
    return found


def judged(
    base: Sequence[Run],
    candidate: Sequence[Run],
    thresholds: Mapping[str, float],
    found: Mapping[str, ChangeEstimate | str],
    ps: Mapping[str, float],
    deciding: Collection[str] = MEASURES,
) -> tuple[Change, ...]:
    """What to call each change, by its p adjusted for its family, and by what other stamps may hide of a latency."""
    apart = stamps_apart(*([run.summary for run in side] for side in (base, candidate)))
    return tuple(
        _change(
            MEASURES[name],
            (_centre(MEASURES[name], base), _centre(MEASURES[name], candidate)),
            estimate,
            ps.get(name),
            thresholds[name],
            apart if MEASURES[name].unit == "ms" else None,
            decides=name in deciding,
        )
        for name, estimate in found.items()
    )


def _values(measure: Measure, runs: Sequence[Run]) -> Floats:
    """The measure in each run that knows it."""
    found = (value(measure, run.summary) for run in runs)
    return np.array([number for number in found if number is not None], np.float64)


def _centre(measure: Measure, runs: Sequence[Run]) -> float | None:
    """The mean over the runs on the scale on which changes are judged; None where no run knows the measure."""
    values = _values(measure, runs)
    if not len(values):
        return None
    if np.ptp(values) == 0:
        return float(values[0])  # which the exponential of its logarithm may miss by a rounding
    if measure.is_share:
        return float(values.mean())
    return math.exp(np.log(values).mean()) if values.min() > 0 else 0.0


def _of_runs(
    base: Sequence[Run], candidate: Sequence[Run], measure: Measure, first: Floats, second: Floats
) -> ChangeEstimate | str:
    if measure.is_share:
        return between_runs(first, second)._replace(counts=counts(base, candidate))
    # From nothing to nothing there is no ratio, and no change either.
    if not (first.any() or second.any()):
        return ChangeEstimate(0.0, 0.0, len(first) + len(second) - 2)
    if min(first.min(), second.min()) <= 0:
        return NO_RATIO
    return between_runs(np.log(first), np.log(second))


def _of_blocks(
    base: Run, candidate: Run, errors: blocks.Errors, measure: Measure, firsts: Floats, seconds: Floats
) -> ChangeEstimate | str:
    first, second = float(firsts[0]), float(seconds[0])
    # A run compared with itself is the same, however few requests it has, and whoever counted them.
    is_itself = base.name == candidate.name
    if measure.is_share:
        # Where calls are not there one by one, their counts alone tell the spread.
        error = 0.0 if first == second else errors.of.get(measure.name, 0.0)
        seen = None if is_itself else counts([base], [candidate])
        return ChangeEstimate(second - first, error, errors.degrees, counts=seen)
    if is_itself or first == second == 0:
        return ChangeEstimate(0.0, 0.0, errors.degrees)
    if min(first, second) <= 0:
        return NO_RATIO
    found = errors.of.get(measure.name) if measure.metric != "usd_per_request" else _of_cost(base, candidate)
    if measure.name in errors.otherwise:
        return f"{OTHERWISE}: {LEAST_RUNS} runs on each side"
    if found is None:
        wanted = f"{blocks.BEYOND} values beyond the percentile" if measure.statistic else "its interval"
        return f"its spread within a run is unknown without {wanted}: longer runs, or {LEAST_RUNS} on each side"
    return ChangeEstimate(math.log(second / first), found, errors.degrees)


def counts(base: Sequence[Run], candidate: Sequence[Run]) -> FailureCounts:
    """Failed requests on each side, over all its runs."""
    first, second = ([run.summary.requests for run in side] for side in (base, candidate))
    return FailureCounts(
        sum(requests.missed for requests in first),
        sum(requests.planned for requests in first),
        sum(requests.missed for requests in second),
        sum(requests.planned for requests in second),
    )


def _of_cost(base: Run, candidate: Run) -> float | None:
    """From the intervals that the two summaries give; equal costs have come of equal usage."""
    costs = [run.summary.cost for run in (base, candidate) if run.summary.cost is not None]
    if len({cost.usd_per_request for cost in costs}) == 1:
        return 0.0
    widths = []
    for cost in costs:
        low, high = cost.ci95.get("usd_per_request", UNKNOWN)
        if low is None or high is None or low <= 0:
            return None
        # On the scale of logarithms an interval is a standard error to either side, z times.
        widths.append(math.log(high / low) / (2 * _Z))
    return math.hypot(*widths)


def _change(
    measure: Measure,
    centres: tuple[float | None, float | None],
    found: ChangeEstimate | str,
    p: float | None,
    threshold: float,
    apart: StampsApart | None,
    *,
    decides: bool,
) -> Change:
    base, candidate = centres
    if isinstance(found, str) or p is None:
        return Change(measure, base, candidate, None, None, None, threshold, "inconclusive", str(found), decides)
    shown = judge_change(found, p, threshold, measure.better, is_share=measure.is_share)
    called, why = shown.verdict, shown.why
    if apart is not None and (hidden := apart.hides(called, base, candidate, threshold)):
        called, why = "inconclusive", hidden
    return Change(measure, base, candidate, shown.change, shown.ci95, p, threshold, called, why, decides)
