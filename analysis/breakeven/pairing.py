"""Servers of one's own and an API, and who of them serves which request.

A request that our replicas serve saves its price at the API; every other one is paid there. Three ways to share them:
    hybrid    our replicas are offered a share r of the requests
    cascade   they are offered all, and the answers that fail a quality check are asked for again at the API
    overflow  they are filled first, the rest goes to the API, and their number is the cheapest
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from analysis.breakeven.selfhost import SelfHost
from analysis.money.numbers import Number, at_least_zero, exact, share
from bench.types import UserError


@dataclass(frozen=True, slots=True)
class Pairing:
    """Replicas of our own beside an API's price per request, and who serves what.

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
