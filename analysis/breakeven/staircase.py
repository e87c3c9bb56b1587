"""What serving requests ourselves costs a month, over volumes and capacities: a staircase of replicas.

The formulas stand here once, for two kinds of number. Over float64 they are fast, and a step that floating point would
climb a hair too early is not climbed. Over arrays of Fractions, which numpy takes as objects, they are exact: so are
the steps of what was stated and not measured.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.traffic import Level
from analysis.money.numbers import SECONDS_PER_MONTH, Number, exact

ROUNDING: Final = 1e-12
"""Two float64 that differ by so much of themselves are taken to be the same number."""

Amounts = npt.NDArray[Any]
"""float64, or Fractions and whole numbers as objects."""


class SelfHostedMonth(NamedTuple):
    """Our bill in $/month, the requests that our replicas are offered, and how many replicas the busiest hour has."""

    usd: Amounts
    offered: Amounts
    replicas: Amounts


@dataclass(frozen=True, slots=True)
class Staircase:
    """A host's terms as Fractions where `exactly`, else as float64; capacities and volumes are of the same kind.

    `levels` are the traffic's, `billed` those that replicas are reserved by: each its own hours, or the peak for all of
    them. Methods take `full` requests a month of a full replica.
    """

    replica_usd: Any
    ops_usd: Any
    committed: int
    committed_usd: Any
    busy_s: Any
    levels: tuple[tuple[Any, Any], ...]
    billed: tuple[tuple[Any, Any], ...]
    autoscale: bool
    min_replicas: int
    spare_replicas: int
    rounding: float

    def replicas_usd(self, count: Amounts) -> Amounts:
        """What so many replicas cost in a month, committed ones first."""
        if not self.committed:
            return np.asarray(count * self.replica_usd)
        return np.asarray(np.maximum(0, count - self.committed) * self.replica_usd + self.committed_usd)

    def full(self, capacity_rps: Amounts) -> Amounts:
        """Requests a month of a full replica."""
        return np.asarray(capacity_rps * self.busy_s)

    def serve(self, offered: Amounts, full: Amounts) -> SelfHostedMonth:
        """A month in which our replicas serve all that they are offered; infinitely dear at a capacity of 0."""
        usd, count = np.where(full > 0, self.ops_usd, np.inf), offered
        for load, hours_share in self.billed:
            count = self._serving(offered, load, full) + self.spare_replicas
            usd = usd + hours_share * self.replicas_usd(count)
        return SelfHostedMonth(usd, offered, count)

    def last_at_same_cost(self, offered: Amounts, full: Amounts) -> Amounts:
        """The requests up to which no hour needs another replica than at so many of them."""
        edges = [self._serving(offered, load, full) * full / load for load, _ in self.billed if load]
        return np.where(full > 0, np.minimum.reduce(edges), np.inf)

    def _serving(self, offered: Amounts, load: Any, full: Amounts) -> Amounts:
        if self.rounding:
            # A volume that just fills k replicas must need k of them: in float64 the quotient may come out a hair
            # above k, and ceil would climb a step too early.
            load = load * (1 - self.rounding)
        count = np.ceil(offered * load / np.where(full > 0, full, np.inf))
        return np.asarray(np.maximum(count, self.min_replicas))

    def fill(self, requests_per_month: Amounts, full: Amounts, saved_usd: Amounts) -> SelfHostedMonth:
        """A month in which replicas are filled first, and the rest is left; their number is the cheapest.

        A request that they are offered saves `saved_usd`. The number is chosen by the hour where replicas scale.
        """
        terms = np.broadcast_arrays(requests_per_month, full, saved_usd)
        months = [self._fill_group(levels, *terms) for levels in self._groups]
        return SelfHostedMonth(
            np.asarray(self.ops_usd + sum(month.usd for month in months)),
            np.asarray(sum(month.offered for month in months)),
            np.maximum.reduce([month.replicas for month in months]),
        )

    def _fill_group(
        self, levels: tuple[Any, ...], volume: Amounts, full: Amounts, saved_usd: Amounts
    ) -> SelfHostedMonth:
        """Hours that have their number of replicas in common.

        One more replica pays while it is in use for more than its price / (what a full one saves) of the hours. Were
        replicas not whole, the best number would be the load that is exceeded for just that share of the hours; what
        replicas gain is concave in their number, so the best whole one lies next to it.
        """
        # The screening curve of power planning: capacity is added down to the load that lasts for as long as a unit
        # must run to repay its fixed cost (Stoft, Power System Economics, 2002).
        hours_share = sum(share for _, share in levels)
        loads = np.array([0, *(load for load, _ in levels)], volume.dtype)
        exceeded = np.array([sum(share for other, share in levels if other > load) for load in loads], volume.dtype)
        paying = ratio(self.replica_usd * hours_share, saved_usd * full, np.inf)
        near = ratio(volume * loads[np.searchsorted(-exceeded, -paying)], full, 0)

        def filled(count: Amounts) -> SelfHostedMonth:
            offered = sum(share * np.minimum(volume * load, count * full) for load, share in levels)
            count = count + self.spare_replicas
            return SelfHostedMonth(hours_share * self.replicas_usd(count), np.asarray(offered), count)

        fewer, more = (filled(np.maximum(self._fewest, count)) for count in (np.floor(near), np.ceil(near)))
        more_gains = more.usd - saved_usd * more.offered < fewer.usd - saved_usd * fewer.offered
        return SelfHostedMonth(*(np.where(more_gains, *ends) for ends in zip(more, fewer, strict=True)))

    def surely_filled_at(self, full: Amounts, saved_usd: Amounts) -> Amounts:
        """Requests a month at which replicas that are filled first pay, if they ever do.

        So many fill enough of them to repay all that does not grow.
        """
        busy = [(load, share) for load, share in self.levels if load]
        busy_share = sum(share for _, share in busy)
        gain = saved_usd * full * busy_share - self.replica_usd * (busy_share if self.autoscale else 1)
        fixed = self.lines(full).high_usd + self._fewest * self.replica_usd
        count = np.maximum(1, self._fewest + np.where(gain > 0, np.ceil(ratio(fixed, gain, 0)), 0))
        return np.asarray(np.ceil(count * full / busy[0][0]))

    @property
    def _groups(self) -> list[tuple[Any, ...]]:
        return [(level,) for level in self.levels] if self.autoscale else [self.levels]

    @property
    def _fewest(self) -> int:
        """Fewest replicas to fill: none in an hour that they scale down to, else one; those committed to are there."""
        return max(self.min_replicas, self.committed - self.spare_replicas, 0 if self.autoscale else 1)

    def lines(self, full: Amounts) -> "EnclosingLines":
        """The lines that enclose the staircase; their slope is what a request costs in full hours."""
        # n <= ceil(n) < n + 1: the bill lies between that of replicas in fractions and that of one replica more.
        loads = sum(load * share for load, share in self.billed)
        spare_usd = self.ops_usd + self.spare_replicas * self.replica_usd
        return EnclosingLines(
            ratio(self.replica_usd * loads, full, np.inf),
            spare_usd + self.committed_usd - self.committed * self.replica_usd,
            spare_usd + self.committed_usd + max(1, self.min_replicas) * self.replica_usd,
        )


class EnclosingLines(NamedTuple):
    """Parallel: n requests cost from `low_usd + usd_per_request·n` to `high_usd + usd_per_request·n`."""

    usd_per_request: Amounts
    low_usd: Any
    high_usd: Any


def staircase(host: SelfHost, *, exactly: bool) -> Staircase:
    """The host's staircase in one kind of number."""

    def number(value: Number) -> Any:
        return exact(value) if exactly else float(value)

    def numbers(levels: tuple[Level, ...]) -> tuple[tuple[Any, Any], ...]:
        return tuple((number(load), number(share)) for load, share in levels)

    commitment, levels = host.commitment, host.traffic.levels
    return Staircase(
        replica_usd=number(host.usd_per_replica_month),
        ops_usd=number(host.ops_usd_per_month),
        committed=commitment.replicas if commitment else 0,
        committed_usd=commitment.replicas * number(commitment.usd_per_replica_month) if commitment else 0,
        busy_s=number(exact(host.utilization) * SECONDS_PER_MONTH),
        levels=numbers(levels),
        billed=numbers(levels if host.autoscale else (Level(host.traffic.peak, Fraction(1)),)),
        autoscale=host.autoscale,
        min_replicas=host.min_replicas,
        spare_replicas=host.spare_replicas,
        rounding=0 if exactly else ROUNDING,
    )


def ratio(upper: Any, lower: Any, otherwise: float) -> Amounts:
    """Quotients, `otherwise` where the divisor is 0."""
    some = lower != 0
    return np.where(some, upper / np.where(some, lower, 1), otherwise)
