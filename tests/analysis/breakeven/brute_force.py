"""Break-even a second time, by other means: exact fractions, state by state, volume by volume.

Written from the formulas alone and shares no code with `analysis.money`; slow, and meant to be.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

HOURS = 168
SECONDS_PER_MONTH = 730 * 3600


@dataclass(frozen=True)
class Servers:
    """What replicas cost, and the hours of the traffic as weights of the 168 hours of a week, or its peak over mean."""

    usd_per_month: Fraction
    ops_usd: Fraction = Fraction(0)
    utilization: Fraction = Fraction(7, 10)
    peak: Fraction = Fraction(1)
    hours: tuple[int, ...] = ()
    autoscale: bool = False
    least: int = 1
    spare: int = 0
    committed: int = 0
    committed_usd: Fraction = Fraction(0)
    offered: Fraction = Fraction(1)
    passed: Fraction = Fraction(1)
    good: Fraction = Fraction(1)


class State(NamedTuple):
    """A price of a request and what a replica serves."""

    usd: Fraction
    rps: Fraction


def own_usd(servers: Servers, rps: Fraction, volume: int) -> Fraction:
    """Our bill of a month in which that many requests come, our share of which is served."""
    mean = volume * servers.offered / SECONDS_PER_MONTH
    weights = servers.hours or (1,)
    busiest = max(weights) * Fraction(len(weights), sum(weights)) if servers.hours else servers.peak
    bill = servers.ops_usd
    for weight, hours in Counter(weights).items():
        over_mean = weight * Fraction(len(weights), sum(weights)) if servers.autoscale else busiest
        replicas = max(servers.least, math.ceil(mean * over_mean / (rps * servers.utilization))) + servers.spare
        beyond = max(0, replicas - servers.committed)
        hour = servers.committed * servers.committed_usd + beyond * servers.usd_per_month
        bill += hour * hours / len(weights)
    return bill


def saving_usd(servers: Servers, state: State, volume: int) -> Fraction:
    """What self-hosting saves against the API alone, for as many good requests."""
    served = volume * servers.offered * servers.passed
    left = volume - served
    alone = (left + served * servers.good) * state.usd
    return alone - left * state.usd - own_usd(servers, state.rps, volume)


def wins(servers: Servers, states: Sequence[State], volume: int) -> tuple[int, bool]:
    """(in how many states self-hosting is no dearer, whether one of them is a tie but for rounding)."""
    savings = [saving_usd(servers, state, volume) for state in states]
    bills = [state.usd * volume for state in states]
    close = any(saving and abs(saving) <= bill / 10**11 for saving, bill in zip(savings, bills, strict=True))
    return sum(saving >= 0 for saving in savings), close


def choice(count: int, states: int) -> str:
    """The rule: 95% either way."""
    if 20 * count >= 19 * states:
        return "self-host"
    return "api" if 20 * count <= states else "undecided"
