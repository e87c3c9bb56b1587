"""How much energy GPUs took over the window, how much of it was watched, and what that is for a token or a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from analysis.run.metrics import NS_PER_S
from analysis.run.sections import GpuUse, Throughput
from analysis.run.window import Window
from analysis.stats.distributions import Floats
from bench.runs.manifest import RunManifest
from bench.runs.sections import JsonSection

Series = tuple[Floats, Floats]

ENOUGH = 0.9
"""Of a window of which less was watched, the energy is not known."""
# Samples so many of their usual intervals apart, and at least so far, are the ends of a gap.
GAP_INTERVALS, GAP_NS = 4.0, 1e9
# An exporter shows a value until it has the next: asked more often than that, it repeats itself.
STALE_INTERVALS = 1.5
J_PER_KWH, J_PER_WH = 3.6e6, 3600.0


class CardEnergy(NamedTuple):
    """The energy of one GPU over a window, of which kind of samples, and the share of the window that they cover."""

    joules: float | None
    source: Literal["counter", "power"] | None
    coverage: float


def of_card(power: Series, counter: Series, span: Window) -> CardEnergy:
    """The rise of a counter in J, or else the integral of power in W; None where less than ENOUGH is covered.

    A counter that began anew in the window does not know what it had counted last: power goes before it then.
    """
    resolved = _resolved(counter, span)
    counted, began_anew = _rise(counter, span)
    candidates = [
        CardEnergy(counted, "counter", min(resolved, coverage(counter[0], span))),
        CardEnergy(_integral(power, span), "power", min(resolved, coverage(power[0], span))),
    ]
    # The counter first: it has what lies between two samples, where power is known only at them.
    known = [each for each in candidates if each.joules is not None and each.coverage >= ENOUGH]
    if not known:
        return CardEnergy(None, None, max(each.coverage for each in candidates))
    return known[-1] if began_anew else known[0]


def of_counter(counter: Series, span: Window) -> CardEnergy:
    """The rise of a counter alone, as `of_card`."""
    return of_card((np.empty(0), np.empty(0)), counter, span)


def coverage(t_ns: Floats, span: Window) -> float:
    """The share of the window that lies between samples without a gap, or one usual interval beyond the outermost."""
    if len(t_ns) < 2 or span.end_ns <= span.start_ns:
        return 0.0
    # The median: gaps are what is looked for, and must not widen what counts as usual.
    usual_ns = float(np.median(np.diff(t_ns)))
    at = np.concatenate([[t_ns[0] - usual_ns], t_ns, [t_ns[-1] + usual_ns]])
    inside = np.minimum(at[1:], span.end_ns) - np.maximum(at[:-1], span.start_ns)
    whole = np.diff(at) <= max(GAP_INTERVALS * usual_ns, GAP_NS)
    return float(np.maximum(inside, 0.0)[whole].sum() / (span.end_ns - span.start_ns))


def _fresh(sampled: Series) -> Series:
    """The samples at which a counter is seen to have moved, and the first."""
    t_ns, values = sampled
    moved = np.concatenate([[True], np.diff(values) != 0])[: len(values)]
    return t_ns[moved], values[moved]


def _resolved(counter: Series, span: Window) -> float:
    """The share of the window that is left when it begins and ends anywhere between two values of a stale source."""
    sampled_ns, renewed_ns = (np.diff(t_ns) for t_ns in (counter[0], _fresh(counter)[0]))
    if not len(renewed_ns) or np.median(renewed_ns) <= STALE_INTERVALS * np.median(sampled_ns):
        return 1.0
    return max(0.0, 1.0 - float(np.median(renewed_ns)) / max(span.end_ns - span.start_ns, 1))


def _rise(counter: Series, span: Window) -> tuple[float | None, bool]:
    """How much a counter rose over the window, and whether it began anew there.

    What it had counted by then nobody knows: it is taken to have risen as fast as just before and just after, between
    which its rate changed evenly.
    """
    t_ns, values = _fresh(counter)
    if len(t_ns) < 2:
        return None, False
    steps, took_ns = np.diff(values), np.diff(t_ns)
    anew = steps < 0
    if anew.all():
        return None, True
    middles, seen = t_ns[:-1] + took_ns / 2, ~anew
    steps = np.where(anew, took_ns * np.interp(middles, middles[seen], (steps / took_ns)[seen]), steps)
    # Beyond the outermost samples it rises as between the two next to them.
    at = np.concatenate([[2 * t_ns[0] - t_ns[1]], t_ns, [2 * t_ns[-1] - t_ns[-2]]])
    level = np.concatenate([[-steps[0], 0.0], np.cumsum([*steps, steps[-1]])])
    at_start, at_end = np.interp([span.start_ns, span.end_ns], at, level)
    touched = anew & (t_ns[:-1] < span.end_ns) & (t_ns[1:] > span.start_ns)
    return float(at_end - at_start), bool(touched.any())


def _integral(power: Series, span: Window) -> float | None:
    """The integral over the window in value-seconds, by trapezoids; None without two samples."""
    t_ns, _ = power
    if len(t_ns) < 2:
        return None
    inner = t_ns[(t_ns > span.start_ns) & (t_ns < span.end_ns)]
    # Beyond the outermost samples `interp` holds their value: an interval at most, or the window is not covered.
    at_ns = np.concatenate([[span.start_ns], inner, [span.end_ns]])
    return float(np.trapezoid(np.interp(at_ns, *power), at_ns / NS_PER_S))


# --- the run ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunEnergy(JsonSection):
    """The energy of all GPUs of the server over the window, and of what was served in it; `why` where it is not known.

    `gpus` counts the server's: there are none where only those of another machine were sampled. `coverage` is
    that of the GPU that was watched least. Of gCO2e there is something only with a grid's factor.
    """

    gpus: int
    joules: float | None = None
    source: Literal["counter", "power", "both"] | None = None
    coverage: float | None = None
    joules_per_output_token: float | None = None
    joules_per_token: float | None = None
    joules_per_request: float | None = None
    wh_per_1000_requests: float | None = None
    output_tokens_per_joule: float | None = None
    grid_gco2e_per_kwh: float | None = None
    gco2e: float | None = None
    gco2e_per_1000_requests: float | None = None
    why: str | None = None


def of_run(run: RunManifest, cards: Sequence[GpuUse], served: Throughput, span: Window) -> RunEnergy | None:
    """What the GPUs took for what was served; None where none was sampled."""
    if not cards:
        return None
    known = [card.energy_j for card in cards if card.energy_j is not None]
    least = min(card.energy_coverage or 0.0 for card in cards)
    factor = None if run.grid_gco2e_per_kwh is None else float(run.grid_gco2e_per_kwh)
    if (why := not_the_servers(run)) is not None:
        return RunEnergy(gpus=0, grid_gco2e_per_kwh=factor, why=why)
    if len(known) < len(cards):
        why = _unknown(least, len(cards) - len(known))
        return RunEnergy(gpus=len(cards), coverage=least, grid_gco2e_per_kwh=factor, why=why)
    joules = sum(known)
    sources = {card.energy_source for card in cards}
    each = _per(joules, served.requests_per_s, span)
    per_output = _per(joules, served.output_tokens_per_s, span)
    return RunEnergy(
        gpus=len(cards),
        joules=joules,
        source="both" if len(sources) > 1 else cards[0].energy_source,
        coverage=least,
        joules_per_output_token=per_output,
        joules_per_token=_per(joules, served.total_tokens_per_s, span),
        joules_per_request=each,
        wh_per_1000_requests=None if each is None else 1000 * each / J_PER_WH,
        output_tokens_per_joule=1 / per_output if per_output else None,
        grid_gco2e_per_kwh=factor,
        gco2e=None if factor is None else joules / J_PER_KWH * factor,
        gco2e_per_1000_requests=None if factor is None or each is None else 1000 * each / J_PER_KWH * factor,
    )


def not_the_servers(run: RunManifest) -> str | None:
    """Why the GPUs that were sampled are not those of the server; None where they are."""
    if run.telemetry is None or run.telemetry.server_is_here is not False or run.telemetry.gpus:
        return None
    return "the server is on another machine, and its GPUs were not seen: --metrics-url names their exporter"


def _unknown(least: float, cards: int) -> str:
    of = "one GPU" if cards == 1 else f"{cards} GPUs"
    if least < ENOUGH:
        return f"only {least:.0%} of the window was watched of {of}; {ENOUGH:.0%} are needed"
    return f"{of} told neither energy nor power"


def _per(joules: float, rate_per_s: float | None, span: Window) -> float | None:
    """Of one of what was served at this rate in the window."""
    return joules / (rate_per_s * span.seconds) if rate_per_s and span.seconds else None
