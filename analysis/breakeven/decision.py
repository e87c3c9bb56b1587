"""What the states say of one volume: how likely self-hosting is no dearer, what either way costs, what to do.

One rule: from 95% on it is recommended, up to 5% the API is, and between them the measurements do not decide.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.breakeven.routing import Bills, Case, bills_curve, month, wins_curve, wins_exactly
from analysis.breakeven.states import States, needed, prices
from analysis.money.numbers import exact
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


def p_cheaper(case: Case, states: States, volumes: Floats) -> Floats:
    """The share of the states in which self-hosting is no dearer, at each volume; exactly 0 or 1 where there is one."""
    if _is_exact(case, states):
        return np.array([float(wins_exactly(case, int(volume))) for volume in volumes])
    at_once = max(1, VALUES_AT_ONCE // len(states))
    parts = [volumes[np.newaxis, start : start + at_once] for start in range(0, len(volumes), at_once)]
    return np.concatenate([_wins(case, states, part).mean(axis=0) for part in parts])


def bills(case: Case, states: States, volumes: Floats) -> Bills:
    """Both bills at each volume in each state, states along the first axis."""
    return bills_curve(case, volumes[np.newaxis], prices(case, states), states.capacity_rps[:, np.newaxis])


def choice_of(chance: float, states: States) -> Choice:
    """What to do where self-hosting is no dearer with that probability."""
    wins = round(chance * len(states))
    if wins >= needed(states):
        return "self-host"
    return "api" if wins <= len(states) - needed(states) else "undecided"


def decide(case: Case, states: States, requests_per_month: int) -> Decision:
    """What the states say of this volume; exact where there is one of them."""
    chance = float(p_cheaper(case, states, np.array([float(requests_per_month)]))[0])
    exactly = not states.measured and bool(case.host.capacity_rps) and _has_one_price(case, states)
    found = _exact(case, requests_per_month) if exactly else _expected(case, states, requests_per_month)
    choice = "same" if found.low_usd == found.high_usd == 0 else choice_of(chance, states)
    return Decision(requests_per_month, choice, chance, *found, replicas=_replicas(case, states, requests_per_month))


class _Month(NamedTuple):
    api_usd: Decimal
    self_usd: Decimal
    saving_usd: Decimal
    low_usd: Decimal
    high_usd: Decimal
    won_usd: Decimal | None
    lost_usd: Decimal | None
    api_share: Decimal


def _is_exact(case: Case, states: States) -> bool:
    """Whether the case itself is all there is: nothing measured, and one price at any volume."""
    return not states.measured and bool(case.host.capacity_rps) and states.curve is None


def _has_one_price(case: Case, states: States) -> bool:
    """Whether the case's own price, which is that of the volume asked about, is paid for every request of the month."""
    return states.curve is None or (not case.overflow and exact(case.offered_share) * case.kept == 1)


def _exact(case: Case, requests_per_month: int) -> _Month:
    at = month(case, requests_per_month)
    saving = at.saving_usd
    won, lost = (saving, None) if wins_exactly(case, requests_per_month) else (None, saving)
    return _Month(at.api_usd, at.mixed_usd, saving, saving, saving, won, lost, at.api_share)


def _expected(case: Case, states: States, requests_per_month: int) -> _Month:
    """Means over the capacities at the price that was measured, which is its best estimate; ends over all states."""
    volume = np.array([float(requests_per_month)])
    saving = np.broadcast_to(bills(case, states, volume).saving_usd, (len(states), 1))[:, 0]
    low, high = np.quantile(saving, (WORST, 1 - WORST), method="inverted_cdf")
    middle = bills(case, replace(states, price_factor=np.ones(len(states))), volume)
    alone, mixed = float(middle.alone_usd.mean()), float(middle.mixed_usd.mean())
    wins = _wins(case, states, volume[np.newaxis])[:, 0]
    share = float(np.mean(middle.left)) / requests_per_month
    return _Month(
        _decimal(alone), _decimal(mixed), _decimal(alone - mixed), _decimal(low), _decimal(high),
        _mean(saving[wins]), _mean(saving[~wins]), _decimal(share),
    )  # fmt: skip


def _wins(case: Case, states: States, volumes: Floats) -> npt.NDArray[np.bool_]:
    wins = wins_curve(case, volumes, prices(case, states), states.capacity_rps[:, np.newaxis])
    return np.broadcast_to(wins, (len(states), volumes.shape[1]))


def _mean(usd: Floats) -> Decimal | None:
    return _decimal(usd.mean()) if len(usd) else None


def _decimal(value: float) -> Decimal:
    return Decimal(str(float(value)))


def _replicas(case: Case, states: States, requests_per_month: int) -> tuple[int, int] | None:
    tail = (1 - CONFIDENCE) / 2
    ends = [exact(float(rps)) for rps in np.quantile(states.capacity_rps, (tail, 1 - tail), method="inverted_cdf")]
    if not states.capacity_measured:
        ends = [exact(case.host.capacity_rps)]
    if not all(ends):
        return None
    counts = [
        month(replace(case, host=replace(case.host, capacity_rps=rps)), requests_per_month).replicas for rps in ends
    ]
    return min(counts), max(counts)
