"""The runs of two sides, whether they can be compared, and what changed from the base to the candidate."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.compare import blocks
from analysis.compare.measures import MEASURES, Measure, value
from analysis.run.phrasing import differing
from analysis.run.summary import RunSummary
from analysis.stats.changes import LEAST_RUNS, ChangeEstimate, Verdict, between_runs, holm, verdict, why_undecided
from analysis.stats.distributions import CONFIDENCE, UNKNOWN, Floats, t_quantile
from analysis.stats.shares import FailureCounts
from bench.runs.manifest import RunManifest
from bench.types import UserError

NO_RATIO: Final = "a change from or to zero has no ratio"
REPEATED: Final = ("backend", "model", "load", "slo")
MOST_SHOWN: Final = 60
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
    """What became of one measure. `base` and `candidate` are medians over the runs.

    `change` and `ci95` are relative, for a share differences; `p` is adjusted for its family of measures; None is
    unknown. What does not decide is only told.
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
        found = {change.verdict for change in self.changes if change.decides}
        ranked: tuple[Verdict, ...] = ("worse", "inconclusive", "better")
        return next((verdict for verdict in ranked if verdict in found), "same")

    def of(self, verdict: Verdict) -> tuple[Change, ...]:
        """The changes with this verdict, of measures that decide."""
        return tuple(change for change in self.changes if change.decides and change.verdict == verdict)

    def failing(self, inconclusive: Inconclusive) -> tuple[Change, ...]:
        """The changes that close a gate to the candidate."""
        return self.of("worse") + (self.of("inconclusive") if inconclusive == "fail" else ())


# --- what can be compared ---------------------------------------------------------------------------------------


def check(base: Sequence[Run], candidate: Sequence[Run], *, different_plans: bool, untrusted: bool) -> tuple[str, ...]:
    """What there is to say against comparing these runs; raises UserError where they cannot be compared."""
    runs = [*base, *candidate]
    if not (len(base) == len(candidate) == 1 or min(len(base), len(candidate)) >= LEAST_RUNS):
        raise UserError(
            f"BASE has {len(base)} run{'s' * (len(base) != 1)} and CANDIDATE {len(candidate)}: expected one on each "
            f"side, or {LEAST_RUNS} and more on both, so that the spread between runs is known"
        )
    for side, name in ((base, "BASE"), (candidate, "CANDIDATE")):
        for run in side[1:]:
            if differing := [key for key in REPEATED if getattr(run.run, key) != getattr(side[0].run, key)]:
                raise UserError(f"{name} {run.name}: has another {differing[0]} than {side[0].name}: expected repeats")
    if len(runs) > 2 and (both := {run.name for run in base} & {run.name for run in candidate}):
        raise UserError(f"{min(both)} is on both sides: expected other runs on each")
    warnings = [*_doubts(runs, untrusted=untrusted)]
    if not has_same_plans(base, candidate):
        if not different_plans:
            raise UserError(
                "BASE and CANDIDATE have different plans, so other requests were measured: make their runs alike "
                "(scenario, load, seeds), or give --different-plans"
            )
        warnings.append("the two sides have different plans: other requests were measured")
    if asked_otherwise := _asked_otherwise(base, candidate):
        if not different_plans:
            raise UserError(f"the runs differ in {asked_otherwise}; make their runs alike, or give --different-plans")
        warnings.append(f"the runs differ in {asked_otherwise}")
    return (*warnings, *_differences(base, candidate))


def has_same_plans(base: Sequence[Run], candidate: Sequence[Run]) -> bool:
    """Whether both sides offered the same loads: the same plan, or repeats with the same set of seeds."""
    return {run.run.plan_hash for run in base} == {run.run.plan_hash for run in candidate}


def _asked_otherwise(base: Sequence[Run], candidate: Sequence[Run]) -> str | None:
    """How some of the runs only were asked: it changes what is seen of the same server and the same plan."""
    runs = [run.run for run in (*base, *candidate)]
    flags = [f"{flag} ({', '.join(map(_shortened, values))})" for flag, values in differing(runs).items()]
    meaning = ["requests were not worded alike"] if flags else []
    if len({bool(run.quick_ack) for run in runs}) > 1:
        flags.append("--quick-ack")
        meaning.append("a client of another kind was measured")
    return f"{' and '.join(flags)}: {' and '.join(meaning)}" if flags else None


def _shortened(value: str) -> str:
    return value if len(value) <= MOST_SHOWN else f"{value[:MOST_SHOWN]}…"


def _doubts(runs: Sequence[Run], *, untrusted: bool) -> Iterable[str]:
    """What the verdicts of runs say against them; what they say of several is said once."""
    found: dict[str, list[tuple[Run, str]]] = {}
    for run in runs:
        if run.summary.verdict.status == "invalid" and not untrusted:
            raise UserError(f"{run.name}: not to be trusted: {reasons(run)}; repeat it, or give --untrusted")
        for reason in run.summary.verdict.reasons:
            found.setdefault(reason.code, []).append((run, reason.message))
    for (first, message), *others in found.values():
        who = f"{first.name} and {len(others)} more of {len(runs)} runs are" if others else f"{first.name} is"
        yield f"{who} {first.summary.verdict.status}: {message}"


def reasons(run: Run) -> str:
    """Why a run is suspect or invalid."""
    return "; ".join(reason.message for reason in run.summary.verdict.reasons)


def _differences(base: Sequence[Run], candidate: Sequence[Run]) -> list[str]:
    """Where the two sides differ in what a user may not have meant to change."""
    found = []
    facts = [[_facts(run.run) for run in side] for side in (base, candidate)]
    for name in facts[0][0]:
        first, second = ({side_facts[name] for side_facts in side} for side in facts)
        if first != second:
            found.append(f"different {name}: {_listed(first)}, then {_listed(second)}")
    return found


def _facts(run: RunManifest) -> dict[str, str]:
    server, hardware = run.server, run.hardware
    gpus = [f"{gpu.name} (driver {gpu.driver or 'unknown'})" for gpu in hardware.gpus]
    return {
        "backend": run.backend,
        "model": run.model,
        "server version": f"{server.name} {server.version or '(unknown)'}",
        "objectives": ", ".join(run.slo) or "none",
        "window": run.window or "planned",
        "cache": run.cache or "unknown",
        "adaptation to the server": ", ".join(run.adapted or ()) or "none",
        "backoff": "off" if run.backoff is False else "on",
        "CPU": f"{hardware.cpu} with {hardware.cores} cores",
        "operating system": hardware.os,
        "GPUs": ", ".join(gpus) or "none",
    }


def _listed(values: Iterable[str]) -> str:
    return " and ".join(sorted(values))


# --- what changed -----------------------------------------------------------------------------------------------


def compare(
    base: Sequence[Run],
    candidate: Sequence[Run],
    thresholds: Mapping[str, float],
    requests: tuple[pa.Table, pa.Table] | None = None,
    warnings: Sequence[str] = (),
) -> Comparison:
    """Compare runs that `check` let pass; `requests` are the tables of the two, where there is one run on each side."""
    if requests is None:
        return judge(base, candidate, thresholds, partial(_of_runs, base, candidate), "run", warnings)
    sides = [(base[0].run, requests[0]), (candidate[0].run, requests[1])]
    errors = blocks.errors(sides, same_plan=has_same_plans(base, candidate))
    return judge(base, candidate, thresholds, partial(_of_blocks, base[0], candidate[0], errors), "block", warnings)


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
    values = {name: tuple(_values(measure, side) for side in (base, candidate)) for name, measure in MEASURES.items()}
    shown = {name: found for name, found in values.items() if any(len(side) for side in found)}
    estimates = {
        name: estimator(MEASURES[name], first, second)
        if (len(first), len(second)) == (len(base), len(candidate))
        else "unknown in some of the runs"
        for name, (first, second) in shown.items()
    }
    ps = {name: found.p for name, found in estimates.items() if isinstance(found, ChangeEstimate)}
    adjusted = _holm(ps) | _holm({name: p for name, p in ps.items() if name in deciding})
    changes = (
        _change(name, found, estimates[name], adjusted.get(name), thresholds[name], decides=name in deciding)
        for name, found in shown.items()
    )
    return Comparison(tuple(base), tuple(candidate), tuple(changes), tuple(warnings), unit)


def _holm(ps: Mapping[str, float]) -> dict[str, float]:
    return dict(zip(ps, holm(list(ps.values())), strict=True))


def _values(measure: Measure, runs: Sequence[Run]) -> Floats:
    """The measure in each run that knows it."""
    found = (value(measure, run.summary) for run in runs)
    return np.array([number for number in found if number is not None], np.float64)


def _of_runs(
    base: Sequence[Run], candidate: Sequence[Run], measure: Measure, first: Floats, second: Floats
) -> ChangeEstimate | str:
    if measure.is_share:
        return between_runs(first, second)._replace(counts=counts(base, candidate))
    if not (first.any() or second.any()):
        return ChangeEstimate(0.0, 0.0, len(first) + len(second) - 2)
    if min(first.min(), second.min()) <= 0:
        return NO_RATIO
    return between_runs(np.log(first), np.log(second))


def _of_blocks(
    base: Run, candidate: Run, errors: blocks.Errors, measure: Measure, firsts: Floats, seconds: Floats
) -> ChangeEstimate | str:
    first, second = float(firsts[0]), float(seconds[0])
    if measure.is_share:
        error = 0.0 if first == second else errors.of[measure.name]
        # A run compared with itself is the same, however few requests it has.
        seen = None if base.name == candidate.name else counts([base], [candidate])
        return ChangeEstimate(second - first, error, errors.degrees, counts=seen)
    if first == second == 0:
        return ChangeEstimate(0.0, 0.0, errors.degrees)
    if min(first, second) <= 0:
        return NO_RATIO
    found = errors.of.get(measure.name) if measure.metric != "usd_per_request" else _of_cost(base, candidate)
    if found is None:
        wanted = f"{blocks.BEYOND} values beyond the percentile" if measure.statistic else "its interval"
        return f"its spread within a run is unknown without {wanted}: longer runs, or {LEAST_RUNS} on each side"
    return ChangeEstimate(math.log(second / first), found, errors.degrees)


def counts(base: Sequence[Run], candidate: Sequence[Run]) -> FailureCounts:
    """What failed on each side, of all its runs together."""
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
        widths.append(math.log(high / low) / (2 * _Z))
    return math.hypot(*widths)


def _change(
    name: str,
    values: Sequence[Floats],
    found: ChangeEstimate | str,
    p: float | None,
    threshold: float,
    *,
    decides: bool,
) -> Change:
    measure = MEASURES[name]
    base, candidate = (float(np.median(side)) if len(side) else None for side in values)
    if isinstance(found, str) or p is None:
        return Change(measure, base, candidate, None, None, None, threshold, "inconclusive", str(found), decides)
    limit = threshold if measure.is_share else math.log1p(threshold)
    judged = verdict(found, p, limit, measure.better)
    scale = (lambda x: x) if measure.is_share else _relative
    return Change(
        measure=measure,
        base=base,
        candidate=candidate,
        change=scale(found.change),
        ci95=(scale(found.ci95[0]), scale(found.ci95[1])),
        p=p,
        threshold=threshold,
        verdict=judged,
        why=why_undecided(found, limit) if judged == "inconclusive" else None,
        decides=decides,
    )


def _relative(log_ratio: float) -> float:
    # Beyond any change that a table can show, and still a number in JSON.
    return math.expm1(min(log_ratio, 700.0))
