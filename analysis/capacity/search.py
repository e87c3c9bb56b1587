"""The highest rate at which objectives are met: which rate to try next, and what the tries together say.

Strategy: a closed loop tells roughly what the server can do; from there a coarse ramp finds a rate that meets the
objectives and one that does not, and bisection narrows the gap; both ends are then repeated, and left for a rate
farther out where they stay in doubt. A rate is saturated when work piles up: calls then wait longer the later they
come. Rates are Poisson, so the number of users does not adapt to the server. All of it is a function of the probes so
far, so that a test can drive the whole search against a server in virtual time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, median_low
from typing import Final, Literal, NamedTuple

from analysis.capacity.reserve import calls_until_spent
from analysis.stats.distributions import all_known, t_quantile

Outcome = Literal["met", "missed", "saturated"]

_Z95: Final = NormalDist().inv_cdf(0.975)
_FIRST_SHARE: Final = 0.5
_RAMP: Final = 2.0
# Beyond this fraction of what a closed loop completed, objectives that no rate meets are not looked for any lower.
_LOWEST_SHARE: Final = 1 / 130
# How far above what a closed loop completed a ceiling is looked for, unless the user says how far.
UP_TO_SHARE: Final = 8.0
# So many of the calls that may be in flight may be needed by a rate that is tried: bursts need the others.
_IN_FLIGHT_SHARE: Final = 0.7
# A probe lasts so long, and so many times as long as an answer.
LEAST_SECONDS: Final = 10.0
SERVICES: Final = 20.0
# Work piles up where waits grow by more than this in a second, and by more than chance: likely so, surely so, and, for
# a rate that is kept up with, how much of it may still be growth.
_LEAST_GROWTH: Final = 0.02
_LIKELY: Final = 0.75
_SURELY: Final = 0.9975
_AT_MOST: Final = 0.995
# The ramp climbs in steps so coarse that a doubtful end of it is worth a second look before the gap is narrowed.
_COARSE: Final = 1.25
# Runs of so much of each other's length, which of sessions depends on chance, see equally far.
_AS_LONG: Final = 0.8


class Probe(NamedTuple):
    """One run at one rate: of `calls` requests, `kept[i]` kept the bound that a share `wanted[i]` must keep.

    That is of `bound[i]` requests of the class `classes[i]`, without them of all; where the share fell they are those
    from when it did no more, and `reserve[i]` is by how many calls more kept the bound until then than by the share of
    the end. `worth[i]` is how many independent calls they are worth, `sent_per_s` the rate that arrivals came to by
    chance. Calls came by `growth` faster than they
    were answered, with a standard error of `growth_error` (`degrees` of freedom); None where the run is too short to
    tell. `stopped`: it was ended early because the server fell behind.
    """

    rate_per_s: float
    repeat: int
    calls: int
    kept: tuple[int, ...]
    wanted: tuple[float, ...]
    completed_per_s: float | None
    folder: str
    growth: float | None = None
    growth_error: float | None = None
    degrees: int = 10
    service_s: float | None = None
    worth: tuple[float, ...] = ()
    sent_per_s: float | None = None
    stopped: bool = False
    bound: tuple[int, ...] = ()
    classes: tuple[str | None, ...] = ()
    reserve: tuple[float, ...] = ()

    @property
    def among(self) -> tuple[int, ...]:
        """How many requests each bound is on."""
        return self.bound or (self.calls,) * len(self.kept)

    @property
    def outcome(self) -> Outcome:
        return _outcome(self)

    @property
    def is_sure(self) -> bool:
        """Whether the outcome would hold in 95 of 100 such runs."""
        return _is_sure([self], "met" if self.outcome == "met" else "missed")

    def shares(self) -> list[tuple[float, float, float]]:
        """(lower, upper bound, wanted) of the share that keeps each bound, by Wilson for what the calls are worth."""
        worth = self.worth or self.among
        return [
            (*wilson(kept * (count / n) if n else 0, count), wanted)
            for kept, wanted, count, n in zip(self.kept, self.wanted, worth, self.among, strict=True)
        ]


@lru_cache(4096)  # a search asks again and again, of all its runs
def _outcome(run: Probe) -> Outcome:
    if run.stopped or _grows([run], _LIKELY):
        return "saturated"
    met = all(kept >= wanted * n for kept, wanted, n in zip(run.kept, run.wanted, run.among, strict=True))
    return "met" if met and run.calls else "missed"


@dataclass(frozen=True, slots=True)
class Capacity:
    """The highest rate that met the objectives (0: none did), between one that surely does and one that does not.

    `high_per_s` is None when no rate was surely missed.
    """

    rate_per_s: float
    low_per_s: float
    high_per_s: float | None
    reason: str


class Limits(NamedTuple):
    """How far a search goes: how narrow, how many runs at either end, and up to which rate.

    `max_in_flight` calls may be in flight at once: what needs more tells nothing of the server.
    """

    precision: float
    repeats: int
    closed_loop_rps: float
    service_s: float
    up_to_rps: float | None = None
    max_in_flight: int = 1024

    @property
    def lowest_rps(self) -> float:
        """Below this rate objectives that no rate meets are not looked for."""
        return self.closed_loop_rps * _LOWEST_SHARE

    def top_rps(self, probes: Sequence[Probe]) -> tuple[float, str]:
        """(the highest rate to try, what to do to look further)."""
        asked = self.up_to_rps or UP_TO_SHARE * self.closed_loop_rps
        slots = _IN_FLIGHT_SHARE * self.max_in_flight / service_seen_s(probes, self.service_s)
        return (slots, "raise --max-in-flight") if slots < asked else (asked, "--up-to looks further")


def service_seen_s(probes: Sequence[Probe], of_closed_loop_s: float) -> float:
    """The shortest mean service of any run so far: that of an answer which does not wait for others."""
    return min([of_closed_loop_s, *(each.service_s for each in probes if each.service_s)])


def requests_for(rate_per_s: float, least: int, service_s: float) -> int:
    """How many requests a probe has: what the objectives need, and a load that is long against an answer."""
    return max(least, math.ceil(rate_per_s * max(LEAST_SECONDS, SERVICES * service_s)))


def next_probe(probes: Sequence[Probe], limits: Limits) -> tuple[float, int] | None:
    """The next (rate, repeat) to run; None when the answer is as narrow as asked, or cannot be found."""
    top, _ = limits.top_rps(probes)
    if not probes:
        return rounded(min(limits.closed_loop_rps * _FIRST_SHARE, top)), 0
    met, missed = _bracket(probes)
    if met is not None and _is_too_short(met, probes, limits):
        return met, _runs_at(met, probes)
    if missed is None:
        assert met is not None
        if met >= rounded(top):
            return _repeat(probes, (met,), limits)
        # A last step that would be a small one is made with the one before it.
        return rounded(top if met * _RAMP * _COARSE > top else met * _RAMP), 0
    if met is None:
        lower = rounded(missed / 2)
        return (lower, 0) if lower >= limits.lowest_rps else None
    doubtful = missed / met > _COARSE and not _is_sure(_by_rate(probes)[missed], "missed")
    if doubtful and (again := _repeat(probes, (missed,), limits)):
        return again
    # The geometric middle: precision is asked for as a ratio.
    between = rounded(math.sqrt(met * missed))
    if missed / met - 1 > limits.precision and met < between < missed:
        return between, 0
    # Both ends are run again with other seeds: one run says nothing of how runs differ.
    return _repeat(probes, (met, missed), limits) or _farther_out(probes, limits)


def _repeat(probes: Sequence[Probe], rates: Iterable[float], limits: Limits) -> tuple[float, int] | None:
    by_rate = _by_rate(probes)
    for rate in rates:
        done = _runs_at(rate, probes)
        if len(by_rate[rate]) < limits.repeats and done < 2 * limits.repeats:
            return rate, done
    return None


def _is_too_short(met: float, probes: Sequence[Probe], limits: Limits) -> bool:
    """Whether all runs at a rate that is met end before the server's reserve does, and a longer one was not tried."""
    found = reserves(probes)
    return _runs_at(met, probes) <= limits.repeats and all(
        any(
            n < calls_until_spent(unspent, wanted, limits.precision)
            for unspent, n, wanted in zip(_unspent(run, found), run.among, run.wanted, strict=True)
        )
        for run in _by_rate(probes)[met]
    )


def _runs_at(rate_per_s: float, probes: Sequence[Probe]) -> int:
    return sum(each.rate_per_s == rate_per_s for each in probes)


def _farther_out(probes: Sequence[Probe], limits: Limits) -> tuple[float, int] | None:
    """A rate beyond the ends, where neither they nor any farther out are sure."""
    by_rate, found = _by_rate(probes), capacity(probes)
    lowest, highest, top = min(by_rate), max(by_rate), rounded(limits.top_rps(probes)[0])
    if found.high_per_s is None and highest < top:
        return rounded(min(highest * _RAMP, top)), 0
    lower = rounded(lowest / _RAMP)
    if not found.low_per_s and lower >= limits.lowest_rps:
        return lower, 0
    return None


def rounded(rate_per_s: float) -> float:
    """A rate whole enough to be read: runs are found again by it."""
    return float(f"{rate_per_s:.4g}")


def capacity(probes: Sequence[Probe], limits: Limits | None = None) -> Capacity:
    """What the probes together say; with the search's limits also how far it looked."""
    met, missed = _bracket(probes)
    by_rate = _by_rate(probes)
    if met is None:
        return Capacity(0.0, 0.0, missed, f"no rate down to {min(by_rate):.3g}/s meets the objectives")
    found = reserves(probes)
    sure = [_kept_up_with(runs, found) for rate, runs in by_rate.items() if rate <= met and _is_sure(runs, "met")]
    lost = [max(rate, _sent_per_s(runs)) for rate, runs in by_rate.items() if rate > met and _is_sure(runs, "missed")]
    if missed is None:
        further = f"; {limits.top_rps(probes)[1]}" if limits else ""
        reason = f"no ceiling up to {met:g}/s{further}"
    else:
        reason = "saturated above it" if any(each.outcome == "saturated" for each in probes) else "missed above it"
    return Capacity(met, max(sure, default=0.0), min(lost, default=None), reason)


def wilson(kept: float, calls: float) -> tuple[float, float]:
    """The 95% interval of a share. Source: Wilson 1927; https://www.itl.nist.gov/div898/handbook/prc/section2/prc241.htm."""
    if not calls:
        return 0.0, 1.0
    share, z2 = kept / calls, _Z95**2 / calls
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z95 / (1 + z2) * math.sqrt(max(share * (1 - share), 0.0) / calls + z2 / (4 * calls))
    return max(0.0, middle - half), min(1.0, middle + half)


def calls_needed(wanted: Iterable[float]) -> int:
    """How many requests, if all keep the bound, make it sure that a share of `wanted` does; with a fifth to spare."""
    # With all n kept Wilson's lower end is n / (n + z^2), which reaches a share w from n = z^2 w / (1 - w) on.
    strictest = max((share for share in wanted if share < 1), default=0.9)
    return math.ceil(1.2 * _Z95**2 * strictest / (1 - strictest))


def _bracket(probes: Sequence[Probe]) -> tuple[float | None, float | None]:
    """(highest rate that is met, lowest that is not); a rate run several times is what most of its runs say.

    A doubtful miss is none where the server surely kept up with more.
    """
    by_rate, found = _by_rate(probes), reserves(probes)
    kept_up_with = max((_kept_up_with(runs, found) for runs in by_rate.values() if _is_sure(runs, "met")), default=0.0)
    is_met = {
        rate: _is_met(runs) or (rate <= kept_up_with and not _is_sure(runs, "missed")) for rate, runs in by_rate.items()
    }
    missed = min((rate for rate, met in is_met.items() if not met), default=None)
    return max((rate for rate, met in is_met.items() if met and rate < (missed or math.inf)), default=None), missed


def _by_rate(probes: Sequence[Probe]) -> dict[float, list[Probe]]:
    """The runs at each rate, without those that met the objectives where a longer one was run to see further."""
    found = dict[float, list[Probe]]()
    for rate in sorted({probe.rate_per_s for probe in probes}):
        runs = [probe for probe in probes if probe.rate_per_s == rate]
        longest = [max((each.calls for each in runs if each.repeat > run.repeat), default=0) for run in runs]
        found[rate] = [
            run
            for run, later in zip(runs, longest, strict=True)
            if run.outcome != "met" or run.calls > _AS_LONG * later
        ]
    return found


def reserves(probes: Sequence[Probe]) -> tuple[float, ...]:
    """How many calls beyond those that it keeps up with a server takes, for each bound: the median of what was seen.

    0 where the share never fell. Where work piles up the growth of waits says what lasts.
    """
    seen = [run.reserve for run in probes if run.reserve and run.outcome != "saturated"]
    return tuple(median_low([each for each in of_bound if each] or [0.0]) for of_bound in zip(*seen, strict=True))


def calls_spent(probes: Sequence[Probe], limits: Limits) -> tuple[int, ...]:
    """How many calls of each bound's a run needs beside its others, because the first of them may spend a reserve."""
    found = reserves(probes)
    return tuple(
        math.ceil(calls_until_spent(reserve, wanted, limits.precision))
        for reserve, wanted in zip(found, probes[0].wanted if found else (), strict=True)
    )


def _unspent(run: Probe, found: tuple[float, ...]) -> tuple[float, ...]:
    """How many calls of each bound may have been served from a reserve, of which the run did not see the end."""
    if not found or not run.reserve:
        return (0.0,) * len(run.kept)
    return tuple(0.0 if own else reserve for own, reserve in zip(run.reserve, found, strict=True))


def _is_met(runs: Sequence[Probe]) -> bool:
    # A tie is no majority: of two runs that disagree the cautious one counts.
    return 2 * sum(run.outcome == "met" for run in runs) > len(runs)


def _growth(runs: Sequence[Probe]) -> tuple[float, float, int] | None:
    """(mean growth, its standard error, degrees of freedom) of runs at one rate; None where one cannot tell."""
    growths = all_known(run.growth for run in runs)
    if growths is None:
        return None
    # The standard error of a mean of independent estimates.
    squares = sum((run.growth_error or 0.0) ** 2 for run in runs)
    return sum(growths) / len(runs), math.sqrt(squares) / len(runs), sum(run.degrees for run in runs)


def _grows(runs: Sequence[Probe], errors: float | None = None) -> bool:
    """Whether work piles up by more than so many standard errors, surely where none are given."""
    found = _growth(runs)
    if found is None:
        return False
    mean, error, degrees = found
    return mean > max(_LEAST_GROWTH, (errors or t_quantile(_SURELY, degrees + 1)) * error)


def _kept_up_with(runs: Sequence[Probe], reserve: tuple[float, ...]) -> float:
    """The rate that the server surely kept up with in these runs: calls come 1 + growth times faster than they end.

    What kept a bound may have been served from a reserve of so many calls that the runs did not see end.
    """
    found = _growth(runs)
    if found is None:
        return 0.0
    mean, error, degrees = found
    grows = max(0.0, mean + t_quantile(_AT_MOST, degrees + 1) * error)
    return _lasting(runs, reserve) * min(_sent_per_s(runs), runs[0].rate_per_s) / (1 + grows)


def _lasting(runs: Sequence[Probe], reserve: tuple[float, ...]) -> float:
    """At which part of their rate runs surely keep their shares for good, if the server kept no more at a lower one."""
    parts = [1.0]
    for n, wanted in enumerate(runs[0].wanted):
        worth = sum((run.worth or run.among)[n] for run in runs)
        kept = sum(max(0.0, run.kept[n] - _unspent(run, reserve)[n]) for run in runs)
        calls = sum(run.among[n] for run in runs)
        parts.append(wilson(worth * kept / calls, worth)[0] / wanted if calls else 0.0)
    return min(parts)


def _sent_per_s(runs: Sequence[Probe]) -> float:
    """The rate that the arrivals of these runs came to, which a server is kept busy by."""
    return sum(run.sent_per_s or run.rate_per_s for run in runs) / len(runs)


def _is_sure(runs: Sequence[Probe], outcome: Literal["met", "missed"]) -> bool:
    """Of one run by its own intervals; several agree too, where work piles up by all of them taken together."""
    if outcome == "met":
        kept = all(low >= wanted for run in runs for low, _, wanted in run.shares())
        return all(run.outcome == "met" for run in runs) and (kept or len(runs) > 1)
    if any(run.stopped for run in runs) or _grows(runs):
        return True
    missed = [any(high < wanted for _, high, wanted in run.shares()) for run in runs]
    agree = all(run.outcome == "missed" for run in runs)
    return agree and (missed[0] or len(runs) > 1)
