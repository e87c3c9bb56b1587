"""In how many states self-hosting is no dearer, at every volume: a step function, and the volumes at which it is sure.

Strategy: each state has its own staircase against its own line. All climb together, one change of the winner or one
further replica at a time, as `break_even` does exactly for one of them. Where a state's winner is settled for good it
climbs no more; where enough are settled, so is what can be said of all of them, and the climb ends.
"""

import math
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.breakeven.routing import Case, wins_curve
from analysis.breakeven.selfhost import ROUNDING, billed, bounds, usd_curve
from analysis.breakeven.states import Curve, States, needed, prices
from analysis.breakeven.volumes import MOST_STEPS, Answer, Span, break_even, kind_of
from analysis.money.numbers import exact
from analysis.stats.distributions import Floats, Ints

# Requests per month beyond any service.
LARGEST_VOLUME: Final = 10**12
GRID_POINTS: Final = 1_024
STEPS_IN_GRID: Final = 200
OVERFLOW_GRID_REPLICAS: Final = 100


class Wins(NamedTuple):
    """`counts[i]` states win from `volumes[i]` on until the next one; `first` is each state's first win, or infinite.

    Beyond `known_to` nothing is known; None: what can be said at the last volume holds for good.
    """

    volumes: Floats
    counts: Ints
    first: Floats
    known_to: int | None


class _Changes(NamedTuple):
    """Where states begin (+1) and cease (−1) to win, and from where on none of them is known."""

    states: list[Ints]
    volumes: list[Floats]
    signs: list[Ints]
    known_to: float


def answer(case: Case, states: States) -> tuple[Answer, Floats]:
    """The volumes at which self-hosting is surely no dearer, and each state's first one (infinite: none)."""
    if not states.measured and states.curve is None:
        found = break_even(case)
        return found, np.array([float("inf") if found.first is None else float(found.first)])
    wins = _wins(case, states)
    enough, few = needed(states), len(states) - needed(states)
    spans = _spans(wins, wins.counts >= enough)
    open_spans = _spans(wins, (wins.counts < enough) & (wins.counts > few))
    kind = kind_of(spans)
    if kind == "never" and open_spans:
        kind = "undecided"
    # The middle says why the one or the other never pays.
    reasons = break_even(case).reasons if not spans else ()
    if wins.known_to is not None:
        reasons += (f"beyond {wins.known_to:,} requests/month the winner changes too often to tell",)
    return Answer(kind, spans, reasons, open_spans=open_spans, known_to=wins.known_to), wins.first


def _spans(wins: Wins, holds: npt.NDArray[np.bool_]) -> tuple[Span, ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], holds.astype(np.int8), [0]])))
    found = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        last = wins.known_to if end == len(holds) else int(wins.volumes[end]) - 1
        found.append(Span(int(wins.volumes[begin]), last))
    return tuple(found)


def _wins(case: Case, states: States) -> Wins:
    if states.curve is not None:
        changes = _of_curve(case, states, states.curve)
    elif case.overflow:
        changes = _of_overflow(case, states)
    else:
        changes = _climb(case, states, 1)
    return _step_function(changes, len(states))


def _step_function(changes: _Changes, states: int) -> Wins:
    state, volume, sign = (
        np.concatenate(parts) if parts else np.zeros(0) for parts in (changes.states, changes.volumes, changes.signs)
    )
    begins = sign > 0
    first = np.full(states, np.inf)
    np.minimum.at(first, state[begins].astype(np.int64), volume[begins])
    known_to = int(changes.known_to) if np.isfinite(changes.known_to) else None
    inside = volume <= changes.known_to
    volumes, at = np.unique(np.concatenate([[1.0], volume[inside]]), return_inverse=True)
    steps = np.bincount(at, np.concatenate([[0.0], sign[inside]]), len(volumes))
    return Wins(volumes, np.cumsum(steps).round().astype(np.int64), first, known_to)


# --- a staircase against a line -----------------------------------------------------------------------------------


def _climb(case: Case, states: States, start: int) -> _Changes:
    """From `start` on, at the case's own price times each state's factor."""
    share, host, capacity = float(case.offered_share), case.host, states.capacity_rps
    saved = states.price_factor * (share * float(case.usd_saved_per_offered))
    won, settled = _settled(case, states, saved)
    horizon = _horizon(won, settled, needed(states))
    volume, winning = np.full(len(states), float(start)), np.zeros(len(states), np.bool_)
    found = _Changes([], [], [], np.inf)
    seen = np.zeros(len(states), np.bool_)
    active = np.arange(len(states))
    for _ in range(MOST_STEPS):
        at, rps = volume[active], capacity[active]
        own = usd_curve(host, at * share, rps)
        with np.errstate(divide="ignore", invalid="ignore"):
            pays_from = np.where(own > 0, _whole(own / saved[active]), 0.0)
        wins = pays_from <= at
        changed = wins != winning[active]
        found.states.append(active[changed])
        found.volumes.append(at[changed])
        found.signs.append(np.where(wins[changed], 1, -1))
        winning[active] = wins
        seen[active] |= wins
        volume[active] = np.where(wins, _next_step(case, at, rps), pays_from)
        limit = np.where(seen[active] | ~won[active], np.minimum(horizon, settled[active]), settled[active])
        active = active[volume[active] <= np.minimum(limit, LARGEST_VOLUME)]
        if not len(active):
            break
    beyond = volume[active].min() - 1 if len(active) else np.inf
    known_to = min(beyond, LARGEST_VOLUME if horizon > LARGEST_VOLUME else np.inf)
    return found._replace(known_to=known_to if known_to < horizon else np.inf)


def _whole(requests_per_month: Floats) -> Floats:
    """Rounded up, where it is not a whole number but for floating point."""
    return np.asarray(np.ceil(requests_per_month * (1 - ROUNDING)), np.float64)


def _settled(case: Case, states: States, saved: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
    """(whether self-hosting wins for good, from which volume on that or its opposite is so; infinite: not known)."""
    slope, low_usd, high_usd = map(float, bounds(replace(case.host, capacity_rps=1)))
    share = float(case.offered_share)
    with np.errstate(divide="ignore", invalid="ignore"):
        full = np.where(states.capacity_rps > 0, share * slope / states.capacity_rps, np.inf)
        gain = saved - full
        wins_from, loses_from = high_usd / gain, low_usd / gain
    won = (gain > 0) | ((gain == 0) & (high_usd <= 0))
    lost = (gain < 0) | ((gain == 0) & (low_usd > 0))
    at = np.where(won, np.where(gain > 0, wins_from, 1.0), np.where(lost & (gain < 0), loses_from, 1.0))
    return won, np.where(won | lost, np.maximum(1.0, np.ceil(at * (1 + ROUNDING))), np.inf)


def _horizon(won: npt.NDArray[np.bool_], settled: Floats, enough: int) -> float:
    """From where on what can be said of all states holds for good: enough won, enough lost, or too many of each."""
    few = len(won) - enough
    wins, losses = np.sort(settled[won]), np.sort(settled[~won])

    def reached(count: int, volumes: Floats) -> float:
        return float(volumes[count - 1]) if 0 < count <= len(volumes) else np.inf

    return min(reached(enough, wins), reached(enough, losses), max(reached(few + 1, wins), reached(few + 1, losses)))


def _next_step(case: Case, volume: Floats, capacity_rps: Floats) -> Floats:
    """The smallest volume above each at which some hour needs another replica."""
    share, full = float(case.offered_share), float(replace(case.host, capacity_rps=1).requests_per_replica_month)
    per_replica = capacity_rps * full
    last = np.full(len(volume), np.inf)
    for level in billed(case.host):
        load = float(level.load)
        if load:
            with np.errstate(divide="ignore", invalid="ignore"):
                count = np.ceil(volume * share * (load * (1 - ROUNDING)) / per_replica)
                edge = np.maximum(count, case.host.min_replicas) * per_replica / load / share
            last = np.fmin(last, edge)
    return np.asarray(np.floor(last * (1 + ROUNDING / 2)) + 1, np.float64)


# --- what has no staircase of its own -----------------------------------------------------------------------------


def _of_overflow(case: Case, states: States) -> _Changes:
    """What has paid once pays at every larger volume: each state's first one by bisection."""
    low, high = np.ones(len(states)), np.full(len(states), float(LARGEST_VOLUME))
    never = ~_wins_at(case, states, high)
    while np.any(high > low):
        middle = np.floor((low + high) / 2)
        pays = _wins_at(case, states, middle)
        low, high = np.where(pays, low, middle + 1), np.where(pays, middle, high)
    state = np.flatnonzero(~never)
    return _Changes([state], [low[state]], [np.ones(len(state), np.int64)], np.inf)


def _wins_at(case: Case, states: States, volume: Floats) -> npt.NDArray[np.bool_]:
    """Whether each state wins at a volume of its own."""
    column = volume[:, np.newaxis]
    return wins_curve(case, column, prices(case, states), states.capacity_rps[:, np.newaxis])[:, 0]


def _of_curve(case: Case, states: States, curve: Curve) -> _Changes:
    """Up to the volume at which the price settles on a grid, each change narrowed to one request; beyond it exactly.

    Who is filled first leaves the API any number of requests, so of overflow nothing is known beyond the grid.
    """
    left = 1 - exact(case.offered_share) * case.kept
    until = math.ceil(curve.settled_at / left) if left and not case.overflow else curve.settled_at
    if case.overflow:
        until = max(until, OVERFLOW_GRID_REPLICAS * math.ceil(case.host.requests_per_replica_month))
    beyond_any = until > LARGEST_VOLUME
    until = min(max(2, until), LARGEST_VOLUME)
    below = _on_grid(case, states, until)
    if case.overflow or beyond_any:
        return below._replace(known_to=float(until - 1))
    settled = replace(case, usd_per_request=curve.settled_usd)
    beyond = _climb(settled, replace(states, curve=None), until)
    return _Changes(
        below.states + beyond.states, below.volumes + beyond.volumes, below.signs + beyond.signs, beyond.known_to
    )


def _on_grid(case: Case, states: States, until: int) -> _Changes:
    """Changes of the winner below `until`, at which every state ceases to win."""
    grid = np.tile(np.unique(np.geomspace(1, until - 1, GRID_POINTS).round()), (len(states), 1))
    steps = [] if case.overflow else _steps(case, states, until)
    volumes = np.sort(np.concatenate([grid, *steps], axis=1), axis=1)
    wins = wins_curve(case, volumes, prices(case, states), states.capacity_rps[:, np.newaxis])
    state, at = np.nonzero(wins[:, 1:] != wins[:, :-1])
    low, high, before = volumes[state, at], volumes[state, at + 1], wins[state, at]
    these = replace(states, price_factor=states.price_factor[state], capacity_rps=states.capacity_rps[state])
    while np.any(high - low > 1):
        middle = np.floor((low + high) / 2)
        same = _wins_at(case, these, middle) == before
        low, high = np.where(same & (high - low > 1), middle, low), np.where(same | (high - low <= 1), high, middle)
    at_once, at_last = np.flatnonzero(wins[:, 0]), np.flatnonzero(wins[:, -1])
    return _Changes(
        [at_once, state, at_last],
        [np.ones(len(at_once)), high, np.full(len(at_last), float(until))],
        [np.ones(len(at_once), np.int64), np.where(before, -1, 1), np.full(len(at_last), -1)],
        np.inf,
    )


def _steps(case: Case, states: States, until: int) -> list[Floats]:
    """Columns of the volumes on both sides of each state's steps below `until`, the first of many."""
    volume, columns = np.ones(len(states)), []
    for _ in range(STEPS_IN_GRID):
        volume = _next_step(case, volume, states.capacity_rps)
        if not np.any(volume < until):
            break
        last = np.minimum(np.where(np.isfinite(volume), volume, until), until - 1.0)
        columns += [last[:, np.newaxis], np.maximum(last - 1, 1.0)[:, np.newaxis]]
    return columns
