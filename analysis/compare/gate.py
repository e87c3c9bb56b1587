"""Did an engine or our own client get slower than a baseline that was measured on another day, perhaps elsewhere?

Strategy: a baseline has sessions, each of several rounds, of the CPU models that it knows. Now is one session more, so
how far it may be from them follows from how far they are from each other; only where base and now were measured
together, minutes apart on one machine, are their rounds compared, as runs are in analysis/compare. What is compared are
figures in units of reference work done beside it, so that a machine that is slower today changes nothing; counts that
are the same on every machine, which may not differ at all; and the client's error against the truth, which has a limit.
CPU time is compared whatever else runs on the machine. Wall-clock time means nothing beside other load: a round whose
run was disturbed by it has none.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from analysis.run.summary import RunSummary
from analysis.stats.changes import LEAST_RUNS, ChangeEstimate, Verdict, adjusted, between_runs, judged
from analysis.stats.distributions import Floats

Judgement = Verdict | Literal["different", "not judged"]
FAILING: Final = ("different", "worse")

DISTURBED: Final = frozenset({"other_load", "stolen_cores"})
"""The findings about a run that make its wall-clock times those of the machine's other load."""


@dataclass(frozen=True, slots=True)
class GateFigure:
    """What is compared in units of the reference work. `threshold` is the least change that matters, relative.

    On another CPU the ratio to the reference is another, so a figure is compared with those of the same CPU only.
    """

    name: str
    unit: str
    threshold: float

    @property
    def spread(self) -> float:
        """How far logarithms of sessions scatter where nobody has measured it (standard deviation)."""
        return math.log1p(self.threshold) / 3


FIGURES: Final = {
    figure.name: figure
    for figure in (
        GateFigure("llamacpp:cpu", "passes per output token", 0.30),
        GateFigure("llamacpp:tpot", "passes", 0.35),
        GateFigure("llamacpp:ttft", "passes", 0.40),
        GateFigure("vllm:cpu", "passes per output token", 0.60),
        GateFigure("vllm:tpot", "passes", 0.60),
        GateFigure("client:request_cpu", "reads per request", 0.30),
        GateFigure("client:read_cpu", "reads per read", 0.25),
        GateFigure("client:decode_cpu", "reads per token", 0.25),
    )
}
"""By part and name. vLLM's speed differs by a third from one quarter of an hour to the next where nothing changed."""

SPREAD_WORTH: Final = 8
"""A figure's `spread` counts as much as that of so many sessions and one more."""

LIMITS_MS: Final = {"first_token_error_ms": 2.0, "gap_error_ms": 2.0}
"""How far the client's stamps may be from the truth at p99, on any machine."""


class Round(NamedTuple):
    """What one round found of one part: counts that must be equal to the baseline's, and figures; None is unknown."""

    exact: Mapping[str, int | str]
    figures: Mapping[str, float | None]


Rounds = Mapping[str, Sequence[Round]]
"""The rounds of each part: an engine's by its backend's name, those of our client as `client`."""


class Base(NamedTuple):
    """What now is compared with: any session for what is the same on every machine, and those of this CPU.

    `together`: the one session was measured on this machine within the hour.
    """

    counts: Rounds
    sessions: Sequence[Rounds]
    together: bool


@dataclass(frozen=True, slots=True)
class GateResult:
    """What became of one figure or count. `base` and `now` are medians over the rounds, or the count.

    `change` and `ci95` are relative; `limit` is the least change that matters, in ms for what has a limit, None for
    counts, which may not differ; None is unknown.
    """

    name: str
    unit: str
    base: float | int | str | None
    now: float | int | str | None
    verdict: Judgement
    change: float | None = None
    ci95: tuple[float, float] | None = None
    limit: float | None = None
    p: float | None = None
    why: str | None = None

    @property
    def part(self) -> str:
        """The part it belongs to."""
        return self.name.partition(":")[0]


# --- from what was measured to figures ----------------------------------------------------------------------------


def engine_figures(
    summary: RunSummary, server_cpu_s: float, output_tokens: int, pass_cpu_s: float
) -> dict[str, float | None]:
    """An engine's figures of one run, in passes; of an invalid run all are unknown, of a disturbed one the times."""
    found = summary.verdict
    trusted = found.status != "invalid" and min(server_cpu_s, output_tokens) > 0
    known = summary.host.contended_share is not None  # too few samples say nothing of other load
    undisturbed = trusted and known and DISTURBED.isdisjoint(found.codes)
    return {
        "cpu": server_cpu_s / output_tokens / pass_cpu_s if trusted else None,
        **{
            name: _passes(summary.metric(f"{name}_ms").p50, pass_cpu_s) if undisturbed else None
            for name in ("tpot", "ttft")
        },
    }


def _passes(ms: float | None, pass_cpu_s: float) -> float | None:
    # Tokens that came in one piece have no time between them, which is no speed.
    return ms / 1000 / pass_cpu_s if ms else None


# --- judging -------------------------------------------------------------------------------------------------------


def judge(base: Base, now: Rounds) -> list[GateResult]:
    """What became of everything that both sides have, part by part; p is adjusted for the number of figures."""
    parts = [part for part in now if part in base.counts]
    sides = {
        f"{part}:{name}": ([_known(each.get(part, ()), name) for each in base.sessions], _known(now[part], name))
        for part in parts
        for name in now[part][0].figures
        if f"{part}:{name}" in FIGURES
    }
    found = {name: _estimate(FIGURES[name], *side, together=base.together) for name, side in sides.items()}
    # All figures of all parts are one family: a gate that passes nineteen times in twenty where nothing changed.
    ps = adjusted(found)
    findings: list[GateResult] = []
    for part in parts:
        findings += _counts(part, base.counts[part], now[part])
        findings += [
            _figure(name, sides[name], found[name], ps.get(name)) for name in sides if name.startswith(f"{part}:")
        ]
        findings += _limits(part, base.counts[part], now[part])
    return findings


def _known(rounds: Iterable[Round], name: str) -> list[float]:
    values = (each.figures.get(name) for each in rounds)
    return [value for value in values if value is not None]


NO_SESSION: Final = (
    "not in the baseline for this CPU: compare with another revision in the same job (--against), or add a session "
    "(--add)"
)


def _estimate(
    figure: GateFigure, sessions: Sequence[Sequence[float]], now: Sequence[float], *, together: bool
) -> ChangeEstimate | str:
    """How far now is from the sessions, on the scale of logarithms, or why that is not known."""
    if not sessions:
        return NO_SESSION
    known = [np.log(values) for values in sessions if len(values) >= LEAST_RUNS]
    if not known or len(now) < LEAST_RUNS:
        most = max(map(len, sessions))
        return (
            f"too few rounds undisturbed by other load: {most} of the baseline and {len(now)} now, "
            f"{LEAST_RUNS} are needed"
        )
    if together and len(known) == 1:
        return between_runs(known[0], np.log(now))
    return between_sessions(known, np.log(now), figure.spread)


def between_sessions(sessions: Sequence[Floats], now: Floats, spread: float) -> ChangeEstimate:
    """How far a session is from others: Student's prediction of one more, with a spread that is known beforehand.

    What a few sessions show of their spread is raised to `spread`, in proportion to how few they are (after Smyth,
    Linear models and empirical Bayes methods, Statistical Applications in Genetics 3, 2004).
    """
    means = np.array([session.mean() for session in sessions])
    degrees = SPREAD_WORTH + len(means) - 1
    variance = (SPREAD_WORTH * spread**2 + float(((means - means.mean()) ** 2).sum())) / degrees
    if len(means) >= LEAST_RUNS:
        variance = max(variance, float(means.var(ddof=1)))
    variance = max(variance, float(now.var(ddof=1)) / len(now))
    error = math.sqrt(variance * (1 + 1 / len(means)))
    return ChangeEstimate(float(now.mean() - means.mean()), error, degrees)


def _figure(
    name: str, sides: tuple[list[list[float]], list[float]], found: ChangeEstimate | str, p: float | None
) -> GateResult:
    figure = FIGURES[name]
    sessions, values = sides
    base = statistics.median([statistics.median(session) for session in sessions if session] or [math.nan])
    finding = GateResult(
        name,
        figure.unit,
        None if math.isnan(base) else base,
        statistics.median(values) if values else None,
        "not judged" if found == NO_SESSION else "inconclusive",
        limit=figure.threshold,
    )
    if isinstance(found, str) or p is None:
        return replace(finding, why=str(found))
    shown = judged(found, p, figure.threshold, "lower")
    return replace(finding, **shown._asdict(), p=p)


def _counts(part: str, base: Sequence[Round], now: Sequence[Round]) -> Iterator[GateResult]:
    for name, expected in base[0].exact.items():
        seen = next((each.exact.get(name) for each in now if each.exact.get(name) != expected), expected)
        yield GateResult(f"{part}:{name}", "", expected, seen, "same" if seen == expected else "different")


def _limits(part: str, base: Sequence[Round], now: Sequence[Round]) -> Iterator[GateResult]:
    for name, limit_ms in LIMITS_MS.items():
        if name not in now[0].figures:
            continue
        before, values = _known(base, name), _known(now, name)
        was, error_ms = (statistics.median(side) if side else None for side in (before, values))
        found: Judgement = "inconclusive"
        why = f"too few rounds undisturbed by other load: {len(values)}, {LEAST_RUNS} are needed"
        if len(values) >= LEAST_RUNS and error_ms is not None:
            found, why = "worse" if error_ms > limit_ms else "same", ""
        yield GateResult(f"{part}:{name}", "ms", was, error_ms, found, limit=limit_ms, why=why or None)


def failing(findings: Iterable[GateResult]) -> list[GateResult]:
    """The findings that fail the gate."""
    return [finding for finding in findings if finding.verdict in FAILING]


def undecided(findings: Sequence[GateResult]) -> list[str]:
    """The parts of which no figure could be compared for other load: of them the gate says nothing."""
    parts = dict.fromkeys(finding.part for finding in findings)
    compared = {finding.part for finding in findings if finding.change is not None or finding.verdict == "not judged"}
    return [part for part in parts if part not in compared]


def doubtful_baseline(rounds: Rounds) -> str | None:
    """Why these rounds cannot serve as a baseline; None where they can."""
    for part, each in rounds.items():
        if any(one.exact != each[0].exact for one in each):
            names = (name for name, value in each[0].exact.items() if any(one.exact[name] != value for one in each))
            return f"{part}:{next(names)} is not the same in all rounds"
        if each[0].exact.get("failures"):
            return f"{part}: {each[0].exact['failures']} requests failed"
        for name in each[0].figures:
            if name.endswith("cpu") and len(_known(each, name)) < LEAST_RUNS:
                return f"{part}:{name} is known in fewer than {LEAST_RUNS} rounds"
    return None


@dataclass(frozen=True, slots=True)
class Gate:
    """All that the gate has to say; `confirmed` are the parts that were measured again before anything failed."""

    baseline: str
    findings: tuple[GateResult, ...]
    notes: tuple[str, ...]
    confirmed: tuple[str, ...]
    rounds: Rounds

    @property
    def verdict(self) -> Literal["failed", "undecided", "passed"]:
        """Failed where anything is worse or different, undecided where some part could not be compared at all."""
        return "failed" if failing(self.findings) else "undecided" if undecided(self.findings) else "passed"


def listed(rounds: Rounds) -> dict[str, list[Mapping[str, Any]]]:
    """Rounds as they stand in JSON."""
    return {part: [each._asdict() for each in found] for part, found in rounds.items()}
