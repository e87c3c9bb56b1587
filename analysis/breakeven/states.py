"""What the measurements leave possible of one comparison: states, each a price and a capacity, all as likely.

Everything that a comparison says of its uncertainty is counted over these states: the probability at a volume, the
volumes at which it is sure, the month to be expected and the worst of ten. Prices, peaks and the cost of operation are
no noise but scenarios: `analysis.breakeven.scenarios` varies them one at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from analysis.breakeven.routing import Case
from analysis.stats.distributions import CONFIDENCE, Floats

STATES: Final = 1_000


class Curve(NamedTuple):
    """An API's $/request over the requests a month that it serves; from `settled_at` on it is `settled_usd`."""

    usd_per_request: Callable[[Floats], Floats]
    settled_at: int
    settled_usd: Decimal

    def times(self, factor: Decimal) -> "Curve":
        """The same curve, so many times as dear."""
        return Curve(
            lambda volumes: self.usd_per_request(volumes) * float(factor), self.settled_at, self.settled_usd * factor
        )


@dataclass(frozen=True, slots=True)
class States:
    """State i: the API's price times `price_factor[i]`, and replicas that serve `capacity_rps[i]`.

    `curve` is the price where it depends on the volume, else it is the case's own. `requests` were priced for it,
    `capacity_runs` made for the capacity; None where that came as an interval. One state: nothing was measured, and
    the case itself is exact.
    """

    price_factor: Floats
    capacity_rps: Floats
    curve: Curve | None = None
    requests: int = 0
    capacity_runs: int | None = None

    def __len__(self) -> int:
        return len(self.price_factor)

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


def stated(case: Case, curve: Curve | None = None) -> States:
    """The one state of a comparison in which nothing was measured."""
    return States(np.ones(1), np.array([float(case.host.capacity_rps)]), curve)


def states_of(
    case: Case,
    usd: Floats | None,
    capacity_rps: Floats | None,
    rng: np.random.Generator,
    curve: Curve | None = None,
    requests: int = 0,
    capacity_runs: int | None = None,
) -> States:
    """States from draws of the mean price and of the capacity, either None where it was stated.

    Each is represented by as many quantiles as there are states, and the two are paired at random: a Latin hypercube,
    in which each alone has no sampling noise (McKay, Beckman and Conover, 1979).
    """
    if usd is None and capacity_rps is None:
        return stated(case, curve)
    middle_usd = float(case.usd_per_request)
    factor = np.ones(STATES) if usd is None or not middle_usd else _quantiles(usd, rng) / middle_usd
    capacity = np.full(STATES, float(case.host.capacity_rps))
    if capacity_rps is not None:
        capacity = _quantiles(capacity_rps, rng)
    return States(factor, capacity, curve, requests, capacity_runs)


def _quantiles(draws: Floats, rng: np.random.Generator) -> Floats:
    levels = (np.arange(STATES) + 0.5) / STATES
    return np.asarray(rng.permutation(np.quantile(draws, levels)), np.float64)


def prices(case: Case, states: States) -> Callable[[Floats], Floats]:
    """$/request over volumes that the API serves, states along the first axis."""
    factor, curve = states.price_factor[:, np.newaxis], states.curve
    if curve is None:
        return lambda _: factor * float(case.usd_per_request)
    return lambda volumes: factor * _at_each(curve.usd_per_request, volumes)


def _at_each(curve: Callable[[Floats], Floats], volumes: Floats) -> Floats:
    """A curve over volumes of any shape, each volume looked up once."""
    known, at = np.unique(volumes, return_inverse=True)
    return np.asarray(curve(known)[at].reshape(np.shape(volumes)), np.float64)


def needed(states: States) -> int:
    """In how many states self-hosting is to be no dearer for that to be said: 95% of them."""
    return math.ceil(CONFIDENCE * len(states) - 1e-9)
