"""Exact amounts of one month at a time, as scalars."""

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from analysis.breakeven.bills import bills
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.staircase import EnclosingLines, SelfHostedMonth, staircase
from analysis.breakeven.states import stated
from analysis.money.numbers import decimal, exact


class Month(NamedTuple):
    """One month of a pairing, and at the API alone for as many good requests."""

    api_usd: Decimal
    mixed_usd: Decimal
    saving_usd: Decimal
    replicas: int
    api_share: Decimal


def month(pairing: Pairing, volume: int) -> Month:
    at = bills(pairing, stated(pairing), np.array([volume]))
    alone, mixed, saving, left = (
        decimal(amount[0, 0]) for amount in (at.alone_usd, at.mixed_usd, at.saving_usd, at.left)
    )
    return Month(alone, mixed, saving, int(at.replicas[0, 0]), left / volume)


def served(host: SelfHost, volume: int) -> SelfHostedMonth:
    """Our month, all that we are offered served; arrays of one."""
    steps = staircase(host, exactly=True)
    return steps.serve(np.array([volume], np.object_), steps.full(np.array([exact(host.capacity_rps)])))


def filled(host: SelfHost, volume: int, saved_usd: Fraction) -> SelfHostedMonth:
    """Our month, the cheapest number of replicas filled; scalars."""
    steps = staircase(host, exactly=True)
    full = steps.full(np.array([exact(host.capacity_rps)]))
    return SelfHostedMonth(
        *(part[0] for part in steps.fill(np.array([volume], np.object_), full, np.array([saved_usd])))
    )


def lines(host: SelfHost) -> EnclosingLines:
    """What encloses the host's staircase; scalars."""
    steps = staircase(host, exactly=True)
    (slope,), low, high = steps.lines(steps.full(np.array([exact(host.capacity_rps)])))
    return EnclosingLines(slope, low, high)


def exact_usd(host: SelfHost, volume: int) -> Fraction:
    return Fraction(served(host, volume).usd[0])


def replicas(host: SelfHost, volume: int) -> int:
    return int(served(host, volume).replicas[0])
