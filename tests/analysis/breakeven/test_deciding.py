"""A measurement is proposed where most of its simulated outcomes decide, whatever the shape of the bills."""

import re
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from analysis.breakeven.comparison import judge
from analysis.breakeven.deciding import DECIDED, decided_share, proposal
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import States, states_of
from analysis.breakeven.traffic import steady
from analysis.money.numbers import monthly_usd
from analysis.stats.uncertainty import interval_draws

RTX_4090 = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
CASE = Pairing(RTX_4090, Decimal("0.0045"))


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def priced(spread: float = 0.0002) -> States:
    return states_of(CASE, rng().normal(0.0045, spread, 10_000), None, rng(), None, 1_000)


def test_a_price_is_measured_again_so_often_that_most_outcomes_decide() -> None:
    # The API costs $7.80 more, give or take $13.60.
    said = proposal(CASE, priced(), 68_000)
    effort = int(re.search(r"price about ([\d,]+) requests \(now 1,000\)", said)[1].replace(",", "")) // 1_000  # type: ignore[index]
    assert decided_share(CASE, priced(), 68_000, effort) >= DECIDED
    assert decided_share(CASE, priced(), 68_000, effort // 2) < DECIDED


def test_the_outcomes_that_are_simulated_spread_as_the_states_of_today_do() -> None:
    """Doing what is proposed decides as often as promised: the measurement itself is simulated here, independently."""
    requests, effort, generator = 400, 12, rng(9)
    usd = generator.lognormal(0, 0.8, requests)
    usd *= 0.0045 / usd.mean()
    spread = usd.std() / requests**0.5
    states = states_of(CASE, generator.normal(0.0045, spread, 4_000), None, rng(), None, requests)
    decided = 0
    for _ in range(200):
        truth = 0.0045 + spread * generator.standard_normal()
        new_spread = spread / effort**0.5
        # The first measurement is part of the larger one.
        seen = 0.0045 / effort + (1 - 1 / effort) * (truth + spread / (effort - 1) ** 0.5 * generator.standard_normal())
        chance = float(np.mean(seen + new_spread * generator.standard_normal(4_000) >= 298.2 / 70_000))
        decided += not 0.05 < chance < 0.95
    assert decided / 200 == pytest.approx(decided_share(CASE, states, 70_000, effort), abs=0.1)


def test_at_a_step_of_the_staircase_it_is_the_capacity_that_is_measured_again() -> None:
    # Two million need two replicas for $546.40 from 1.63 requests/s on, below it three for $794.60; the API $650.
    pairing = replace(CASE, usd_per_request=Decimal("0.000325"))
    states = states_of(pairing, None, interval_draws(1.2, 2.4, rng()), rng(), None, 0, 5)
    said = proposal(pairing, states, 2_000_000)
    assert re.search(r"find the capacity in about [\d,]+ runs \(now 5\)", said)
    interval = replace(states, capacity_runs=None)
    assert re.search(
        r"measure the capacity to an interval [\d.]+ times as narrow", proposal(pairing, interval, 2_000_000)
    )


def test_where_either_alone_leaves_it_open_both_are_proposed_or_none() -> None:
    pairing = replace(CASE, usd_per_request=Decimal("0.000325"))
    states = states_of(
        pairing, rng().normal(0.000325, 0.00006, 10_000), interval_draws(1.2, 2.4, rng(4)), rng(), None, 100, 5
    )
    said = proposal(pairing, states, 2_000_000)
    assert "price about" in said and "find the capacity in about" in said
    same = States(np.repeat([0.5, 1.5], 500), np.full(1_000, 2.0), None, 100, 5)
    assert "no measurement would decide it" in proposal(CASE, same, 66_267) or judge(CASE, same, 66_267).decision


def test_what_is_decided_already_is_not_asked_for() -> None:
    assert decided_share(CASE, priced(), 200_000) == 1.0
