"""Telemetry's columns beside what nvidia-smi, the load and arithmetic say of the same stretch: pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analysis.run.energy import Series
from analysis.run.gpu import gpus, series
from analysis.run.metrics import NS_PER_S
from analysis.run.sections import GpuUse
from analysis.run.window import Window
from bench.telemetry.nvidia import throttle_names
from tests.gpu.smi import COLUMNS, EVERY_S, SmiAnswer, SmiDialect

HZ = 10
NEAR_NS = 100_000_000
"""Our samples this close to a call of nvidia-smi are of the same moment: one sampling interval at either end."""
MIB = 2**20

Points = Sequence[tuple[int, int, float | None]]
"""What another said, when its call began and ended in ns since the sampler's start; None where it did not tell."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How far apart two values may be: the larger of so many units and such a part of the other's value."""

    unit: str
    units: float
    part: float = 0.0
    scale: float = 1.0
    """What telemetry's value is multiplied by to be in that unit."""

    def at(self, theirs: float | None) -> float:
        """In units, beside that value of the other's."""
        return max(self.units, self.part * abs(theirs or 0.0))


ALLOWED = {
    "util_pct": Allowance("%", 5),
    "memory_used_bytes": Allowance("MiB", 64, scale=1 / MIB),
    "power_w": Allowance("W", 3, 0.03),
    "sm_clock_mhz": Allowance("MHz", 30, 0.03),
    "mem_clock_mhz": Allowance("MHz", 10, 0.01),
    "temperature_c": Allowance("°C", 2),
    "energy_j": Allowance("J", 20, 0.05),
    "reasons": Allowance("% of readings", 15),
    "samples": Allowance("/s", 0, 0.1),
    "answers": Allowance("/s", 0, 0.5),
    "idle": Allowance("%", 10),
    "busy": Allowance("%", 5),
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of ours beside the same one of another's, both in the allowance's unit; None where not told."""

    card: str
    stretch: str
    what: str
    ours: float | None
    beside: str
    theirs: float | None
    allowance: Allowance

    @property
    def verdict(self) -> str:
        """`ok`, `FAILED`, `MISSING` where only the other tells, `not told` where the other does not."""
        if self.theirs is None:
            return "not told"
        if self.ours is None:
            return "MISSING"
        # A value that is no number is never within.
        return "ok" if abs(self.ours - self.theirs) <= self.allowance.at(self.theirs) else "FAILED"

    @property
    def failed(self) -> bool:
        """Whether what we record is proven wrong, or absent though it could be had."""
        return self.verdict in ("FAILED", "MISSING")


def at_the_same_moments(ours: Series, theirs: Points) -> tuple[float | None, float | None]:
    """Mean of our samples around each point that tells, and mean of those points.

    Points that have none of our samples near them are left out, so that both are means over the same moments. The
    first is None where nothing of ours is near any, the second where none tells.
    """
    t_ns, values = ours
    told = [(before_ns, after_ns, value) for before_ns, after_ns, value in theirs if value is not None]
    pairs = []
    for before_ns, after_ns, value in told:
        near = values[(t_ns >= before_ns - NEAR_NS) & (t_ns <= after_ns + NEAR_NS)]
        if len(near):
            pairs.append((near.mean(), value))
    if not pairs:
        return None, float(np.mean([value for *_, value in told])) if told else None
    mine, other = np.mean(pairs, axis=0)
    return float(mine), float(other)


def integral(points: Points, span: Window) -> float | None:
    """Of values over the stretch, the first and last held to its ends; None where fewer than two tell."""
    told = [((before_ns + after_ns) / 2, value) for before_ns, after_ns, value in points if value is not None]
    if len(told) < 2:
        return None
    at_ns, values = np.array(told).T
    inner = at_ns[(at_ns > span.start_ns) & (at_ns < span.end_ns)]
    at = np.concatenate([[span.start_ns], inner, [span.end_ns]])
    return float(np.trapezoid(np.interp(at, at_ns, values), at / NS_PER_S))


def points(answers: Sequence[SmiAnswer], card: int, field: str, span: Window, start_ns: int) -> Points:
    """What was said of one field in calls that lie in the stretch; `start_ns` is the sampler's start."""
    return [
        (answer.before_ns - start_ns, answer.after_ns - start_ns, answer.value(card, field))
        for answer in answers
        if span.start_ns <= answer.before_ns - start_ns and answer.after_ns - start_ns <= span.end_ns
    ]


@dataclass(frozen=True, slots=True)
class GpuObservation:
    """All that was recorded, and when what was done; windows and telemetry's times count from `start_ns` (monotonic).

    `loaded` is the index of the card under load, `allocated_bytes` what was taken of it between `before` and `after`.
    """

    telemetry: pa.Table
    answers: Sequence[SmiAnswer]
    dialect: SmiDialect
    start_ns: int
    stretches: Mapping[str, Window]
    loaded: int
    allocated_bytes: int
    before: Window
    after: Window


def differences(seen: GpuObservation) -> list[Difference]:
    """Every one, card by card and stretch by stretch."""
    cards = sorted({card for answer in seen.answers for card in answer.cards})
    found: list[Difference] = []
    for card in cards:
        for stretch, span in seen.stretches.items():
            found += _beside_smi(seen, card, stretch, span)
            found += _beside_itself(seen, card, stretch, span)
        if card == seen.loaded:
            found += _beside_the_load(seen)
    return found


def _beside_smi(seen: GpuObservation, card: int, stretch: str, span: Window) -> Iterator[Difference]:
    """Each column, the energy, and the reasons that hold the clocks back."""
    name = f"gpu{card}"

    def said(field: str) -> Points:
        return points(seen.answers, card, field, span, seen.start_ns)

    answers = len(said("index")) / span.seconds
    yield Difference(name, stretch, "answers", answers, "once a second", 1 / EVERY_S, ALLOWED["answers"])
    for column, field in COLUMNS.items():
        allowance = ALLOWED[column]
        mine, other = at_the_same_moments(series(seen.telemetry, name, column), said(field))
        mine = None if mine is None else mine * allowance.scale
        yield Difference(name, stretch, column, mine, f"nvidia-smi {field}", other, allowance)
    drawn_j = integral(said(seen.dialect.instant_power), span)
    card_use = _gpu(seen.telemetry, card, span)
    energy_j = None if card_use is None else card_use.energy_j
    beside = f"integral of {seen.dialect.instant_power}"
    yield Difference(name, stretch, "energy_j", energy_j, beside, drawn_j, ALLOWED["energy_j"])
    t_ns, masks = series(seen.telemetry, name, "throttle_reasons")
    for reason, field in seen.dialect.reasons.items():
        active = np.array([reason in throttle_names(int(mask)) for mask in masks], dtype=np.float64)
        mine, other = at_the_same_moments((t_ns, active), said(field))
        if mine or other or reason == "software power cap":  # most of the others are of no card here
            mine, other = (None if share is None else 100 * share for share in (mine, other))
            yield Difference(name, stretch, reason, mine, f"nvidia-smi {field}", other, ALLOWED["reasons"])


def _beside_itself(seen: GpuObservation, card: int, stretch: str, span: Window) -> Iterator[Difference]:
    """How often the card was sampled, and its counter of energy beside its own power."""
    name = f"gpu{card}"
    columns = [series(seen.telemetry, name, column) for column in COLUMNS]
    counts = [int(span.holds(t_ns).sum()) for t_ns, _ in columns if len(t_ns)]
    rate = min(counts) / span.seconds if counts else None
    yield Difference(name, stretch, "samples", rate, "ten a second", HZ, ALLOWED["samples"])
    told = _gpu(seen.telemetry, card, span)
    if told is not None and told.energy_source == "counter" and told.power_w_mean is not None:
        beside, drawn_j = "mean of power_w x time", told.power_w_mean * span.seconds
        yield Difference(name, stretch, "energy_j", told.energy_j, beside, drawn_j, ALLOWED["energy_j"])


def _gpu(telemetry: pa.Table, card: int, span: Window) -> GpuUse | None:
    """What a run's summary would say of the card."""
    return next((row for row in gpus({}, telemetry, span) if row.index == card), None)


def _beside_the_load(seen: GpuObservation) -> Iterator[Difference]:
    """What must be true of a card that was left alone, and then kept busy with memory of a known size."""
    name = f"gpu{seen.loaded}"
    t_ns, util = series(seen.telemetry, name, "util_pct")
    if len(util):  # with MIG there is none
        for stretch, expected in (("idle", 0.0), ("busy", 100.0)):
            inside = util[seen.stretches[stretch].holds(t_ns)]
            mine = float(inside.mean()) if len(inside) else None
            yield Difference(name, stretch, "util_pct", mine, "what was done", expected, ALLOWED[stretch])
    t_ns, used = series(seen.telemetry, name, "memory_used_bytes")
    if len(used):
        before, after = (used[span.holds(t_ns)] for span in (seen.before, seen.after))
        grown = float(np.median(after) - np.median(before)) / MIB if len(before) and len(after) else None
        allowance, given = ALLOWED["memory_used_bytes"], seen.allocated_bytes / MIB
        yield Difference(name, "step", "memory_used_bytes", grown, "what was allocated", given, allowance)
