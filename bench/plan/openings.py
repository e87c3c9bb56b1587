"""How prompts begin: which adapter answers, and the shared prefixes at their head, drawn for each session by itself.

    system prompt          `shared_prefix_tokens`, the same for all
      tenant               a level of `prefixes`: the k-th group of it is asked for like 1 / k^zipf
        document           a level below: groups of its own for each tenant

A prefix cache knows an opening as far as an earlier session, in the order of the plan, had the same one for the same
adapter, whose cache is its own.
"""

from array import array
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.plan import prompts
from bench.plan.arrivals import exponential, logarithm
from bench.plan.prompts import FRESH_TOKENS, Vocabulary
from bench.plan.rng import stream, uniform
from bench.types import Prefixes, Scenario

_GROUP_BITS = 32


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


class KnownTokens:
    """How many tokens of each session's opening were in earlier ones, in the plan's order."""

    def __init__(self, nodes_of: Callable[[int], Iterable[tuple[Hashable, int]]]) -> None:
        self._nodes_of = nodes_of
        self._seen = set[Hashable]()
        self._known = array("q")

    def of(self, session: int) -> int:
        """So many of this session's; all sessions before it are gone through once."""
        while len(self._known) <= session:
            own = list(self._nodes_of(len(self._known)))
            self._known.append(sum(tokens for node, tokens in own if node in self._seen))
            self._seen.update(node for node, _ in own)
        return self._known[session]


def text(
    vocabulary: Vocabulary,
    levels: tuple[int, tuple[Prefixes, ...]],
    place: tuple[int, tuple[int, ...]],
    seeds: tuple[int, int],
) -> str:
    """The words of an opening; `levels` are the tokens of the first prefix and those below, `place` class and path.

    `seeds` are seed and salt: the salt changes the first words, so that no other run has them.
    """
    (root, below), (number, path), (seed, salt) = levels, place, seeds
    fresh_tokens = min(FRESH_TOKENS, root)
    fresh = prompts.text(vocabulary, stream(seed, "fresh prefix words", number, salt), fresh_tokens)
    found = fresh + prompts.text(vocabulary, stream(seed, "prefix", number), root - fresh_tokens)
    index = number
    for depth, (level, group) in enumerate(zip(below, path, strict=True)):
        index = index << _GROUP_BITS | (group + 1)
        new = min(FRESH_TOKENS, level.tokens) if depth == 0 else 0
        found += prompts.text(vocabulary, stream(seed, "fresh group words", index, salt), new)
        found += prompts.text(vocabulary, stream(seed, "group prefix", index), level.tokens - new)
    return found
