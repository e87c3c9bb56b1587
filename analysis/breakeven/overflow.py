"""Overflow routing: our replicas are filled first and the rest goes to the API; how many replicas are then cheapest.

One more replica pays while it is in use for more than c / (what a full one saves) of the hours. Were replicas not
whole, the best number would be the load that is exceeded for just that share of the hours; what replicas gain is
concave in their number, so the best whole one lies next to it.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from analysis.breakeven.selfhost import Level, SelfHost, bounds, replicas_usd, replicas_usd_curve
from analysis.money.numbers import SECONDS_PER_MONTH, exact
from analysis.stats.distributions import Floats


class Filled(NamedTuple):
    """Our bill with replicas that are filled first, the requests a month they are offered, and their number at peak."""

    usd: Fraction
    offered: Fraction
    replicas: int


def fill(host: SelfHost, requests_per_month: int, usd_saved_per_request: Fraction) -> Filled:
    """The cheapest month, given what a request saves that we are offered; chosen by the hour where replicas scale."""
    groups = [_fill_group(host, levels, requests_per_month, usd_saved_per_request) for levels in _groups(host)]
    return Filled(
        exact(host.ops_usd_per_month) + sum(group.usd for group in groups),
        sum((group.offered for group in groups), Fraction(0)),
        max(group.replicas for group in groups),
    )


def fill_curve(
    host: SelfHost, requests_per_month: Floats, usd_saved_per_request: Floats | float, capacity_rps: Floats | float
) -> tuple[Floats, Floats]:
    """(our bill in $/month, requests a month we are offered) with the cheapest replicas, over all that broadcasts."""
    full = np.asarray(capacity_rps) * float(host.utilization) * SECONDS_PER_MONTH
    volume, full, saved = np.broadcast_arrays(requests_per_month, full, usd_saved_per_request)
    usd, offered = np.full(volume.shape, float(host.ops_usd_per_month)), np.zeros(volume.shape)
    for levels in _groups(host):
        group_usd, group_offered = _fill_group_curve(host, levels, volume, full, saved)
        usd += group_usd
        offered += group_offered
    return usd, offered


def overflow_pays_from(host: SelfHost, usd_saved_per_request: Fraction) -> int | None:
    """The smallest volume at which replicas that are filled first pay for themselves; None where they never do.

    What they save never falls as volume grows, so they pay at every larger volume too.
    """

    def pays(requests_per_month: int) -> bool:
        filled = fill(host, requests_per_month, usd_saved_per_request)
        return filled.usd <= filled.offered * usd_saved_per_request

    low, high = 1, _surely_pays_from(host, usd_saved_per_request)
    if not pays(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if pays(middle) else (middle + 1, high)
    return low


def _surely_pays_from(host: SelfHost, saved: Fraction) -> int:
    """A volume at which replicas pay if they ever do: it fills enough of them to repay all that does not grow."""
    busy = [level for level in host.traffic.levels if level.load]
    busy_share = sum((level.hours_share for level in busy), Fraction(0))
    usd = exact(host.usd_per_replica_month)
    gain = saved * host.requests_per_replica_month * busy_share - usd * (busy_share if host.autoscale else 1)
    fixed = bounds(host).high_usd + _least(host) * usd
    count = _least(host) + (math.ceil(fixed / gain) if gain > 0 else 0)
    return math.ceil(max(1, count) * host.requests_per_replica_month / busy[0].load)


def _groups(host: SelfHost) -> list[tuple[Level, ...]]:
    """Hours that have their number of replicas in common."""
    return [(level,) for level in host.traffic.levels] if host.autoscale else [host.traffic.levels]


def _least(host: SelfHost) -> int:
    """Fewest serving replicas: none in an hour that they scale down to, else one; those committed to are there."""
    committed = host.commitment.replicas - host.spare_replicas if host.commitment else 0
    return max(host.min_replicas, committed, 0 if host.autoscale else 1)


def _exceeded(levels: tuple[Level, ...]) -> list[Level]:
    """Each load from 0 up, with the share of the month's hours that exceed it."""
    loads = [Fraction(0), *(level.load for level in levels)]
    return [Level(load, sum((hours for other, hours in levels if other > load), Fraction(0))) for load in loads]


def _fill_group(host: SelfHost, levels: tuple[Level, ...], requests_per_month: int, saved: Fraction) -> Filled:
    hours = sum((level.hours_share for level in levels), Fraction(0))
    full = host.requests_per_replica_month
    paying = hours * exact(host.usd_per_replica_month) / (saved * full) if saved else hours
    near = requests_per_month * next(load for load, share in _exceeded(levels) if share <= paying) / full

    def filled(count: int) -> Filled:
        offered = sum((share * min(requests_per_month * load, count * full) for load, share in levels), Fraction(0))
        return Filled(hours * replicas_usd(host, count + host.spare_replicas), offered, count + host.spare_replicas)

    counts = {max(_least(host), math.floor(near)), max(_least(host), math.ceil(near))}
    return min(map(filled, sorted(counts)), key=lambda month: month.usd - month.offered * saved)


def _fill_group_curve(
    host: SelfHost, levels: tuple[Level, ...], volume: Floats, full: Floats, saved: Floats
) -> tuple[Floats, Floats]:
    shares = np.array([float(level.hours_share) for level in levels])
    loads, exceeded = np.array(_exceeded(levels), np.float64).T
    worth = saved * full
    paying = np.full(volume.shape, np.inf)
    np.divide(float(host.usd_per_replica_month) * shares.sum(), worth, out=paying, where=worth > 0)
    load = loads[np.searchsorted(-exceeded, -paying)]
    near = np.divide(volume * load, full, out=np.zeros(volume.shape), where=full > 0)

    def filled(count: Floats) -> tuple[Floats, Floats]:
        offered = sum(
            share * np.minimum(volume * float(level.load), count * full)
            for share, level in zip(shares, levels, strict=True)
        )
        return shares.sum() * replicas_usd_curve(host, count + host.spare_replicas), np.asarray(offered)

    fewer, more = (filled(np.maximum(_least(host), count)) for count in (np.floor(near), np.ceil(near)))
    more_gains = more[0] - saved * more[1] < fewer[0] - saved * fewer[1]
    return np.where(more_gains, more[0], fewer[0]), np.where(more_gains, more[1], fewer[1])
