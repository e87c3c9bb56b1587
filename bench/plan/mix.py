"""A mix: each session is of one class, drawn by the weights, and has that class's calls."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.plan.openings import known_tokens, pick
from bench.plan.prompts import Vocabulary
from bench.plan.rng import stream, uniform
from bench.plan.synthetic import Synthetic, synthetic
from bench.types import Call, Scenario, TrafficClass


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
        return self._source(session).cacheable(session, turn) if turn else known_tokens(self).of(session)

    def prefixes(self, session: int) -> Iterable[tuple[Hashable, int]]:
        """What the session opens with."""
        return self._source(session).prefixes(session)

    def call(self, session: int, turn: int) -> Call:
        source = self._source(session)
        made = source.drawn(session, turn)._replace(klass=source.scenario.name)
        return made if turn else made._replace(cacheable_tokens=self.cacheable(session, 0))

    def facts(self) -> Mapping[str, object]:
        parts = (
            {**source.facts(), "name": each.name, "weight": each.weight, "sampling": dict(each.sampling)}
            for each, source in zip(self.classes, self.sources, strict=True)
        )
        return {"classes": list(parts), "seed": self.seed}

    def _source(self, session: int) -> Synthetic:
        draw = float(uniform(stream(self.seed, "class", session).take(1))[0])
        return self.sources[pick([each.weight for each in self.classes], draw)]


def mix(scenario: Scenario, seed: int, salt: int, vocabulary: Vocabulary) -> Mix:
    """The calls of a scenario with classes. Raises UserError where a class's prompts cannot hold their fixed parts.

    Where one class shares a prefix all have a system message, so that one vocabulary counts the prompts of all.
    """
    sources = (
        synthetic(part, seed, salt, vocabulary, opens=scenario.opens, number=number)
        for number, part in enumerate(scenario.parts)
    )
    return Mix(scenario.classes, tuple(sources), seed, salt, vocabulary)
