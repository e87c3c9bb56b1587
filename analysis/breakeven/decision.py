"""What the states say of one volume: how likely self-hosting is no dearer, what either way costs, what to do.

One rule: from 95% on it is recommended, up to 5% the API is, and between them the measurements do not decide.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np

from analysis.breakeven.bills import bills, wins
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.staircase import Amounts
from analysis.breakeven.states import States, at_level, needed, stated
from analysis.money.numbers import decimal, exact
from analysis.stats.distributions import CONFIDENCE, Floats

Choice = Literal["self-host", "api", "same", "undecided"]

WORST: Final = 0.1
"""Of ten states the worst one is left out."""

VALUES_AT_ONCE: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Decision:
    """One volume. Bills are those to be expected, in $/month; of the API for as many good requests as self-hosting
    gives. Infinite where in some state no number of replicas serves.

    `saving_usd` is what self-hosting is expected to save, `low_usd` and `high_usd` what nine of ten states reach and
    do not exceed, `won_usd` and `lost_usd` what it saves on average where it is no dearer and where it is; None where
    it never is. `replicas` are those of the busiest hour, from the fewest to the most that 95% of the states need; None
    where none are enough. `api_share` of the requests goes to the API all the same.
    """

    requests: int
    choice: Choice
    p_cheaper: float
    api_usd: Decimal
    self_usd: Decimal
    saving_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    won_usd: Decimal | None
    lost_usd: Decimal | None
    api_share: Decimal
    replicas: tuple[int, int] | None


def p_cheaper(pairing: Pairing, states: States, volumes: Floats) -> Floats:
    """The share of the states in which self-hosting is no dearer, at each volume; exactly 0 or 1 where there is one."""
    at_once = max(1, VALUES_AT_ONCE // len(states))
    parts = [volumes[start : start + at_once] for start in range(0, len(volumes), at_once)]
    return np.concatenate([wins(pairing, states, part).mean(axis=0) for part in parts])


def choice_of(chance: float, states: States) -> Choice:
    """What to do where self-hosting is no dearer with that probability."""
    won = round(chance * len(states))
    if won >= needed(states):
        return "self-host"
    return "api" if won <= len(states) - needed(states) else "undecided"


def decide(pairing: Pairing, states: States, requests_per_month: int) -> Decision:
    """What the states say of this volume; exact where there is one of them.

    Bills are means over the capacities at the price that was measured, which is its best estimate; ends are over all
    states.
    """
    volume = np.array([requests_per_month])
    chance = float(p_cheaper(pairing, states, volume)[0])
    if not states.measured and _has_one_price(pairing, states):
        states = stated(pairing)
    middle = bills(pairing, replace(states, price_factor=states.price_factor * 0 + 1), volume)
    saving = bills(pairing, states, volume).saving_usd[:, 0]
    won = wins(pairing, states, volume)[:, 0]
    alone, mixed = middle.alone_usd.mean(), middle.mixed_usd.mean()
    low, high = _decimal(at_level(saving, WORST)), _decimal(at_level(saving, 1 - WORST))
    return Decision(
        requests=requests_per_month,
        choice="same" if low == high == 0 else choice_of(chance, states),
        p_cheaper=chance,
        api_usd=_decimal(alone),
        self_usd=_decimal(mixed),
        saving_usd=_decimal(alone - mixed),
        low_usd=low,
        high_usd=high,
        won_usd=_mean(saving[won]),
        lost_usd=_mean(saving[~won]),
        api_share=_decimal(middle.left.mean() / requests_per_month),
        replicas=_replicas(pairing, states, volume),
    )


def _has_one_price(pairing: Pairing, states: States) -> bool:
    """Whether the pairing's own price, which is that of the volume asked about, is paid for every request."""
    return states.curve is None or (not pairing.overflow and exact(pairing.offered_share) * pairing.kept == 1)


def _mean(usd: Amounts) -> Decimal | None:
    return _decimal(usd.mean()) if len(usd) else None


def _decimal(value: Any) -> Decimal:
    return Decimal(str(float(value))) if isinstance(value, float) else decimal(value)


def _replicas(pairing: Pairing, states: States, volume: Amounts) -> tuple[int, int] | None:
    """Exactly those that the ends of the capacity's interval need; None where no number of them serves."""
    tail = (1 - CONFIDENCE) / 2
    ends = [exact(float(at_level(states.capacity_rps, level))) for level in (tail, 1 - tail)]
    if not states.capacity_measured:
        ends = [exact(pairing.host.capacity_rps)]
    if not all(ends):
        return None
    counts = bills(pairing, States(np.array(ends) * 0 + 1, np.array(ends)), volume).replicas
    return int(counts.min()), int(counts.max())
