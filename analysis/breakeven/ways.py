"""The ways to be served, and what a month of each costs over all states that the measurements leave possible."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from analysis.breakeven.bills import bills
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.states import States
from analysis.money.numbers import exact
from analysis.stats.distributions import Floats


class CostedPairing(NamedTuple):
    """Servers of one's own and an API, by name: their pairing, and the states that measurements leave possible.

    Where there is only one of the two, the other's name is empty and what it costs is of no account.
    """

    servers: str
    api: str
    pairing: Pairing
    states: States


class Way(NamedTuple):
    """A way to be served: the servers of a pair, beside its API where that serves the rest, or the API alone."""

    name: str
    pair: CostedPairing
    is_own: bool


def ways_of(pairs: Sequence[CostedPairing]) -> tuple[Way, ...]:
    """Each servers of one's own once, or once beside each API that serves the rest; then each API once."""
    own, apis = dict[str, Way](), dict[str, Way]()
    for pair in pairs:
        beside = "" if leaves_nothing(pair.pairing) else f" and {pair.api}"
        name = f"{pair.servers}{beside}"
        if pair.servers:
            own.setdefault(name, Way(name, pair, is_own=True))
        if pair.api:
            apis.setdefault(pair.api, Way(pair.api, pair, is_own=False))
    return (*own.values(), *apis.values())


def leaves_nothing(pairing: Pairing) -> bool:
    """Whether our replicas serve all requests, so that the API's price is of no account to them."""
    return not pairing.overflow and pairing.kept * exact(pairing.offered_share) == 1


def expected_usd(way: Way, volumes: Floats) -> Floats:
    """$/month to be expected at each volume, for as many good requests as the API gives; infinite: cannot be served."""
    states = way.pair.states.rounded()
    usd = usd_of_states(way, replace(states, price_factor=np.ones(len(states))), volumes)
    return np.asarray(usd.mean(axis=0))


def usd_of_states(way: Way, states: States, volumes: Floats) -> Floats:
    """[state, volume]"""
    month = bills(way.pair.pairing, states, volumes)
    usd, as_good = month.mixed_usd if way.is_own else month.alone_usd, np.broadcast_to(month.as_good, month.left.shape)
    # A way that gives fewer good answers pays for as many more requests as make up for them.
    scale = np.divide(volumes, as_good, out=np.full(as_good.shape, np.inf), where=as_good > 0)
    return np.asarray(np.where(as_good > 0, usd * scale, np.inf), np.float64)
