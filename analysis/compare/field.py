"""More than two sides: each pair of them compared, all pairs and measures one family that is held to one error rate.

Five sides make ten pairs, and a dozen measures of each 120 looks at the same servers: whoever judges each pair by
itself finds a change in nearly every study of equal ones. Holm's method over all of them together holds the
probability of any false difference to 5%, however the pairs share their runs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import pyarrow as pa

from analysis.compare.comparison import (
    Change,
    Comparison,
    Inconclusive,
    Run,
    Unit,
    estimates,
    estimator_of,
    judged,
    worst,
)
from analysis.compare.measures import MEASURES
from analysis.stats.changes import Verdict, adjusted

Finding = Literal["differs", "same", "inconclusive"]
"""What a pair is in a measure, where neither side is the base."""


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """Several sides, the first of them the base, and the comparison of each two by their places, the lower first."""

    sides: tuple[tuple[Run, ...], ...]
    pairs: Mapping[tuple[int, int], Comparison]
    warnings: tuple[str, ...]
    unit: Unit

    @property
    def against_base(self) -> tuple[Comparison, ...]:
        """From the base to each of the other sides."""
        return tuple(self.pairs[0, other] for other in range(1, len(self.sides)))

    @property
    def verdict(self) -> Verdict:
        """The worst that any other side is beside the base: worse, inconclusive, better, same."""
        return worst(comparison.verdict for comparison in self.against_base)

    @property
    def found(self) -> Counter[Finding]:
        """How many measures of all pairs differ, are the same, and are open."""
        return Counter(finding(change) for pair in self.pairs.values() for change in pair.changes)

    def failing(self, inconclusive: Inconclusive) -> tuple[Change, ...]:
        """The changes from the base that fail a gate."""
        return tuple(change for comparison in self.against_base for change in comparison.failing(inconclusive))

    def may_be_best(self, measure: str) -> tuple[int, ...]:
        """The places of the sides that no other side surely beats in this measure; those that do not know it cannot."""
        beaten, known = set[int](), set[int]()
        for (first, second), comparison in self.pairs.items():
            for change in comparison.changes:
                if change.measure.name != measure:
                    continue
                known |= {first} if change.base is not None else set()
                known |= {second} if change.candidate is not None else set()
                beaten |= {first} if change.verdict == "better" else {second} if change.verdict == "worse" else set()
        return tuple(sorted(known - beaten))

    def measures(self) -> tuple[str, ...]:
        """The measures that any side knows, in their order."""
        known = {change.measure.name for comparison in self.pairs.values() for change in comparison.changes}
        return tuple(name for name in MEASURES if name in known)

    def value(self, side: int, measure: str) -> float | None:
        """The measure's mean over the runs of a side, as its comparisons have it."""
        for (first, second), comparison in self.pairs.items():
            for change in comparison.changes:
                if change.measure.name == measure and side in (first, second):
                    return change.base if side == first else change.candidate
        return None


def finding(change: Change) -> Finding:
    """What a change amounts to where neither side is the base."""
    if change.verdict in ("worse", "better"):
        return "differs"
    return "same" if change.verdict == "same" else "inconclusive"


def compare_all(
    sides: Sequence[Sequence[Run]],
    thresholds: Mapping[str, float],
    requests: Sequence[pa.Table] | None = None,
    warnings: Sequence[str] = (),
) -> FieldComparison:
    """Compare each two of the sides, which `check` let pass; `requests` as of `compare`, one table for each side."""
    pairs = list(combinations(range(len(sides)), 2))
    unit: Unit = "run" if requests is None else "block"
    found = {}
    for i, j in pairs:
        tables = None if requests is None else (requests[i], requests[j])
        found[i, j] = estimates(sides[i], sides[j], estimator_of(sides[i], sides[j], tables))
    ps_of_all = adjusted({(pair, name): each for pair, of_pair in found.items() for name, each in of_pair.items()})

    def compared(i: int, j: int) -> Comparison:
        ps = {name: p for (pair, name), p in ps_of_all.items() if pair == (i, j)}
        changes = judged(sides[i], sides[j], thresholds, found[i, j], ps)
        return Comparison(tuple(sides[i]), tuple(sides[j]), changes, (), unit)

    return FieldComparison(tuple(map(tuple, sides)), {pair: compared(*pair) for pair in pairs}, tuple(warnings), unit)
