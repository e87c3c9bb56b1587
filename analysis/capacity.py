"""The highest rate at which objectives are met: which rate to try next, and what the tries together say.

Strategy: a closed loop tells roughly what the server can do; from there a coarse ramp finds a rate that meets the
objectives and one that does not, and bisection narrows the gap. Whether a rate meets them is judged by the share of
requests that keep each bound; Wilson's interval says how sure that is. Rates are Poisson, so the number of users does
not adapt to the server.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

Outcome = Literal["met", "missed", "saturated"]

_Z95 = NormalDist().inv_cdf(0.975)
_FIRST_SHARE = 0.5
_RAMP = 1.5
# Beyond this fraction of what a closed loop completed, objectives that no rate meets are not looked for any lower.
_LOWEST_SHARE = 1 / 128
# A server that completes less than this share of what is offered falls behind without end.
_KEEPS_UP = 0.9


class Probe(NamedTuple):
    """One run at one rate: of `calls` requests, `kept[i]` kept the bound that `wanted[i]` of them must keep."""

    rate_per_s: float
    repeat: int
    calls: int
    kept: tuple[int, ...]
    wanted: tuple[float, ...]
    completed_per_s: float
    folder: str

    @property
    def outcome(self) -> Outcome:
        """What the run says of its rate."""
        if self.completed_per_s < _KEEPS_UP * self.rate_per_s:
            return "saturated"
        met = all(kept >= wanted * self.calls for kept, wanted in zip(self.kept, self.wanted, strict=True))
        return "met" if met and self.calls else "missed"

    @property
    def is_sure(self) -> bool:
        """Whether the outcome would hold in 95 of 100 such runs, had its requests been independent."""
        bounds = [(*wilson(kept, self.calls), wanted) for kept, wanted in zip(self.kept, self.wanted, strict=True)]
        if self.outcome == "met":
            return all(low >= wanted for low, _, wanted in bounds)
        return self.outcome == "saturated" or any(high < wanted for _, high, wanted in bounds)


class Capacity(NamedTuple):
    """The highest rate that met the objectives (0: none did), between one that surely did and one that did not.

    `high_per_s` is None when no rate was missed.
    """

    rate_per_s: float
    low_per_s: float
    high_per_s: float | None
    reason: str


def probe(summary: Mapping[str, Any], rate_per_s: float, repeat: int, attainment: float | None, folder: str) -> Probe:
    """Read a run's summary as a probe.

    Each objective wants the share of requests that its percentile says or, with `attainment`, that share of requests
    must keep all of them.
    """
    calls, objectives = summary["requests"]["planned"], summary["slo"]
    if attainment is not None:
        shares = [(summary["throughput"]["slo_attainment"] or 0.0, attainment)]
    else:
        shares = [(each["attainment"] or 0.0, (each["percentile"] or 100.0) / 100) for each in objectives]
    return Probe(
        rate_per_s=rate_per_s,
        repeat=repeat,
        calls=calls,
        kept=tuple(round(share * calls) for share, _ in shares),
        wanted=tuple(wanted for _, wanted in shares),
        completed_per_s=summary["throughput"]["requests_per_s"] or 0.0,
        folder=folder,
    )


def next_probe(
    probes: Sequence[Probe], closed_loop_rps: float, precision: float, repeats: int
) -> tuple[float, int] | None:
    """The next (rate, repeat) to run; None when the answer is as narrow as `precision`, or cannot be found."""
    met, missed = _bracket(probes)
    if not probes:
        return closed_loop_rps * _FIRST_SHARE, 0
    if missed is None:
        assert met is not None
        return met * _RAMP, 0
    if met is None:
        lower = missed / 2
        return (lower, 0) if lower >= closed_loop_rps * _LOWEST_SHARE else None
    if missed / met - 1 > precision:
        return math.sqrt(met * missed), 0
    # Both ends are run again with other seeds: one run says nothing of how runs differ.
    for rate in (met, missed):
        done = sum(each.rate_per_s == rate for each in probes)
        if done < repeats:
            return rate, done
    return None


def capacity(probes: Sequence[Probe]) -> Capacity:
    """What the probes together say."""
    met, missed = _bracket(probes)
    if met is None:
        worst = min(probes, key=lambda each: each.rate_per_s)
        return Capacity(0.0, 0.0, missed, f"no rate down to {worst.rate_per_s:.3g}/s meets the objectives")
    by_rate = _by_rate(probes)
    sure = [rate for rate in by_rate if rate <= met and _is_sure(by_rate[rate], "met")]
    lost = [rate for rate in by_rate if rate > met and _is_sure(by_rate[rate], "missed")]
    reason = "saturated above it" if any(each.outcome == "saturated" for each in probes) else "missed above it"
    return Capacity(met, max(sure, default=0.0), min(lost, default=missed), reason)


def wilson(kept: int, calls: int) -> tuple[float, float]:
    """The 95% interval of a share. Source: Wilson 1927; https://www.itl.nist.gov/div898/handbook/prc/section2/prc241.htm."""
    if not calls:
        return 0.0, 1.0
    share, z2 = kept / calls, _Z95**2 / calls
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z95 / (1 + z2) * math.sqrt(share * (1 - share) / calls + z2 / (4 * calls))
    return max(0.0, middle - half), min(1.0, middle + half)


def calls_needed(wanted: Iterable[float]) -> int:
    """How many requests, if all keep the bound, make it sure that a share of `wanted` does; with a fifth to spare."""
    strictest = max((share for share in wanted if share < 1), default=0.9)
    return math.ceil(1.2 * _Z95**2 * strictest / (1 - strictest))


def _bracket(probes: Sequence[Probe]) -> tuple[float | None, float | None]:
    """(highest rate that is met, lowest that is not); a rate run several times is what most of its runs say."""
    by_rate = _by_rate(probes)
    missed = min((rate for rate, runs in by_rate.items() if not _is_met(runs)), default=None)
    met = max(
        (rate for rate, runs in by_rate.items() if _is_met(runs) and (missed is None or rate < missed)), default=None
    )
    return met, missed


def _by_rate(probes: Sequence[Probe]) -> dict[float, list[Probe]]:
    return {rate: [p for p in probes if p.rate_per_s == rate] for rate in sorted({p.rate_per_s for p in probes})}


def _is_met(runs: Sequence[Probe]) -> bool:
    return 2 * sum(run.outcome == "met" for run in runs) > len(runs)


def _is_sure(runs: Sequence[Probe], outcome: Literal["met", "missed"]) -> bool:
    """One run is sure by Wilson's interval; several are when they agree."""
    agree = all((run.outcome == "met") == (outcome == "met") for run in runs)
    return agree and (len(runs) > 1 or runs[0].is_sure)
