"""A comparison to draw: one replica's stairs against three APIs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pytest

from analysis.breakeven.advice import advice
from analysis.breakeven.comparison import Alternative, CostComparison, CostedServers, Point, SelfHosted, judge
from analysis.breakeven.decision import p_cheaper
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.ranking import rank
from analysis.breakeven.scenarios import tornado
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import stated, states_of
from analysis.breakeven.traffic import steady
from analysis.breakeven.ways import CostedPairing
from analysis.money.numbers import monthly_usd
from analysis.stats.distributions import UNKNOWN
from analysis.stats.uncertainty import interval_draws

VOLUME = 100_000
VOLUMES = np.geomspace(1_000, 10_000_000, 60)
HOST = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
POINTS = (
    Point("own", 0.00009, 180.0, 2400.0, 1.1, True),
    Point("own, busier", 0.000047, 240.0, 3100.0, 2.0, True),
    Point("own, too busy", 0.00002, 2240.0, 9100.0, 4.0, False),
    Point("api", 0.0045, 900.0, 7000.0, None, None),
)


def alternative(
    name: str, usd_per_request: str, host: SelfHost, volume: int | None, volumes: Any, measured: bool, **options: Any
) -> Alternative:
    """An API, judged as the command judges it; `measured` has the price uncertain by 4% and the capacity by 10%."""
    pairing = Pairing(host, Decimal(usd_per_request), **options)
    rng, usd, capacity = np.random.default_rng(1), float(usd_per_request), float(host.capacity_rps)
    states = stated(pairing)
    if measured:
        drawn = interval_draws(0.9 * capacity, 1.1 * capacity, rng, 500) if capacity else None
        states = states_of(pairing, rng.normal(usd, 0.04 * usd, 500), drawn, rng, None, 300, 5)
    found = judge(pairing, states, volume)
    free, dear = (replace(pairing, host=replace(host, ops_usd_per_month=Decimal(usd))) for usd in (0, 500))
    bars = {"operation": ((free, states), (dear, states)), "nothing": ((pairing, states), (pairing, states))}
    return Alternative(
        name=name,
        servers=SelfHosted("one replica"),
        pairing=pairing,
        states=states,
        found=found,
        p_cheaper=p_cheaper(pairing, states, volumes),
        tornado=tuple(tornado(bars, VOLUME)),
        advice=tuple(advice(pairing, states, found)),
        warnings=(),
        usd_ci95=(0.92 * usd, 1.08 * usd) if measured else UNKNOWN,
    )


def build_comparison(
    *apis: tuple[str, str],
    host: SelfHost = HOST,
    pairing: dict[str, Any] | None = None,
    measured: bool = True,
    **options: Any,
) -> CostComparison:
    """A comparison from (name, $/request) pairs, and from options of the pairing and of the comparison."""
    if not apis and host is HOST and not pairing and options.keys() <= {"points", "warnings"}:
        return replace(_usual(measured), **options)
    return _built(apis, host, pairing, measured, **options)


@cache
def _usual(measured: bool) -> CostComparison:
    return _built((), HOST, None, measured)


def _built(
    apis: Sequence[tuple[str, str]], host: SelfHost, pairing: dict[str, Any] | None, measured: bool, **options: Any
) -> CostComparison:
    given = apis or (("dear", "0.0045"), ("middle", "0.00021"), ("cheap", "0.000108"))
    asked: dict[str, Any] = {"requests_per_month": VOLUME, "volumes": VOLUMES, "points": POINTS} | options
    at = asked["requests_per_month"], asked["volumes"], measured
    alternatives = tuple(alternative(name, usd, host, *at, **(pairing or {})) for name, usd in given)
    pairs = [CostedPairing("self-hosting", each.name, each.pairing, each.states) for each in alternatives]
    ranking = rank(pairs, int(asked["volumes"][-1]), asked["requests_per_month"]) if pairs else None
    sides = {each.servers: CostedServers(each.servers, each.pairing.host) for each in alternatives}
    return CostComparison(alternatives=alternatives, ranking=ranking, sides=tuple(sides.values()), **asked)


@pytest.fixture
def comparison() -> Callable[..., CostComparison]:
    """See `build_comparison` for what it takes."""
    return build_comparison
