"""In how many states self-hosting is no dearer, at every volume: a step function, and the volumes at which it is sure.

Strategy: each state has its own staircase against its own line, and costs never fall as volume grows. So where a state
loses at N it loses up to the volume whose API bill pays for its cost at N, and where it wins it wins up to the next
step. All climb together, one such jump at a time. Where a state's winner is settled for good it climbs no more; where
enough are settled, so is what can be said of all of them, and the climb ends. Of one state that was stated and not
measured all of this is exact.
"""

import math
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.breakeven.bills import Wins, wins
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.staircase import Amounts, Staircase, ratio
from analysis.breakeven.states import PriceCurve, States, needed, stated
from analysis.breakeven.volumes import ALWAYS, BreakEven, Span, from_spans, kind_of
from analysis.money.numbers import decimal, exact
from analysis.stats.distributions import Floats, Ints
from analysis.wording import dollars

# Only where a full replica is within a thousandth of the API's price does a state need more jumps than this.
MOST_STEPS: Final = 2_000
# Requests per month beyond any service, up to which float64 counts requests one by one.
LARGEST_VOLUME: Final = 10**12
GRID_POINTS: Final = 1_024
# Further up a logarithmic axis the steps are closer together than a screen can show.
MOST_EDGES: Final = 300
STEPS_IN_GRID: Final = 200
OVERFLOW_GRID_REPLICAS: Final = 100

ALL_BUT_A_TIE: Final = (
    "a full replica costs exactly what the API does, or all but that: further spans are left out, the permanent one is "
    "a bound"
)
BOTH_FREE: Final = "both are free: neither saves anything"
NEVER_A_CAPACITY: Final = "the objectives are met at no rate (capacity 0), so no number of replicas serves any volume"
NOTHING_OFFERED: Final = "no request is offered to our replicas, so both ways are the same"


def break_even(pairing: Pairing) -> BreakEven:
    """Exactly where self-hosting is no dearer than the API, whose price does not depend on the volume."""
    return answer(pairing, stated(pairing))[0]


def answer(pairing: Pairing, states: States) -> tuple[BreakEven, Amounts]:
    """The volumes at which self-hosting is surely no dearer, and each state's first one (infinite: none)."""
    if not pairing.offered_share:
        return from_spans(ALWAYS, (NOTHING_OFFERED,)), np.ones(len(states))
    if not states.measured and not pairing.host.capacity_rps:
        return from_spans((), (NEVER_A_CAPACITY,)), np.array([np.inf])
    counted = _count(pairing, states)
    enough, few = needed(states), len(states) - needed(states)
    spans = _spans(counted, counted.wins >= enough)
    if states.exact:
        return _exactly(pairing, states, counted, spans), counted.first
    open_spans = _spans(counted, (counted.wins < enough) & (counted.wins > few))
    kind = kind_of(spans)
    if kind == "never" and open_spans:
        kind = "undecided"
    # The middle says why the one or the other never pays.
    reasons = break_even(pairing).reasons if not spans else ()
    if counted.known_to is not None:
        reasons += (f"beyond {counted.known_to:,} requests/month the winner changes too often to tell",)
    return BreakEven(kind, spans, reasons, open_spans=open_spans, known_to=counted.known_to), counted.first


def _exactly(pairing: Pairing, states: States, counted: "_Counted", spans: tuple[Span, ...]) -> BreakEven:
    """The answer of one stated state, with the reason why it never pays, or not for good."""
    reasons = _why_not(pairing, states, spans)
    if counted.known_to is None:
        return from_spans(spans, reasons)
    settled = Climb(pairing, states).settled()
    bound = (Span(int(settled.volume[0]), None),) if settled.won[0] else ()
    return BreakEven("intervals", (*spans, *bound), (*reasons, ALL_BUT_A_TIE), known_to=counted.known_to)


def _why_not(pairing: Pairing, states: States, spans: tuple[Span, ...]) -> tuple[str, ...]:
    saved_usd = pairing.usd_saved_per_offered
    if not saved_usd:
        return (BOTH_FREE if spans == ALWAYS else "a request that we serve saves nothing at the API",)
    steps = states.staircase(pairing)
    full_usd = steps.lines(steps.full(states.capacity_rps)).usd_per_request[0]
    if spans if pairing.overflow else full_usd < saved_usd:
        return ()
    full, saved = (dollars(decimal(usd)) for usd in (full_usd, saved_usd))
    return (f"a request costs {full} on our replicas even when they are full, and saves {saved} at the API",)


# --- a step function of the volume --------------------------------------------------------------------------------


class _Counted(NamedTuple):
    """`wins[i]` states win from `volumes[i]` on until the next one; `first` is each state's first win, or infinite.

    Beyond `known_to` nothing is known; None: what can be said at the last volume holds for good.
    """

    volumes: Amounts
    wins: Ints
    first: Amounts
    known_to: int | None


class _Changes(NamedTuple):
    """Where states begin (+1) and cease (−1) to win, and from where on none of them is known."""

    states: list[Ints]
    volumes: list[Amounts]
    signs: list[Ints]
    known_to: float


def _count(pairing: Pairing, states: States) -> _Counted:
    if states.curve is not None:
        changes = _of_curve(pairing, states, states.curve)
    elif pairing.overflow:
        changes = _of_overflow(pairing, states)
    else:
        changes = Climb(pairing, states).changes(1)
    return _step_function(changes, len(states))


def _step_function(changes: _Changes, states: int) -> _Counted:
    state, volume, sign = (
        np.concatenate(parts) if parts else np.zeros(0) for parts in (changes.states, changes.volumes, changes.signs)
    )
    begins = sign > 0
    first = np.full(states, np.inf, volume.dtype)
    np.minimum.at(first, state[begins].astype(np.int64), volume[begins])
    inside = volume <= changes.known_to
    volumes, at = np.unique(np.concatenate([[1], volume[inside]]), return_inverse=True)
    steps = np.bincount(at, np.concatenate([[0.0], sign[inside]]), len(volumes))
    known_to = int(changes.known_to) if changes.known_to < np.inf else None
    return _Counted(volumes, np.cumsum(steps).round().astype(np.int64), first, known_to)


def _spans(counted: _Counted, holds: Wins) -> tuple[Span, ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], holds.astype(np.int8), [0]])))
    found = []
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        last = counted.known_to if end == len(holds) else int(counted.volumes[end]) - 1
        found.append(Span(int(counted.volumes[begin]), last))
    return tuple(found)


# --- a staircase against a line -----------------------------------------------------------------------------------


class Climb:
    """States at the pairing's own price times their factors, which are compared volume by volume."""

    def __init__(self, pairing: Pairing, states: States) -> None:
        self.steps: Staircase = states.staircase(pairing)
        self.share = states.number(pairing.offered_share)
        self.saved_usd = states.price_factor * (self.share * states.number(pairing.usd_saved_per_offered))
        self.full = self.steps.full(states.capacity_rps)
        self.enough = needed(states)
        self.largest = np.inf if states.exact else LARGEST_VOLUME

    def changes(self, start: int) -> _Changes:
        """Where the winner changes from `start` on."""
        settled = self.settled()
        horizon = _horizon(settled, self.enough)
        volume = np.maximum(settled.loses_below, start)
        winning, seen = np.zeros((2, len(volume)), np.bool_)
        found = _Changes([], [], [], np.inf)
        # Each state's first volume is wanted, however early it is sure what most states say.
        early = np.minimum(horizon, settled.volume)
        active = np.flatnonzero(volume <= self.largest)
        for _ in range(MOST_STEPS):
            if not len(active):
                break
            # A state that loses here loses up to where the API's bill reaches our cost here, for that only grows. One
            # that wins does so up to the next step, for until then only the API's bill grows.
            at = volume[active]
            pays_from = self._pays_from(at, active)
            wins_now = pays_from <= at
            changed = wins_now != winning[active]
            found.states.append(active[changed])
            found.volumes.append(at[changed])
            found.signs.append(np.where(wins_now[changed], 1, -1))
            winning[active] = wins_now
            seen[active] |= wins_now
            volume[active] = np.where(wins_now, self.next_step(at, active), pays_from)
            limit = np.where(seen[active] | ~settled.won[active], early[active], settled.volume[active])
            active = active[volume[active] <= np.minimum(limit, self.largest)]
        beyond = volume[active].min() - 1 if len(active) else np.inf
        known_to = min(beyond, self.largest if horizon > self.largest else np.inf)
        return found._replace(known_to=known_to if known_to < horizon else np.inf)

    def _pays_from(self, at: Amounts, these: Ints) -> Amounts:
        """The smallest volume whose savings at the API pay for our replicas at this one; infinite where none does."""
        own = self.steps.serve(at * self.share, self.full[these]).usd
        saved = self.saved_usd[these]
        pays_from = np.ceil(ratio(own, saved, 0) * (1 - self.steps.rounding))
        return np.where(own > 0, np.where(saved > 0, pays_from, np.inf), 0)

    def next_step(self, at: Amounts, these: Ints) -> Amounts:
        """The smallest volume above this one at which some hour needs another replica."""
        last = self.steps.last_at_same_cost(at * self.share, self.full[these]) / self.share
        return np.asarray(np.floor(last * (1 + self.steps.rounding / 2)) + 1)

    def settled(self) -> "_Settled":
        """From where on each state's winner is the same for good; of what wins, down from where that is sure."""
        usd_per_request, low_usd, high_usd = self.steps.lines(self.full)
        # What each request gains in the long run. Where it is positive, the line above our staircase meets the API's
        # at high_usd / gain; where it is negative, the line below it has crossed at low_usd / gain.
        gain = self.saved_usd - self.share * usd_per_request
        won = (gain > 0) | ((gain == 0) & (high_usd <= 0))
        lost = (gain < 0) | ((gain == 0) & (low_usd > 0))
        up = 1 + self.steps.rounding
        won_at, lost_at = np.ceil(ratio(high_usd, gain, 0) * up), np.floor(ratio(low_usd, gain, 0) * up) + 1
        at = np.where(won | lost, np.maximum(1, np.where(won, won_at, lost_at)), np.inf)
        below = np.ceil(np.where(gain > 0, ratio(low_usd, gain, 0), 0) * (1 - self.steps.rounding))
        # The line bounds where a winner wins for good; walking down from there finds the first volume of that span.
        these = np.flatnonzero(won)
        pays_from = self._pays_from(at[these], these)
        for _ in range(MOST_STEPS):
            at[these] = np.maximum(1, pays_from)
            these = these[at[these] > 1]
            if not len(these):
                break
            pays_from = self._pays_from(at[these] - 1, these)
            still = pays_from < at[these]
            these, pays_from = these[still], pays_from[still]
        return _Settled(won, at, below)


class _Settled(NamedTuple):
    """Whether each state wins for good, and from which volume that or its opposite holds; infinite: not known.

    All lose below `loses_below`. Of a state that wins, so near a tie that the search ended, the volume is a bound.
    """

    won: Wins
    volume: Amounts
    loses_below: Amounts


def _horizon(settled: _Settled, enough: int) -> Any:
    """From where on what can be said of all states holds for good: enough won, enough lost, or too many of each."""
    few = len(settled.won) - enough
    won, lost = np.sort(settled.volume[settled.won]), np.sort(settled.volume[~settled.won])

    def reached(count: int, volumes: Amounts) -> Any:
        return volumes[count - 1] if 0 < count <= len(volumes) else np.inf

    return min(reached(enough, won), reached(enough, lost), max(reached(few + 1, won), reached(few + 1, lost)))


# --- what has no staircase of its own -----------------------------------------------------------------------------


def _of_overflow(pairing: Pairing, states: States) -> _Changes:
    """What has paid once pays at every larger volume: each state's first one by bisection."""
    saved_usd = states.price_factor * states.number(pairing.usd_saved_per_offered)
    steps = states.staircase(pairing)
    high = steps.surely_filled_at(steps.full(states.capacity_rps), saved_usd)
    if not states.exact:
        high = np.clip(high, 1, LARGEST_VOLUME)
    low, pays_at_last = high * 0 + 1, _wins_at(pairing, states, high)
    while np.any(high > low):
        middle = (low + high) // 2
        pays = _wins_at(pairing, states, middle)
        low, high = np.where(pays, low, middle + 1), np.where(pays, middle, high)
    state = np.flatnonzero(pays_at_last)
    return _Changes([state], [low[state]], [np.ones(len(state), np.int64)], np.inf)


def _wins_at(pairing: Pairing, states: States, volume: Amounts) -> Wins:
    """Whether each state wins at a volume of its own."""
    return wins(pairing, states, volume[:, np.newaxis])[:, 0]


def _of_curve(pairing: Pairing, states: States, curve: PriceCurve) -> _Changes:
    """Up to the volume at which the price settles on a grid, each change narrowed to one request; beyond it climbing.

    Who is filled first leaves the API any number of requests, so of overflow nothing is known beyond the grid.
    """
    # The API serves only what we leave: its price settles at so many times the volume.
    left = 1 - exact(pairing.offered_share) * pairing.kept
    until = math.ceil(curve.settled_at / left) if left and not pairing.overflow else curve.settled_at
    if pairing.overflow:
        until = max(until, OVERFLOW_GRID_REPLICAS * math.ceil(pairing.host.requests_per_replica_month))
    beyond_any = until > LARGEST_VOLUME
    until = min(max(2, until), LARGEST_VOLUME)
    below = _on_grid(pairing, states, until)
    if pairing.overflow or beyond_any:
        return below._replace(known_to=float(until - 1))
    settled = replace(pairing, usd_per_request=curve.settled_usd)
    beyond = Climb(settled, replace(states, curve=None)).changes(until)
    return _Changes(
        below.states + beyond.states, below.volumes + beyond.volumes, below.signs + beyond.signs, beyond.known_to
    )


def _on_grid(pairing: Pairing, states: States, until: int) -> _Changes:
    """Changes of the winner below `until`, at which every state ceases to win."""
    grid = np.tile(np.unique(np.geomspace(1, until - 1, GRID_POINTS).round()), (len(states), 1))
    steps = [] if pairing.overflow else _steps(pairing, states, until)
    volumes = np.sort(np.concatenate([grid, *steps], axis=1), axis=1)
    found = wins(pairing, states, volumes)
    state, at = np.nonzero(found[:, 1:] != found[:, :-1])
    low, high, before = volumes[state, at], volumes[state, at + 1], found[state, at]
    these = replace(states, price_factor=states.price_factor[state], capacity_rps=states.capacity_rps[state])
    while np.any(high - low > 1):
        middle = np.floor((low + high) / 2)
        same = _wins_at(pairing, these, middle) == before
        low, high = np.where(same & (high - low > 1), middle, low), np.where(same | (high - low <= 1), high, middle)
    at_once, at_last = np.flatnonzero(found[:, 0]), np.flatnonzero(found[:, -1])
    return _Changes(
        [at_once, state, at_last],
        [np.ones(len(at_once)), high, np.full(len(at_last), float(until))],
        [np.ones(len(at_once), np.int64), np.where(before, -1, 1), np.full(len(at_last), -1)],
        np.inf,
    )


def _steps(pairing: Pairing, states: States, until: int) -> list[Floats]:
    """Columns of the volumes on both sides of each state's steps below `until`, the first of many."""
    climb, every = Climb(pairing, states), np.arange(len(states))
    volume, columns = np.ones(len(states)), []
    for _ in range(STEPS_IN_GRID):
        volume = climb.next_step(volume, every)
        if not np.any(volume < until):
            break
        last = np.minimum(np.where(np.isfinite(volume), volume, until), until - 1.0)
        columns += [last[:, np.newaxis], np.maximum(last - 1, 1.0)[:, np.newaxis]]
    return columns


def steps_of(pairing: Pairing, low: float, high: float) -> list[float]:
    """The last volume before each further replica and the first after it; none where filling chooses their number."""
    if not pairing.host.capacity_rps or not pairing.offered_share or pairing.overflow:
        return []
    climb, found, only = Climb(pairing, stated(pairing)), list[float](), np.array([0])
    volume = np.array([max(1, math.ceil(low))], np.object_)
    while len(found) < 2 * MOST_EDGES:
        volume = climb.next_step(volume, only)
        if volume[0] > high:
            break
        found += [float(volume[0] - 1), float(volume[0])]
    return found
