"""The runs of two sides, whether they can be compared, and what changed from the base to the candidate."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.compare import blocks
from analysis.compare.changes import LEAST_RUNS, Estimate, Verdict, between_runs, doubt, holm, verdict
from analysis.compare.measures import MEASURES, Measure, value
from analysis.stats import CONFIDENCE, Floats, t_quantile
from bench.types import UserError

REPEATED: Final = ("backend", "model", "load", "slo")
_Z: Final = t_quantile(1 - (1 - CONFIDENCE) / 2, 1000)


class Run(NamedTuple):
    """A run by its folder, as it was named: its run.json and summary.json."""

    name: str
    run: Mapping[str, Any]
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one measure. `base` and `candidate` are medians over the runs.

    `change` and `ci95` are relative, for a share differences; `p` is adjusted for all measures; None is unknown.
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


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from the base to the candidate, and what there is to say of the comparison itself."""

    base: tuple[Run, ...]
    candidate: tuple[Run, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]

    @property
    def unit(self) -> Literal["run", "block"]:
        """What was taken as independent."""
        return "run" if len(self.base) > 1 else "block"

    @property
    def verdict(self) -> Verdict:
        """The worst of all measures: worse, inconclusive, better, same."""
        found = {change.verdict for change in self.changes}
        ranked: tuple[Verdict, ...] = ("worse", "inconclusive", "better")
        return next((verdict for verdict in ranked if verdict in found), "same")

    def of(self, verdict: Verdict) -> tuple[Change, ...]:
        """The changes with this verdict."""
        return tuple(change for change in self.changes if change.verdict == verdict)


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
            if differing := [key for key in REPEATED if run.run[key] != side[0].run[key]]:
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
    return (*warnings, *_differences(base, candidate))


def has_same_plans(base: Sequence[Run], candidate: Sequence[Run]) -> bool:
    """Whether both sides offered the same loads: the same plan, or repeats with the same set of seeds."""
    return {run.run["plan_hash"] for run in base} == {run.run["plan_hash"] for run in candidate}


def _doubts(runs: Iterable[Run], *, untrusted: bool) -> Iterable[str]:
    for run in runs:
        found = run.summary["verdict"]
        if found["status"] == "valid":
            continue
        reasons = "; ".join(reason["message"] for reason in found["reasons"])
        if found["status"] == "invalid" and not untrusted:
            raise UserError(f"{run.name}: not to be trusted: {reasons}; repeat it, or give --untrusted")
        yield f"{run.name} is {found['status']}: {reasons}"


def _differences(base: Sequence[Run], candidate: Sequence[Run]) -> list[str]:
    """Where the two sides differ in what a user may not have meant to change."""
    found = []
    facts = [[_facts(run.run) for run in side] for side in (base, candidate)]
    for name in facts[0][0]:
        first, second = ({side_facts[name] for side_facts in side} for side in facts)
        if first != second:
            found.append(f"different {name}: {_listed(first)}, then {_listed(second)}")
    return found


def _facts(run: Mapping[str, Any]) -> dict[str, str]:
    server, hardware = run["server"], run["hardware"]
    gpus = [f"{gpu['name']} (driver {gpu['driver'] or 'unknown'})" for gpu in hardware["gpus"]]
    return {
        "backend": str(run["backend"]),
        "model": str(run["model"]),
        "server version": f"{server['name']} {server['version'] or '(unknown)'}",
        "objectives": ", ".join(run["slo"]) or "none",
        "cache": str(run.get("cache") or "unknown"),
        "CPU": f"{hardware['cpu']} with {hardware['cores']} cores",
        "operating system": str(hardware["os"]),
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
    errors = None
    if requests is not None:
        sides = [(base[0].run, requests[0]), (candidate[0].run, requests[1])]
        errors = blocks.errors(sides, same_plan=has_same_plans(base, candidate))
    values = {name: tuple(_values(measure, side) for side in (base, candidate)) for name, measure in MEASURES.items()}
    shown = {name: found for name, found in values.items() if any(len(side) for side in found)}
    estimates: dict[str, Estimate | str] = {}
    for name, (first, second) in shown.items():
        if len(first) < len(base) or len(second) < len(candidate):
            estimates[name] = "unknown in some of the runs"
        elif errors is None:
            estimates[name] = _of_runs(MEASURES[name], base, candidate, first, second)
        else:
            estimates[name] = _of_blocks(MEASURES[name], base[0], candidate[0], errors)
    known = {name: found for name, found in estimates.items() if isinstance(found, Estimate)}
    ps = dict(zip(known, holm([found.p for found in known.values()]), strict=True))
    changes = (_change(name, shown[name], estimates[name], ps.get(name), thresholds[name]) for name in shown)
    return Comparison(tuple(base), tuple(candidate), tuple(changes), tuple(warnings))


def _values(measure: Measure, runs: Sequence[Run]) -> Floats:
    """The measure in each run that knows it."""
    found = (value(measure, run.summary) for run in runs)
    return np.array([number for number in found if number is not None], np.float64)


def _of_runs(
    measure: Measure, base: Sequence[Run], candidate: Sequence[Run], first: Floats, second: Floats
) -> Estimate | str:
    if measure.is_share:
        found = between_runs(first, second)
        calls = [sum(run.summary["requests"]["planned"] for run in side) for side in (base, candidate)]
        return found._replace(error=max(found.error, _of_counts(first.mean(), second.mean(), calls)))
    if not (first.any() or second.any()):
        return Estimate(0.0, 0.0, len(first) + len(second) - 2)
    if min(first.min(), second.min()) <= 0:
        return "a change from or to zero has no ratio"
    return between_runs(np.log(first), np.log(second))


def _of_blocks(measure: Measure, base: Run, candidate: Run, errors: blocks.Errors) -> Estimate | str:
    first, second = value(measure, base.summary), value(measure, candidate.summary)
    assert first is not None and second is not None
    if measure.is_share:
        calls = [run.summary["requests"]["planned"] for run in (base, candidate)]
        error = 0.0 if first == second else max(errors.of[measure.name], _of_counts(first, second, calls))
        return Estimate(second - first, error, errors.degrees)
    if first == second == 0:
        return Estimate(0.0, 0.0, errors.degrees)
    if min(first, second) <= 0:
        return "a change from or to zero has no ratio"
    found = errors.of.get(measure.name) if measure.metric != "usd_per_request" else _of_cost(base, candidate)
    if found is None:
        wanted = f"{blocks.BEYOND} values beyond the percentile" if measure.statistic else "its interval"
        return f"its spread within a run is unknown without {wanted}: longer runs, or {LEAST_RUNS} on each side"
    return Estimate(math.log(second / first), found, errors.degrees)


def _of_counts(first: float, second: float, calls: Sequence[int]) -> float:
    """The error that the difference of two shares has at least, when nothing but chance decides on each call."""
    share = (first * calls[0] + second * calls[1]) / sum(calls)
    return math.sqrt(share * (1 - share) * sum(1 / n for n in calls))


def _of_cost(base: Run, candidate: Run) -> float | None:
    """From the intervals that the two summaries give; equal costs have come of equal usage."""
    costs = [run.summary["cost"] for run in (base, candidate)]
    if costs[0]["usd_per_request"] == costs[1]["usd_per_request"]:
        return 0.0
    widths = []
    for cost in costs:
        low, high = cost["ci95"].get("usd_per_request") or (None, None)
        if low is None or high is None or low <= 0:
            return None
        widths.append(math.log(high / low) / (2 * _Z))
    return math.hypot(*widths)


def _change(name: str, values: Sequence[Floats], found: Estimate | str, p: float | None, threshold: float) -> Change:
    measure = MEASURES[name]
    base, candidate = (float(np.median(side)) if len(side) else None for side in values)
    if isinstance(found, str) or p is None:
        return Change(measure, base, candidate, None, None, None, threshold, "inconclusive", str(found))
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
        why=doubt(found, limit) if judged == "inconclusive" else None,
    )


def _relative(log_ratio: float) -> float:
    # Beyond any change that a table can show, and still a number in JSON.
    return math.expm1(min(log_ratio, 700.0))
