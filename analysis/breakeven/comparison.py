"""Servers of one's own against one API or several: what was asked, and what came out, for screen and pictures."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from analysis.breakeven.deciding import proposal
from analysis.breakeven.decision import Decision, decide
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.ranking import Ranking
from analysis.breakeven.scenarios import SensitivityBar
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import States
from analysis.breakeven.sweep import answer
from analysis.breakeven.volumes import BreakEven
from analysis.stats.distributions import CONFIDENCE, UNKNOWN, Floats, Interval


class FirstBreakEven(NamedTuple):
    """The first break-even over the states: its median and 95% interval in requests/month.

    None where they lie among the states without a break-even, of which `never_share` is the share.
    """

    median: int | None
    ci95: tuple[int | None, int | None]
    never_share: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the states of a comparison say: of all volumes, and of the one asked about, if one was."""

    answer: BreakEven
    first: FirstBreakEven
    decision: Decision | None


class SelfHosted(NamedTuple):
    """Servers of one's own in words, and the interval of what one replica serves in requests/s.

    None where that was not measured. `name` tells them from others that are compared; empty where there are none.
    """

    description: str
    capacity_ci95: Interval = UNKNOWN
    name: str = ""


class CostedServers(NamedTuple):
    """Servers of one's own, in words and as they are paid for."""

    servers: SelfHosted
    host: SelfHost


@dataclass(frozen=True, slots=True)
class Alternative:
    """One API against servers of one's own: the pairing, the states that measurements leave possible, what these say.

    `p_cheaper` is P(self-hosting is no dearer) at each of the comparison's volumes, `usd_ci95` the interval of the
    price, None where it was not measured.
    """

    name: str
    servers: SelfHosted
    pairing: Pairing
    states: States
    found: Judgement
    p_cheaper: Floats
    tornado: tuple[SensitivityBar, ...]
    advice: tuple[str, ...]
    warnings: tuple[str, ...]
    usd_ci95: Interval = UNKNOWN

    @property
    def label(self) -> str:
        """What it is called among the others."""
        return f"{self.servers.name} or {self.name}" if self.servers.name else self.name


@dataclass(frozen=True, slots=True)
class Point:
    """A measured run: what a request cost in it and how long it took, for the picture of what can be had for what.

    `meets_objectives` is None where the run had none.
    """

    name: str
    usd_per_request: float
    ttft_ms_p50: float | None
    response_ms_p99: float | None
    requests_per_s: float | None
    meets_objectives: bool | None


@dataclass(frozen=True, slots=True)
class CostComparison:
    """All of it; `volumes` are requests a month, ascending. Without an API there are no alternatives.

    `warnings` are about the servers and the requests; those about an API are its alternative's. `ranking` orders all
    ways, None where there are none.
    """

    requests_per_month: int | None
    volumes: Floats
    alternatives: tuple[Alternative, ...]
    points: tuple[Point, ...]
    warnings: tuple[str, ...] = ()
    ranking: Ranking | None = None
    sides: tuple[CostedServers, ...] = ()

    @property
    def has_several_sides(self) -> bool:
        """Whether several servers of one's own are compared."""
        return len(self.sides) > 1

    @property
    def undecided(self) -> bool:
        """Whether the measurements leave open which of several ways is the cheapest, or with one side any API."""
        is_ranked = self.ranking is not None and bool(self.ranking.month) and len(self.alternatives) != 1
        if is_ranked and self.ranking is not None and self.ranking.undecided:
            return True
        is_any = any(alternative.found.answer.kind == "undecided" for alternative in self.alternatives)
        return is_any and not (is_ranked and len(self.sides) != 1)


def judge(pairing: Pairing, states: States, requests_per_month: int | None) -> Judgement:
    """What the states say; where they leave the volume asked about open, with the measurement that would decide it."""
    found, firsts = answer(pairing, states)
    if requests_per_month is None:
        return Judgement(found, _first(firsts), None)
    decision = decide(pairing, states, requests_per_month)
    if decision.choice == "undecided":
        reasons = (
            f"at {requests_per_month:,} requests/month self-hosting costs no more with a probability of "
            f"{decision.p_cheaper:.1%}, short of {CONFIDENCE:.0%} either way",
            proposal(pairing, states, requests_per_month),
        )
        found = replace(found, kind="undecided", reasons=(*reasons, *found.reasons))
    elif decision.choice == "self-host" and not found.spans:  # beyond all that is known of other volumes
        found = replace(found, kind="intervals")
    elif found.kind == "undecided":
        found = replace(found, kind="never")
    return Judgement(found, _first(firsts), decision)


def _first(firsts: Floats) -> FirstBreakEven:
    ordered, tail = np.sort(firsts), (1 - CONFIDENCE) / 2
    low, median, high = (_volume(ordered[math.ceil(level * len(ordered)) - 1]) for level in (tail, 0.5, 1 - tail))
    return FirstBreakEven(median, (low, high), float(np.mean(firsts == np.inf)))


def _volume(requests_per_month: float) -> int | None:
    return int(requests_per_month) if math.isfinite(requests_per_month) else None
