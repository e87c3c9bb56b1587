"""What a month costs, as a pairing routes it and at the API alone, and in which states self-hosting is no dearer."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.breakeven.pairing import Pairing
from analysis.breakeven.staircase import Amounts, SelfHostedMonth
from analysis.breakeven.states import States, stated
from analysis.money.numbers import exact

Wins = npt.NDArray[np.bool_]


class Bills(NamedTuple):
    """$/month as the pairing routes it, of which ours alone, and at the API alone for as many good requests.

    `left` requests are left for the API, our busiest hour has `replicas`; `as_good` are as many of the API's as there
    are good ones. Infinite where no number of them serves.
    """

    mixed_usd: Amounts
    self_hosted_usd: Amounts
    alone_usd: Amounts
    left: Amounts
    replicas: Amounts
    as_good: Amounts

    @property
    def saving_usd(self) -> Amounts:
        """What the pairing saves against the API alone."""
        return np.asarray(self.alone_usd - self.mixed_usd)


def bills(pairing: Pairing, states: States, requests_per_month: Amounts) -> Bills:
    """Both bills in each state, states along the first axis; volumes are the same for all, or a row for each.

    A price that depends on the volume is taken at the volume that the API serves.
    """
    volumes = np.atleast_2d(states.volumes(requests_per_month))
    own = _own(pairing, states, volumes)
    left = volumes * states.number(1 - exact(pairing.offered_share) * pairing.kept)
    if pairing.overflow:
        left = volumes - own.offered * states.number(pairing.kept)
    as_good = left + (volumes - left) * states.number(pairing.worth)
    mixed = own.usd + left * _price(pairing, states, left)
    alone = as_good * _price(pairing, states, volumes)
    return Bills(mixed, own.usd, alone, left, own.replicas, as_good)


def wins(pairing: Pairing, states: States, requests_per_month: Amounts) -> Wins:
    """Whether the pairing is no dearer than the API alone, of each state; a tie but for floating point is one."""
    month = bills(pairing, states, requests_per_month)
    return np.asarray(month.mixed_usd <= month.alone_usd * (1 + states.staircase(pairing).rounding))


def self_hosted_usd(pairing: Pairing, requests_per_month: int) -> Fraction:
    """Exactly what our replicas cost at a volume, for a capacity above 0."""
    return Fraction(bills(pairing, stated(pairing), np.array([requests_per_month])).self_hosted_usd[0, 0])


def _own(pairing: Pairing, states: States, volumes: Amounts) -> SelfHostedMonth:
    """Our part of the month; a share of 0 needs no replicas."""
    steps = states.staircase(pairing)
    full = steps.full(states.capacity_rps)[:, np.newaxis]
    # With overflow the API takes what our replicas do not: how many of them pay depends on what a request saves there.
    if pairing.overflow:
        saved_usd = _price(pairing, states, volumes) * states.number(pairing.kept * pairing.worth)
        return steps.fill(volumes, full, saved_usd)
    if not pairing.offered_share:
        nothing = volumes * 0
        return SelfHostedMonth(nothing, nothing, nothing)
    return steps.serve(volumes * states.number(pairing.offered_share), full)


def _price(pairing: Pairing, states: States, volumes: Amounts) -> Amounts:
    """$/request at volumes that the API serves; each of many volumes is looked up once."""
    factor = states.price_factor[:, np.newaxis]
    if states.curve is None:
        return np.asarray(factor * states.number(pairing.usd_per_request))
    known, at = np.unique(volumes, return_inverse=True)
    return np.asarray(factor * states.curve.usd_per_request(known)[at].reshape(volumes.shape))
