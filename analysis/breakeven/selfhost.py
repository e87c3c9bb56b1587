"""What serving requests ourselves costs a month: a staircase of replicas, over the hours of the traffic.

Points are exact, curves are float64. Capacity 0 means that no number of replicas keeps the objectives: infinite cost.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.money.numbers import (
    HOURS_PER_MONTH,
    SECONDS_PER_HOUR,
    SECONDS_PER_MONTH,
    Number,
    at_least_zero,
    decimal,
    exact,
    share,
)
from analysis.stats.distributions import Floats
from bench.types import UserError

HOURS_PER_WEEK: Final = 168

# A step of the staircase that floating point reaches a hair too early is not climbed.
ROUNDING: Final = 1e-12


class Level(NamedTuple):
    """A share of the month's hours in which traffic is `load` times its mean."""

    load: Fraction
    hours_share: Fraction


@dataclass(frozen=True, slots=True)
class Traffic:
    """How requests spread over the hours, as levels from the lowest load to the highest; their mean load is 1.

    `by_hour` is False where only the peak is known: everything then comes at the peak or not at all, which is the
    shape that one number describes, but not one to scale replicas by.
    """

    levels: tuple[Level, ...]
    by_hour: bool

    @property
    def peak(self) -> Fraction:
        """Peak over mean."""
        return self.levels[-1].load


@dataclass(frozen=True, slots=True)
class Commitment:
    """Replicas that are paid for the whole month, used or not, at a price of their own."""

    replicas: int
    usd_per_replica_month: Decimal

    def __post_init__(self) -> None:
        at_least_zero("--commit-replicas", self.replicas)
        at_least_zero("--commit-usd-per-hour", self.usd_per_replica_month)


@dataclass(frozen=True, slots=True)
class Spot:
    """Replicas that are taken away now and then; while a new one loads the model, a fallback serves its requests."""

    interruptions_per_hour: Number
    reload_s: Number

    def __post_init__(self) -> None:
        at_least_zero("--spot-interruptions-per-hour", self.interruptions_per_hour)
        at_least_zero("--spot-reload-s", self.reload_s)
        if self.availability <= 0:
            raise UserError(
                f"--spot-reload-s {self.reload_s}: at {self.interruptions_per_hour} interruptions per hour a replica "
                "would do nothing but load; give a shorter reload or fewer interruptions"
            )

    @property
    def availability(self) -> Fraction:
        """The share of its paid time in which a replica serves."""
        return 1 - exact(self.interruptions_per_hour) * exact(self.reload_s) / SECONDS_PER_HOUR


def steady(peak_to_mean: Number = 1) -> Traffic:
    """Traffic of which only the ratio of its busiest hour to its mean is known."""
    if not math.isfinite(peak_to_mean) or peak_to_mean < 1:
        raise UserError(f"--peak-to-mean {peak_to_mean}: expected 1 or more, the busiest hour over the mean hour")
    peak = exact(peak_to_mean)
    quiet = (Level(Fraction(0), 1 - 1 / peak),) if peak > 1 else ()
    return Traffic((*quiet, Level(peak, 1 / peak)), by_hour=False)


STEADY: Final = steady()


def weekly(weights: Sequence[Number]) -> Traffic:
    """Traffic that repeats every week: 168 weights, one for each hour, in any unit."""
    if len(weights) != HOURS_PER_WEEK:
        raise UserError(f"--profile has {len(weights)} weights: expected {HOURS_PER_WEEK}, one for each hour of a week")
    for weight in weights:
        at_least_zero("--profile: weight", weight)
    if not any(weights):
        raise UserError("--profile has no traffic: expected at least one weight above 0")
    return Traffic(_levels([exact(weight) for weight in weights]), by_hour=True)


def observed(arrivals_s: npt.ArrayLike) -> tuple[int, Traffic]:
    """Requests per month and their hours, from recorded arrival times in seconds; an unfinished last hour is left out.

    The trace stands for the month: one that holds less than a week knows nothing of the days it lacks.
    """
    t_s = np.asarray(arrivals_s, np.float64)
    hours = int(np.ptp(t_s) // SECONDS_PER_HOUR) if len(t_s) else 0
    if hours < 1:
        raise UserError("--traffic holds less than an hour: expected arrival times in seconds over an hour or more")
    hour = ((t_s - t_s.min()) // SECONDS_PER_HOUR).astype(np.int64)
    counts = np.bincount(hour[hour < hours], minlength=hours).tolist()
    return round(Fraction(sum(counts) * HOURS_PER_MONTH, hours)), Traffic(_levels(counts), by_hour=True)


def _levels(weights: Sequence[Fraction | int]) -> tuple[Level, ...]:
    mean, hours = Fraction(sum(weights), len(weights)), len(weights)
    return tuple(Level(weight / mean, Fraction(weights.count(weight), hours)) for weight in sorted(set(weights)))


@dataclass(frozen=True, slots=True)
class SelfHost:
    """Replicas of our own and what they cost.

    `usd_per_replica_month` is rent × 730 h or the monthly cost of owned hardware, the host included.
    `ops_usd_per_month` is all that does not grow with the replicas. `capacity_rps` is what one replica serves within
    the objectives, the lower end of its interval; `utilization` is the highest share of it to be used. Replicas are
    reserved for the peak all month long, or by the hour with `autoscale`; spare ones run at all times.
    `good_share`: of the answers, how many count as good.
    """

    usd_per_replica_month: Decimal
    capacity_rps: Number
    ops_usd_per_month: Decimal = Decimal(0)
    utilization: Number = Decimal("0.7")
    traffic: Traffic = STEADY
    autoscale: bool = False
    min_replicas: int = 1
    spare_replicas: int = 0
    commitment: Commitment | None = None
    spot: Spot | None = None
    good_share: Number = 1

    def __post_init__(self) -> None:
        at_least_zero("--usd-per-hour", self.usd_per_replica_month)
        at_least_zero("--capacity-rps", self.capacity_rps)
        at_least_zero("--ops-usd-per-month", self.ops_usd_per_month)
        at_least_zero("--min-replicas", self.min_replicas)
        at_least_zero("--spare-replicas", self.spare_replicas)
        share("--utilization", self.utilization)
        share("--self-good-share", self.good_share, least=0)
        if self.autoscale and not self.traffic.by_hour:
            raise UserError("--autoscale needs the hours of the traffic: give --profile FILE or --traffic FILE")

    @property
    def requests_per_replica_month(self) -> Fraction:
        """What one replica could serve in a month of full hours."""
        return exact(self.capacity_rps) * exact(self.utilization) * SECONDS_PER_MONTH

    @property
    def requests_at_peak_per_replica(self) -> Fraction:
        """N1: the requests per month up to which one replica carries the peak."""
        return self.requests_per_replica_month / self.traffic.peak

    @property
    def availability(self) -> Fraction:
        """The share of the requests sent to the replicas that they serve, the fallback serving the others."""
        return self.spot.availability if self.spot else Fraction(1)


def billed(host: SelfHost) -> tuple[Level, ...]:
    """The levels that replicas are reserved by: each its own hours, or the peak for all of them."""
    return host.traffic.levels if host.autoscale else (Level(host.traffic.peak, Fraction(1)),)


def serving(host: SelfHost, load: Fraction, requests_per_month: Fraction | int) -> int:
    """Replicas that serve at this load, spare ones not counted."""
    return max(host.min_replicas, math.ceil(requests_per_month * load / host.requests_per_replica_month))


def replicas_usd(host: SelfHost, replicas: int) -> Fraction:
    """What so many replicas cost in a month, committed ones first."""
    if host.commitment is None:
        return replicas * exact(host.usd_per_replica_month)
    committed = host.commitment.replicas
    on_demand = max(0, replicas - committed) * exact(host.usd_per_replica_month)
    return committed * exact(host.commitment.usd_per_replica_month) + on_demand


def exact_usd(host: SelfHost, requests_per_month: Fraction | int) -> Fraction:
    """Sum of ops and Σ_hours c·k_hour, for a capacity above 0."""
    return exact(host.ops_usd_per_month) + sum(
        level.hours_share * replicas_usd(host, serving(host, level.load, requests_per_month) + host.spare_replicas)
        for level in billed(host)
    )


def replicas(host: SelfHost, requests_per_month: Number) -> int:
    """Replicas in the busiest hour, spare ones included; UserError where no number of them is enough."""
    at_least_zero("--requests-per-month", requests_per_month)
    if not host.requests_per_replica_month:
        raise UserError(
            "--capacity-rps 0: no number of replicas keeps the objectives; relax --slo or take a faster GPU"
        )
    return serving(host, host.traffic.peak, exact(requests_per_month)) + host.spare_replicas


def usd_per_month(host: SelfHost, requests_per_month: Number) -> Decimal:
    """What the replicas and their operation cost for so many requests that we serve; the fallback's bill is not in it.

    Infinite where no number of replicas keeps the objectives.
    """
    at_least_zero("--requests-per-month", requests_per_month)
    if not host.requests_per_replica_month:
        return Decimal("Infinity")
    return decimal(exact_usd(host, exact(requests_per_month)))


def usd_curve(host: SelfHost, requests_per_month: Floats, capacity_rps: Floats | float | None = None) -> Floats:
    """`usd_per_month` over volumes, over capacities in place of the host's own, or over both where they broadcast."""
    capacity = np.asarray(float(host.capacity_rps) if capacity_rps is None else capacity_rps)
    per_replica = capacity * float(host.utilization) * SECONDS_PER_MONTH
    volume, per_replica = np.broadcast_arrays(requests_per_month, per_replica)
    total = np.full(volume.shape, float(host.ops_usd_per_month))
    for load, hours_share in billed(host):
        needed = np.zeros(volume.shape)
        np.divide(volume * (float(load) * (1 - ROUNDING)), per_replica, out=needed, where=per_replica > 0)
        count = np.maximum(np.ceil(needed), host.min_replicas) + host.spare_replicas
        total += float(hours_share) * replicas_usd_curve(host, count)
    return np.where(per_replica > 0, total, np.inf)


def replicas_usd_curve(host: SelfHost, count: Floats) -> Floats:
    """`replicas_usd` over counts."""
    if host.commitment is None:
        return count * float(host.usd_per_replica_month)
    committed = host.commitment.replicas
    on_demand = np.maximum(0, count - committed) * float(host.usd_per_replica_month)
    return on_demand + committed * float(host.commitment.usd_per_replica_month)


def last_at_same_cost(host: SelfHost, requests_per_month: Fraction | int) -> Fraction:
    """The volume up to which no hour needs another replica than at this one."""
    return min(
        serving(host, load, requests_per_month) * host.requests_per_replica_month / load
        for load, _ in billed(host)
        if load
    )


class Bounds(NamedTuple):
    """Parallel lines that enclose the staircase: n requests cost from `low_usd + slope·n` to `high_usd + slope·n`."""

    usd_per_request: Fraction
    low_usd: Fraction
    high_usd: Fraction


def bounds(host: SelfHost) -> Bounds:
    """The lines that enclose the staircase, for a capacity above 0; the slope is what a request costs in full hours."""
    on_demand = exact(host.usd_per_replica_month)
    loads = sum((load * hours_share for load, hours_share in billed(host)), Fraction(0))
    spare = exact(host.ops_usd_per_month) + host.spare_replicas * on_demand
    committed, discount = Fraction(0), Fraction(0)
    if host.commitment:
        committed = host.commitment.replicas * exact(host.commitment.usd_per_replica_month)
        discount = host.commitment.replicas * on_demand - committed
    return Bounds(
        usd_per_request=on_demand * loads / host.requests_per_replica_month,
        low_usd=spare - discount,
        high_usd=spare + committed + max(1, host.min_replicas) * on_demand,
    )


def replicas_worth_committing(host: SelfHost, requests_per_month: Number, committed_usd_per_month: Decimal) -> int:
    """How many replicas cost less committed than on demand: those in use for more than p_commit / p_ondemand."""
    needed = [
        (serving(host, load, exact(requests_per_month)) + host.spare_replicas, hours_share)
        for load, hours_share in billed(host)
    ]
    worth = (
        count
        for count, _ in needed
        if sum(hours for other, hours in needed if other >= count) * exact(host.usd_per_replica_month)
        > exact(committed_usd_per_month)
    )
    return max(worth, default=0)
