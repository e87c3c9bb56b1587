"""What would decide a comparison that the measurements leave open: each measurement proposed is simulated.

A measurement repeated m times as often would come out somewhere among the states of today, and leave states around
that place whose spread is 1/√m of today's: the spreads of both together are today's. A proposal is how often to
measure so that most of such outcomes reach the rule's 95%. Where a step of the staircase lies among the states the
bills jump, so that no normal approximation to them would do.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from analysis.breakeven.bills import wins
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.states import States, needed
from analysis.stats.distributions import Floats, Ints

EFFORTS: Final = (2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 1_000)
OUTCOMES: Final = 100
STATES_OF_OUTCOME: Final = 200
DECIDED: Final = 0.8
"""Of the simulated outcomes, how many are to decide it before a measurement is proposed."""


def proposal(pairing: Pairing, states: States, requests_per_month: int) -> str:
    """The measurement that would decide between the two at this volume, or that none of them would."""
    by_price = _effort(pairing, states, requests_per_month, price=True, capacity=False)
    by_capacity = _effort(pairing, states, requests_per_month, price=False, capacity=True)
    both = None
    if by_price is None and by_capacity is None and states.price_measured and states.capacity_measured:
        both = _effort(pairing, states, requests_per_month, price=True, capacity=True)
    wanted = [_of_price(states, by_price)] if by_price and (not by_capacity or by_price <= by_capacity) else []
    if by_capacity and not wanted:
        wanted = [_of_capacity(states, by_capacity)]
    if both:
        wanted = [_of_price(states, both), _of_capacity(states, both)]
    if not wanted:
        return (
            f"no measurement would decide it: {EFFORTS[-1]:,} times as many would leave it open; "
            "decide on other grounds"
        )
    return f"what would decide it in {DECIDED:.0%} of the outcomes: {' and '.join(wanted)}"


def _of_price(states: States, effort: int) -> str:
    return f"price about {states.requests * effort:,} requests (now {states.requests:,})"


def _of_capacity(states: States, effort: int) -> str:
    if states.capacity_runs is None:
        return f"measure the capacity to an interval {math.sqrt(effort):.1f} times as narrow"
    return f"find the capacity in about {states.capacity_runs * effort:,} runs (now {states.capacity_runs})"


def _effort(pairing: Pairing, states: States, requests_per_month: int, *, price: bool, capacity: bool) -> int | None:
    """How many times the measurements are to be made; None where none of these, or no number of them, decides."""
    if (price and not states.price_measured) or (capacity and not states.capacity_measured):
        return None
    return next(
        (
            effort
            for effort in EFFORTS
            if decided_share(pairing, states, requests_per_month, effort if price else 1, effort if capacity else 1)
            >= DECIDED
        ),
        None,
    )


def decided_share(
    pairing: Pairing, states: States, requests_per_month: int, price_effort: int = 1, capacity_effort: int = 1
) -> float:
    """In which share of the outcomes, of measuring so many times as often, the rule decides at this volume."""
    rng = np.random.default_rng(0)
    outcome, inner = rng.integers(0, len(states), OUTCOMES), rng.integers(0, len(states), STATES_OF_OUTCOME)
    of = _outcomes(outcome, inner)
    then = replace(
        states,
        price_factor=of(states.price_factor, price_effort),
        capacity_rps=of(states.capacity_rps, capacity_effort),
    )
    won = wins(pairing, then, np.array([requests_per_month]))
    counts = won.reshape(OUTCOMES, STATES_OF_OUTCOME).sum(axis=1)
    enough = needed(replace(states, price_factor=np.ones(STATES_OF_OUTCOME)))
    return float(np.mean((counts >= enough) | (counts <= STATES_OF_OUTCOME - enough)))


def _outcomes(outcome: Ints, inner: Ints) -> Callable[[Floats, int], Floats]:
    """The states that each outcome leaves, one outcome after the other, of a quantity measured that often."""

    def of(values: Floats, effort: int) -> Floats:
        if effort == 1:
            return np.tile(values[inner], OUTCOMES)
        # The variance of place and spread is (1 - 1/m) + 1/m of today's: together they are what is known today.
        middle = values.mean()
        place = middle + math.sqrt(1 - 1 / effort) * (values[outcome] - middle)
        spread = math.sqrt(1 / effort) * (values[inner] - middle)
        return np.asarray(np.maximum(0.0, (place[:, np.newaxis] + spread).ravel()), np.float64)

    return of
