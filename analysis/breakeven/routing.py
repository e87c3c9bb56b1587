"""Who serves which request, we or the API, and what the month costs then.

A request that our replicas serve saves its price at the API; every other one is paid there. Three ways to share them:
    hybrid    our replicas are offered a share r of the requests
    cascade   they are offered all, and the answers that fail a quality check are asked for again at the API
    overflow  they are filled first, the rest goes to the API, and their number is the cheapest
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.breakeven.overflow import fill, fill_curve
from analysis.breakeven.selfhost import ROUNDING, SelfHost, exact_usd, replicas, usd_curve
from analysis.money.numbers import Number, at_least_zero, decimal, exact, share
from analysis.stats.distributions import Floats
from bench.types import UserError

Price = Callable[[Floats], Floats] | Floats | float
"""An API's $/request: one for each volume or draw, or a function of the requests a month that the API serves."""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: replicas of our own against an API's price per request, and who serves what.

    `offered_share` of the requests goes to our replicas (hybrid), `pass_rate` of their answers pass the quality check
    (cascade), `overflow` fills the replicas and chooses their number. Of the answers of either side a `good_share`
    counts; where the two differ, self-hosting wins when it is no dearer per good request.
    """

    host: SelfHost
    usd_per_request: Decimal
    offered_share: Number = 1
    pass_rate: Number = 1
    overflow: bool = False
    api_good_share: Number = 1

    def __post_init__(self) -> None:
        at_least_zero("--versus: price per request", self.usd_per_request)
        share("--hybrid-share", self.offered_share, least=0)
        share("--pass-rate", self.pass_rate, least=0)
        share("--api-good-share", self.api_good_share)
        if self.overflow and self.offered_share != 1:
            raise UserError("--overflow chooses the share that we serve: leave out --hybrid-share")

    @property
    def kept(self) -> Fraction:
        """Of the requests offered to our replicas, the share that need not go to the API after all."""
        return exact(self.pass_rate) * self.host.availability

    @property
    def worth(self) -> Fraction:
        """How many of the API's requests one of ours stands for, counting good ones."""
        return exact(self.host.good_share) / exact(self.api_good_share)

    @property
    def usd_saved_per_offered(self) -> Fraction:
        """What a request offered to our replicas saves at the API."""
        return exact(self.usd_per_request) * self.kept * self.worth


class Month(NamedTuple):
    """One month; `replicas` are those of the busiest hour, `api_share` is what the API serves of the mixed month.

    The API's bill alone is for as many good requests as the mixed month gives.
    """

    requests: int
    api_usd: Decimal
    mixed_usd: Decimal
    replicas: int
    api_share: Decimal

    @property
    def saving_usd(self) -> Decimal:
        """What the mixed month saves against the API alone; negative where it is dearer."""
        return self.api_usd - self.mixed_usd


def month(case: Case, requests_per_month: int) -> Month:
    """What this volume costs at the API alone and as the case routes it; UserError for a capacity of 0."""
    if requests_per_month < 1:
        raise UserError(f"--requests-per-month {requests_per_month}: expected 1 or more")
    offered = requests_per_month * exact(case.offered_share)
    count = replicas(case.host, offered) if offered else 0
    own_usd = own_exact_usd(case, requests_per_month)
    if case.overflow:
        own_usd, offered, count = fill(case.host, requests_per_month, case.usd_saved_per_offered)
    left = requests_per_month - offered * case.kept
    price = exact(case.usd_per_request)
    alone = left + (requests_per_month - left) * case.worth
    return Month(
        requests_per_month, decimal(alone * price), decimal(own_usd + left * price), count,
        decimal(left / requests_per_month),
    )  # fmt: skip


def wins_exactly(case: Case, requests_per_month: int) -> bool:
    """Whether the case is no dearer than the API alone at this volume, for a capacity above 0."""
    if case.overflow:
        filled = fill(case.host, requests_per_month, case.usd_saved_per_offered)
        return filled.usd <= filled.offered * case.usd_saved_per_offered
    offered = requests_per_month * exact(case.offered_share)
    return own_exact_usd(case, requests_per_month) <= offered * case.usd_saved_per_offered


def own_exact_usd(case: Case, requests_per_month: int) -> Fraction:
    """The bill for replicas that are offered their share of this volume; a share of 0 needs none."""
    offered = requests_per_month * exact(case.offered_share)
    return exact_usd(case.host, offered) if offered else Fraction(0)


def usd_per_good_request(usd: Decimal, requests: int, good_share: Number) -> Decimal | None:
    """Total cost over the requests that succeed, meet the objectives and pass the quality check; None without any."""
    share("--good-share", good_share, least=0)
    good = requests * exact(good_share)
    return decimal(exact(usd) / good) if good else None


class Bills(NamedTuple):
    """$/month as the case routes it, and at the API alone for as many good requests; requests left for the API."""

    mixed_usd: Floats
    alone_usd: Floats
    left: Floats

    @property
    def saving_usd(self) -> Floats:
        """What the case saves against the API alone."""
        return self.alone_usd - self.mixed_usd


def bills_curve(
    case: Case,
    requests_per_month: Floats,
    usd_per_request: Price | None = None,
    capacity_rps: Floats | float | None = None,
) -> Bills:
    """Both bills over volumes, or over states of price and capacity; all must broadcast.

    A price that depends on the volume is taken at the volume that the API serves.
    """
    own, left = _own_and_left(case, requests_per_month, usd_per_request, capacity_rps)
    as_good = left + (requests_per_month - left) * float(case.worth)
    alone = as_good * _price(case, requests_per_month, usd_per_request)
    return Bills(np.asarray(own + left * _price(case, left, usd_per_request)), np.asarray(alone), left)


def wins_curve(
    case: Case,
    requests_per_month: Floats,
    usd_per_request: Price | None = None,
    capacity_rps: Floats | float | None = None,
) -> npt.NDArray[np.bool_]:
    """Whether the case is no dearer than the API alone; a tie but for floating point is one."""
    bills = bills_curve(case, requests_per_month, usd_per_request, capacity_rps)
    return np.asarray(bills.mixed_usd <= bills.alone_usd + ROUNDING * np.abs(bills.alone_usd))


def _own_and_left(
    case: Case, requests_per_month: Floats, usd_per_request: Price | None, capacity_rps: Floats | float | None
) -> tuple[Floats, Floats]:
    """(our bill in $/month, requests a month left for the API)."""
    if case.overflow:
        saved = _price(case, requests_per_month, usd_per_request) * float(case.kept * case.worth)
        capacity = float(case.host.capacity_rps) if capacity_rps is None else capacity_rps
        own, offered = fill_curve(case.host, requests_per_month, saved, capacity)
        return own, requests_per_month - offered * float(case.kept)
    left = requests_per_month * float(1 - exact(case.offered_share) * case.kept)
    if not case.offered_share:
        return np.zeros(np.shape(requests_per_month)), left
    return usd_curve(case.host, requests_per_month * float(case.offered_share), capacity_rps), left


def _price(case: Case, volume: Floats, usd_per_request: Price | None) -> Floats | float:
    if usd_per_request is None:
        return float(case.usd_per_request)
    return usd_per_request(volume) if callable(usd_per_request) else usd_per_request
