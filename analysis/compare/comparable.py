"""Whether the runs of several sides can be compared, and what there is to say against it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from analysis.compare.comparison import Run, has_same_plans
from analysis.run.phrasing import differing
from analysis.run.same_requests import FITTED, are_fitted
from analysis.run.slo import objectives_of
from analysis.stats.changes import LEAST_RUNS
from analysis.wording import cut, together
from bench.runs.manifest import RunManifest
from bench.types import UserError

REPEATED: Final = ("backend", "model", "load", "slo")
MOST_SHOWN: Final = 60


def check(*sides: Sequence[Run], different_plans: bool, untrusted: bool) -> tuple[str, ...]:
    """What there is to say against comparing the runs of these sides; raises UserError where they cannot be compared.

    The first side is the base.
    """
    names, runs = side_names(len(sides)), [run for side in sides for run in side]
    _check_sizes(dict(zip(names, map(len, sides), strict=True)))
    for side, name in zip(sides, names, strict=True):
        for run in side[1:]:
            if others := [key for key in REPEATED if getattr(run.run, key) != getattr(side[0].run, key)]:
                raise UserError(f"{name} {run.name}: has another {others[0]} than {side[0].name}: expected repeats")
    # A run may be compared with itself; of repeats one on both sides would make them look alike.
    on = Counter(name for side in sides for name in {run.name for run in side})
    if len(runs) > 2 and (several := [name for name, times in on.items() if times > 1]):
        where = "both sides" if len(sides) == 2 else "more than one side"
        raise UserError(f"{min(several)} is on {where}: expected other runs on each")
    warnings = [*_doubts(runs, untrusted=untrusted)]
    if foreign := [run.name for run in runs if run.run.imported]:
        # What was asked, and how, nobody knows: there is nothing to make alike.
        return (*warnings, f"{' and '.join(foreign)}: imported; whether the same requests were measured is not known")
    if other := [name for name, side in zip(names, sides, strict=True) if not has_same_plans(sides[0], side)]:
        if not different_plans:
            raise UserError(
                f"{names[0]} and {other[0]} have different plans, so other requests were measured: make their runs "
                "alike (scenario, load, seeds), or give --different-plans"
            )
        which = "the two sides have different plans" if len(sides) == 2 else f"{_listed(other)}: another plan than BASE"
        warnings.append(f"{which}: other requests were measured")
    if any(are_fitted(*([run.run for run in side] for side in (sides[0], other))) for other in sides[1:]):
        warnings.append(FITTED)
    if asked_otherwise := _asked_otherwise(runs):
        if not different_plans:
            raise UserError(f"the runs differ in {asked_otherwise}; make their runs alike, or give --different-plans")
        warnings.append(f"the runs differ in {asked_otherwise}")
    return (*warnings, *_differences(sides))


def side_names(sides: int) -> tuple[str, ...]:
    """What the sides are called on the command line."""
    return ("BASE", "CANDIDATE") if sides == 2 else ("BASE", *(f"CANDIDATE {n}" for n in range(1, sides)))


def _check_sizes(runs: Mapping[str, int]) -> None:
    """Refuse sides, with so many runs each, of which the spread between runs is known for some only."""
    if set(runs.values()) == {1} or min(runs.values()) >= LEAST_RUNS:
        return
    (first, n), *others = runs.items()
    counted = " and ".join([f"{first} has {n} run{'s' * (n != 1)}", *(f"{name} {n}" for name, n in others)])
    raise UserError(
        f"{counted}: expected one on each side, or {LEAST_RUNS} and more on {'both' if len(runs) == 2 else 'each'}, so "
        "that the spread between runs is known"
    )


def _asked_otherwise(runs: Sequence[Run]) -> str | None:
    """How some of the runs only were asked: it changes what is seen of the same server and the same plan."""
    worded = differing([run.run for run in runs])
    flags = [f"{flag} ({', '.join(cut(value, MOST_SHOWN) for value in values)})" for flag, values in worded.items()]
    meaning = ["requests were not worded alike"] if flags else []
    if len({bool(run.run.quick_ack) for run in runs}) > 1:
        flags.append("--quick-ack")
        meaning.append("a client of another kind was measured")
    return f"{' and '.join(flags)}: {' and '.join(meaning)}" if flags else None


def _doubts(runs: Sequence[Run], *, untrusted: bool) -> Iterable[str]:
    """What the verdicts of runs say against them; what they say of several is said once."""
    for run in runs:
        if run.summary.verdict.status == "invalid" and not untrusted:
            why = run.summary.verdict.because
            raise UserError(f"{run.name}: not to be trusted: {why}; repeat it, or give --untrusted")
    found = together((reason.code, (run, reason.message)) for run in runs for reason in run.summary.verdict.reasons)
    for (first, message), *others in found.values():
        who = f"{first.name} and {len(others)} more of {len(runs)} runs are" if others else f"{first.name} is"
        yield f"{who} {first.summary.verdict.status}: {message}"


def _differences(sides: Sequence[Sequence[Run]]) -> list[str]:
    """Where sides differ in what a user may not have meant to change."""
    found = []
    facts = [[_facts(run.run) for run in side] for side in sides]
    for name in facts[0][0]:
        listed = [_listed({of_run[name] for of_run in of_side}) for of_side in facts]
        if len(set(listed)) > 1:
            found.append(f"different {name}: {', then '.join(each for each, _ in groupby(listed))}")
    return found


def _facts(run: RunManifest) -> dict[str, str]:
    server, hardware = run.server, run.hardware
    return {
        "backend": run.backend,
        "model": run.model,
        "server version": f"{server.name} {server.version or '(unknown)'}",
        "objectives": ", ".join(each.text for each in objectives_of(run)) or "none",
        "window": run.window or "planned",
        "cache": run.cache or "unknown",
        "adaptation to the server": ", ".join(run.adapted or ()) or "none",
        "stamps": run.stamps.taken if run.stamps else "unknown",
        "backoff": "off" if run.backoff is False else "on",
        "CPU": f"{hardware.cpu} with {hardware.cores} cores",
        "operating system": hardware.os,
        "GPUs": ", ".join(_gpus(run)) or "none",
    }


def _gpus(run: RunManifest) -> list[str]:
    """The cards of the server where its exporters tell of any, else those of the client's machine."""
    if run.telemetry is not None and run.telemetry.gpus:
        parts = ((gpu, f" in {len(gpu.instances)} instances" if gpu.instances else "") for gpu in run.telemetry.gpus)
        return sorted(f"{gpu.name or 'unknown'}{cut}" for gpu, cut in parts)
    return [f"{gpu.name} (driver {gpu.driver or 'unknown'})" for gpu in run.hardware.gpus]


def _listed(values: Iterable[str]) -> str:
    return " and ".join(sorted(values))
