"""How prompts begin: which adapter answers, and the shared prefixes at their head, drawn for each session by itself.

    system prompt          `shared_prefix_tokens`, the same for all
      tenant               a level of `prefixes`: the k-th group of it is asked for like 1 / k^zipf
        document           a level below: groups of its own for each tenant

A prefix cache knows an opening as far as an earlier session, in the order of the plan, had the same one for the same
adapter, whose cache is its own.
"""

from array import array
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.plan.portable import exponential, logarithm
from bench.plan.rng import stream, uniform
from bench.types import Prefixes, Scenario

_SOURCES = 8


class Opening(NamedTuple):
    """Who answers a session, and the group that it has on each level of prefixes."""

    adapter: str | None
    path: tuple[int, ...]


def opening(scenario: Scenario, seed: int, session: int) -> Opening:
    """The opening of a session."""
    levels, adapters = scenario.prefixes, scenario.adapters
    if not levels and not adapters:
        return Opening(None, ())
    first, *draws = uniform(stream(seed, "opening", session).take(1 + len(levels))).tolist()
    adapter = tuple(adapters)[pick(tuple(adapters.values()), first)] if adapters else None
    path = (_group(level, draw) for level, draw in zip(levels, draws, strict=True))
    return Opening(adapter, tuple(path))


def pick(weights: Sequence[float], draw: float) -> int:
    """Which of these, by their weights, lies at the quantile `draw` in [0, 1)."""
    return int(np.searchsorted(_cumulative(tuple(weights)), draw, side="right"))


def _group(level: Prefixes, draw: float) -> int:
    return int(np.searchsorted(_popularity(level), draw, side="right"))


@lru_cache
def _cumulative(weights: tuple[float, ...]) -> NDArray[np.float64]:
    sums = np.cumsum(np.array(weights, np.float64))
    return np.asarray(sums[:-1] / sums[-1], np.float64)


@lru_cache
def _popularity(level: Prefixes) -> NDArray[np.float64]:
    ranks = np.arange(1, level.groups + 1, dtype=np.float64)
    return _cumulative(tuple(exponential(-level.zipf * logarithm(ranks)).tolist()))


def nodes(scenario: Scenario, number: int, opened: Opening) -> Iterable[tuple[Hashable, int]]:
    """The prefixes of an opening from the head on, each with its tokens; `number` tells the classes of a mix apart."""
    if scenario.shared_prefix_tokens:
        yield (number, opened.adapter), scenario.shared_prefix_tokens
    for depth, level in enumerate(scenario.prefixes, 1):
        yield (number, opened.adapter, opened.path[:depth]), level.tokens


class HasPrefixes(Protocol):
    """A source of calls whose sessions may open alike."""

    def prefixes(self, session: int) -> Iterable[tuple[Hashable, int]]:
        """What the session opens with, as `nodes` gives it."""
        ...


@lru_cache(_SOURCES)
def known_tokens(source: HasPrefixes) -> "KnownTokens":
    """Of a source's sessions, kept: whoever makes one call after the other asks for each."""
    return KnownTokens(source)


class KnownTokens:
    """How many tokens of each session's opening were in earlier ones, in the plan's order."""

    def __init__(self, source: HasPrefixes) -> None:
        self._source = source
        self._seen = set[Hashable]()
        self._known = array("q")

    def of(self, session: int) -> int:
        """So many of this session's; all sessions before it are gone through once."""
        while len(self._known) <= session:
            own = list(self._source.prefixes(len(self._known)))
            self._known.append(sum(tokens for node, tokens in own if node in self._seen))
            self._seen.update(node for node, _ in own)
        return self._known[session]
