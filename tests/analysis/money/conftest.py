"""A comparison to draw: one replica's stairs against three APIs."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from analysis.money.advice import advice
from analysis.money.breakeven import break_even
from analysis.money.comparison import Comparison, Point, Rival
from analysis.money.numbers import monthly_usd
from analysis.money.routing import Case
from analysis.money.selfhost import SelfHost, steady
from analysis.money.uncertainty import Draws, assess, interval_draws, p_cheaper, tornado

VOLUME = 100_000
VOLUMES = np.geomspace(1_000, 10_000_000, 60)
HOST = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
POINTS = (
    Point("own", 0.00009, 180.0, 2400.0, 1.1, True),
    Point("own, busier", 0.000047, 240.0, 3100.0, 2.0, True),
    Point("own, too busy", 0.00002, 2240.0, 9100.0, 4.0, False),
    Point("api", 0.0045, 900.0, 7000.0, None, None),
)


def rival(name: str, usd_per_request: str, host: SelfHost = HOST, **case_options: Any) -> Rival:
    """An API, judged as the command judges it, with the measured price uncertain by 4%."""
    case = Case(host, Decimal(usd_per_request), **case_options)
    rng, usd = np.random.default_rng(1), float(usd_per_request)
    capacity = float(host.capacity_rps)
    draws = Draws(
        rng.normal(usd, 0.04 * usd, 500), interval_draws(0.9 * capacity, 1.1 * capacity, rng, 500), 300, 5
    )  # fmt: skip
    answer = break_even(case)
    free, dear = (replace(case, host=replace(host, ops_usd_per_month=Decimal(usd))) for usd in (0, 500))
    return Rival(
        name=name,
        case=case,
        answer=answer,
        uncertainty=assess(case, draws, VOLUMES),
        p_cheaper=p_cheaper(case, draws, VOLUME),
        tornado=tuple(tornado({"operation": (free, dear), "nothing": (case, case)}, VOLUME)),
        advice=tuple(advice(case, answer, VOLUME)),
        warnings=(),
        usd_ci95=(0.92 * usd, 1.08 * usd),
    )


@pytest.fixture
def comparison() -> Callable[..., Comparison]:
    """Builds a comparison from (name, $/request) pairs, and from options of the case and of the comparison."""

    def build(
        *apis: tuple[str, str], host: SelfHost = HOST, case: dict[str, Any] | None = None, **options: Any
    ) -> Comparison:
        given = apis or (("dear", "0.0045"), ("middle", "0.00021"), ("cheap", "0.000108"))
        rivals = tuple(rival(name, usd, host, **(case or {})) for name, usd in given)
        defaults: dict[str, Any] = {"requests_per_month": VOLUME, "volumes": VOLUMES, "points": POINTS}
        return Comparison(host="one replica", rivals=rivals, **(defaults | options))

    return build
