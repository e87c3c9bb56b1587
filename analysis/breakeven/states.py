"""What the measurements leave possible of one pairing: states, each a price and a capacity, all as likely.

Everything that a comparison says of its uncertainty is counted over these states: the probability at a volume, the
volumes at which it is sure, the month to be expected and the worst of ten. Prices, peaks and the cost of operation are
no noise but scenarios: `analysis.breakeven.scenarios` varies them one at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.breakeven.pairing import Pairing
from analysis.breakeven.staircase import Amounts, Staircase, staircase
from analysis.money.numbers import Number, exact
from analysis.stats.distributions import CONFIDENCE, Floats

STATES: Final = 1_000


class PriceCurve(NamedTuple):
    """An API's $/request over the requests a month that it serves; from `settled_at` on it is `settled_usd`."""

    usd_per_request: Callable[[Floats], Floats]
    settled_at: int
    settled_usd: Decimal

    def times(self, factor: Decimal) -> "PriceCurve":
        """The same curve, so many times as dear."""
        return PriceCurve(
            lambda volumes: self.usd_per_request(volumes) * float(factor), self.settled_at, self.settled_usd * factor
        )


@dataclass(frozen=True, slots=True)
class States:
    """State i: the API's price times `price_factor[i]`, and replicas that serve `capacity_rps[i]`.

    `curve` is the price where it depends on the volume, else it is the pairing's own. `requests` were priced for it,
    `capacity_runs` made for the capacity; None where that came as an interval. One state: nothing was measured. Its
    numbers are then Fractions, and all that is said of it is exact, but where the price depends on the volume.
    """

    price_factor: Amounts
    capacity_rps: Amounts
    curve: PriceCurve | None = None
    requests: int = 0
    capacity_runs: int | None = None

    def __len__(self) -> int:
        return len(self.price_factor)

    @property
    def exact(self) -> bool:
        """Whether amounts are exact, else float64."""
        return self.capacity_rps.dtype == np.object_

    @property
    def measured(self) -> bool:
        """Whether anything was measured that could have come out otherwise."""
        return len(self) > 1

    @property
    def price_measured(self) -> bool:
        """Whether states differ in their price."""
        return float(np.ptp(self.price_factor)) > 0

    @property
    def capacity_measured(self) -> bool:
        """Whether states differ in their capacity."""
        return float(np.ptp(self.capacity_rps)) > 0

    def number(self, value: Number) -> Any:
        """The value as a Fraction where states are exact, else as float64."""
        return exact(value) if self.exact else float(value)

    def volumes(self, requests_per_month: Amounts) -> Amounts:
        """Whole volumes in the kind of number these states have."""
        if not self.exact:
            return np.asarray(requests_per_month, np.float64)
        return np.array([int(volume) for volume in np.ravel(requests_per_month)], np.object_).reshape(
            np.shape(requests_per_month)
        )

    def staircase(self, pairing: Pairing) -> Staircase:
        """The pairing's staircase in numbers of these states."""
        return staircase(pairing.host, exactly=self.exact)

    def rounded(self) -> "States":
        """The same states in float64."""
        return replace(
            self,
            price_factor=self.price_factor.astype(np.float64),
            capacity_rps=self.capacity_rps.astype(np.float64),
        )


def stated(pairing: Pairing, curve: PriceCurve | None = None) -> States:
    """The one state of a pairing of which nothing was measured."""
    one = States(np.array([Fraction(1)]), np.array([exact(pairing.host.capacity_rps)]), curve)
    return one if curve is None else one.rounded()


def states_of(
    pairing: Pairing,
    usd: Floats | None,
    capacity_rps: Floats | None,
    rng: np.random.Generator,
    curve: PriceCurve | None = None,
    requests: int = 0,
    capacity_runs: int | None = None,
) -> States:
    """States from draws of the mean price and of the capacity, either None where it was stated.

    Each is represented by as many quantiles as there are states, and the two are paired at random: a Latin hypercube,
    in which each alone has no sampling noise (McKay, Beckman and Conover, 1979).
    """
    if usd is None and capacity_rps is None:
        return stated(pairing, curve)
    middle_usd = float(pairing.usd_per_request)
    # Relative to the middle, so that the same states serve every scenario that moves the price itself.
    factor = np.ones(STATES) if usd is None or not middle_usd else _quantiles(usd, rng) / middle_usd
    capacity = np.full(STATES, float(pairing.host.capacity_rps))
    if capacity_rps is not None:
        capacity = _quantiles(capacity_rps, rng)
    return States(factor, capacity, curve, requests, capacity_runs)


def _quantiles(draws: Floats, rng: np.random.Generator) -> Floats:
    # The middle of each of equally likely strata.
    levels = (np.arange(STATES) + 0.5) / STATES
    return np.asarray(rng.permutation(np.quantile(draws, levels)), np.float64)


def at_level(values: Amounts, level: float) -> Any:
    """The value, along the first axis, that so large a share of the values does not exceed."""
    place = max(0, math.ceil(level * len(values)) - 1)
    return np.partition(values, place, axis=0)[place]


def needed(states: States) -> int:
    """In how many states self-hosting is to be no dearer for that to be said: 95% of them."""
    return math.ceil(CONFIDENCE * len(states))
