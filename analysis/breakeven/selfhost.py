"""Replicas of our own: what they cost, what one serves, and how they are run."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from analysis.breakeven.traffic import STEADY, Traffic
from analysis.money.numbers import SECONDS_PER_HOUR, SECONDS_PER_MONTH, Number, at_least_zero, exact, share
from bench.types import UserError


@dataclass(frozen=True, slots=True)
class Commitment:
    """Replicas that are paid for the whole month, used or not, at a price of their own."""

    replicas: int
    usd_per_replica_month: Decimal

    def __post_init__(self) -> None:
        at_least_zero("--commit-replicas", self.replicas)
        at_least_zero("--commit-usd-per-hour", self.usd_per_replica_month)


@dataclass(frozen=True, slots=True)
class SpotReplicas:
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
    spot: SpotReplicas | None = None
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
            raise UserError("--autoscale needs the hours of the traffic: give --traffic-profile FILE or --traffic FILE")

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
