from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from analysis.breakeven.pairing import Pairing
from analysis.breakeven.scenarios import Scenario, tornado
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import States, stated
from analysis.breakeven.traffic import steady
from analysis.money.numbers import monthly_usd

RTX_4090 = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
CASE = Pairing(RTX_4090, Decimal("0.0045"))


def host(**other: Any) -> Scenario:
    pairing = replace(CASE, host=replace(RTX_4090, **other))
    return pairing, stated(pairing)


def price(usd: str) -> Scenario:
    pairing = replace(CASE, usd_per_request=Decimal(usd))
    return pairing, stated(pairing)


def test_the_tornado_shows_first_what_moves_the_month_most() -> None:
    bars = tornado(
        {
            "peak over mean": (host(traffic=steady(1)), host(traffic=steady(4))),
            "rent": (host(usd_per_replica_month=Decimal(200)), host(usd_per_replica_month=Decimal(300))),
            "API price": (price("0.002"), price("0.006")),
            "capacity": (host(capacity_rps=0), host(capacity_rps=4)),
        },
        100_000,
    )
    assert [bar.name for bar in bars] == ["capacity", "API price", "rent", "peak over mean"]
    by_name = {bar.name: bar for bar in bars}
    assert by_name["capacity"].savings_usd[0] == Decimal("-Infinity")
    assert by_name["capacity"].firsts == (None, 66_267)
    assert by_name["API price"].swing_usd == 400
    assert (by_name["API price"].savings_usd[0], by_name["API price"].firsts[0]) == (Decimal("-98.2"), 149_100)
    assert by_name["rent"].swing_usd == 100
    assert by_name["peak over mean"].swing_usd == 0


def test_what_is_uncertain_stays_so_while_an_input_is_varied() -> None:
    states = States(np.ones(4), np.array([0.05, 2.0, 2.0, 2.0]))
    (bar,) = tornado({"price": ((CASE, states), (replace(CASE, usd_per_request=Decimal("0.006")), states))}, 100_000)
    # One state of four needs four replicas: 3 x 248.20 more.
    assert float(bar.savings_usd[0]) == pytest.approx(450 - (298.2 + 3 * 248.2 / 4))
    assert float(bar.savings_usd[1]) == pytest.approx(600 - (298.2 + 3 * 248.2 / 4))
