"""What prompt caching makes of an API's price: how often a cached prefix is hit, and what a request then costs.

A cached prefix lives for its TTL after the last request that used it, and can be read only once the first answer to
it has begun to stream. Poisson arrivals at rate λ on one prefix miss when none came within the TTL T, or when the only
ones that did came within the delay d: P(miss) = e^(−λT)·(1 + λd). Several prefixes have each their own λ.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.breakeven.traffic import STEADY, Level, Traffic
from analysis.money.numbers import SECONDS_PER_MONTH, Number, at_least_zero, exact
from analysis.stats.distributions import Floats
from bench.types import UserError

# Beyond so many requests per TTL a miss is rarer than float64 can tell from none.
SURE_HITS_PER_TTL: Final = 40.0


@dataclass(frozen=True, slots=True)
class CachePrices:
    """$ per million tokens; a prefix shorter than `min_cacheable_tokens` is not cached, silently."""

    usd_per_m_input: Decimal
    usd_per_m_write: Decimal
    usd_per_m_read: Decimal
    min_cacheable_tokens: int = 0

    def __post_init__(self) -> None:
        at_least_zero("--versus: input price", self.usd_per_m_input)
        at_least_zero("--versus: cache write price", self.usd_per_m_write)
        at_least_zero("--versus: cache read price", self.usd_per_m_read)

    @property
    def paying_hit_rate(self) -> Fraction | None:
        """The hit rate from which on caching costs no more than none, (w − 1)/(w − r); None where no hit rate does."""
        write, read, plain = map(exact, (self.usd_per_m_write, self.usd_per_m_read, self.usd_per_m_input))
        if read > plain:
            return None
        return (write - plain) / (write - read) if write > plain else Fraction(0)


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """How prefixes are kept and asked for: TTL, the weight of each prefix among the requests, and their hours."""

    ttl_s: float
    prefix_weights: tuple[Number, ...] = (1,)
    readable_after_s: float = 0.0
    traffic: Traffic = STEADY

    def __post_init__(self) -> None:
        _check_times(self.ttl_s, self.readable_after_s)
        for weight in self.prefix_weights:
            at_least_zero("--prefix-weights", weight)
        if not any(self.prefix_weights):
            raise UserError("--prefix-weights: expected at least one weight above 0")

    @property
    def settled_at(self) -> int:
        """Requests per month from which on every request is a hit, as far as float64 can tell."""
        slowest = min(rate for rate, _ in self._streams())
        return math.ceil(SURE_HITS_PER_TTL / self.ttl_s * SECONDS_PER_MONTH / slowest)

    def hit_rate(self, requests_per_month: Floats | float) -> Floats:
        """The share of all requests that find their prefix, for Poisson arrivals within each hour."""
        rate_per_s = np.asarray(requests_per_month, np.float64) / SECONDS_PER_MONTH
        hits = (
            weight * hit_rate(rate_per_s * rate, self.ttl_s, self.readable_after_s) for rate, weight in self._streams()
        )
        return np.asarray(sum(hits), np.float64)

    def _streams(self) -> list[tuple[float, float]]:
        """(rate of a prefix at a level over the mean rate of all, share of all requests) where there are requests."""
        levels = self.traffic.levels if self.traffic.by_hour else (Level(Fraction(1), Fraction(1)),)
        total = sum(map(exact, self.prefix_weights))
        shares = [exact(weight) / total for weight in self.prefix_weights if weight]
        return [
            (float(part * level.load), float(part * level.load * level.hours_share))
            for part in shares
            for level in levels
            if level.load
        ]


def _check_times(ttl_s: float, readable_after_s: float) -> None:
    if not (math.isfinite(ttl_s) and ttl_s > 0):
        raise UserError(f"--cache-ttl {ttl_s}: expected seconds above 0, as in 300")
    if not 0 <= readable_after_s <= ttl_s:
        raise UserError(f"--cache-delay {readable_after_s}: expected seconds from 0 up to the TTL of {ttl_s}")


def hit_rate(rate_per_s: npt.ArrayLike, ttl_s: float, readable_after_s: float = 0.0) -> Floats:
    """The share of Poisson arrivals on one prefix that find it cached."""
    _check_times(ttl_s, readable_after_s)
    rate = np.asarray(rate_per_s, np.float64)
    return np.asarray(1 - np.exp(-rate * ttl_s) * (1 + rate * readable_after_s))


def replay(
    arrivals_s: npt.ArrayLike, prefixes: npt.ArrayLike, ttl_s: float, readable_after_s: float = 0.0
) -> npt.NDArray[np.bool_]:
    """Which requests of a recorded trace find their prefix cached, in the trace's own order.

    `prefixes` holds an id for each request. Every request writes or refreshes its prefix, so an entry lives on until
    a gap longer than the TTL.
    """
    _check_times(ttl_s, readable_after_s)
    t_s = np.asarray(arrivals_s, np.float64)
    _, prefix = np.unique(np.asarray(prefixes), return_inverse=True)
    if len(prefix) != len(t_s):
        raise UserError(f"--traffic has {len(t_s)} times and {len(prefix)} prefixes: expected one of each per request")
    # Each prefix by itself in the order of time: an entry begins where the gap before it is longer than the TTL.
    order = np.lexsort((t_s, prefix))
    t_s, prefix = t_s[order], prefix[order]
    writes = np.ones(len(t_s), np.bool_)
    writes[1:] = (np.diff(t_s) > ttl_s) | (np.diff(prefix) != 0)
    written_s = t_s[np.maximum.accumulate(np.where(writes, np.arange(len(t_s)), 0))]
    hits = np.empty(len(t_s), np.bool_)
    hits[order] = ~writes & (t_s >= written_s + readable_after_s)
    return hits


def uncacheable(prefix_tokens: int, prices: CachePrices) -> tuple[str, ...]:
    """Why nothing of a request with such a prefix is cached; empty where it is."""
    if not prefix_tokens:
        return ("nothing is cached: the requests share no prefix",)
    if prefix_tokens < prices.min_cacheable_tokens:
        least = prices.min_cacheable_tokens
        return (f"nothing is cached: the prefix has {prefix_tokens} tokens, below the model's minimum of {least}",)
    return ()
