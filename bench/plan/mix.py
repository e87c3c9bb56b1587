"""A mix: each session is of one class, drawn by the weights, and has that class's calls."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.plan.openings import KnownTokens, nodes, opening, pick
from bench.plan.prompts import Vocabulary
from bench.plan.rng import stream, uniform
from bench.plan.synthetic import Synthetic, synthetic
from bench.types import Call, Scenario, TrafficClass

_SOURCES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """The calls of a scenario with classes; made by `mix`, with a source for each of them."""

    classes: tuple[TrafficClass, ...]
    sources: tuple[Synthetic, ...]
    seed: int
    salt: int
    vocabulary: Vocabulary
    due_ns: NDArray[np.int64] | None = None

    @property
    def turns_max(self) -> int:
        return max(source.turns_max for source in self.sources)

    @property
    def least(self) -> tuple[int, int]:
        prompts, outputs = zip(*(source.least for source in self.sources), strict=True)
        return min(prompts), min(outputs)

    def salted(self, salt: int) -> "Mix":
        return replace(self, salt=salt, sources=tuple(source.salted(salt) for source in self.sources))

    def turns(self, session: int) -> int:
        return self._source(session).turns(session)

    def lengths(self, session: int, turn: int) -> tuple[int, int]:
        return self._source(session).lengths(session, turn)

    def cacheable(self, session: int, turn: int) -> int:
        return self._source(session).cacheable(session, turn) if turn else _known(self).of(session)

    def call(self, session: int, turn: int) -> Call:
        source = self._source(session)
        made = source.drawn(session, turn)._replace(klass=self.classes[source.number].name)
        return made if turn else made._replace(cacheable_tokens=self.cacheable(session, 0))

    def facts(self) -> Mapping[str, object]:
        parts = (
            {**source.facts(), "name": each.name, "weight": each.weight, "sampling": dict(each.sampling)}
            for each, source in zip(self.classes, self.sources, strict=True)
        )
        return {"classes": list(parts), "seed": self.seed}

    def _source(self, session: int) -> Synthetic:
        return self.sources[class_of(self.classes, self.seed, session)]


def mix(scenario: Scenario, seed: int, salt: int, vocabulary: Vocabulary) -> Mix:
    """The calls of a scenario with classes. Raises UserError where a class's prompts cannot hold their fixed parts.

    Where one class shares a prefix all have a system message, so that one vocabulary counts the prompts of all.
    """
    parts = scenario.parts
    opens = any(part.prefix_tokens for part in parts)
    sources = (synthetic(part, seed, salt, vocabulary, opens=opens, number=number) for number, part in enumerate(parts))
    return Mix(scenario.classes, tuple(sources), seed, salt, vocabulary)


def class_of(classes: tuple[TrafficClass, ...], seed: int, session: int) -> int:
    """The number of a session's class."""
    draw = float(uniform(stream(seed, "class", session).take(1))[0])
    return pick([each.weight for each in classes], draw)


@lru_cache(_SOURCES)
def _known(source: Mix) -> KnownTokens:
    """What a cache knows, over the sessions of all classes."""

    def nodes_of(session: int) -> Iterable[tuple[Hashable, int]]:
        own = source.sources[class_of(source.classes, source.seed, session)]
        return nodes(own.scenario, own.number, opening(own.scenario, own.seed, session))

    return KnownTokens(nodes_of)
