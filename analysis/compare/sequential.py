"""Pairs of neighbouring runs, in the order A B B A, looked at after fixed numbers of them until all is decided.

Who analyses again and again, and stops when there is something to see, sees it too often. So the permitted error is
spent over the interim analyses in proportion to the pairs that are new at each: the linear spending function of Lan and
DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70 (1983). The parts add up to the whole, so
however the analyses depend on each other, all of them together are wrong no more often (Bonferroni).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from analysis.compare.comparison import NO_RATIO, Comparison, Run, counts, judge
from analysis.compare.measures import Measure
from analysis.stats.changes import ChangeEstimate, between_pairs
from analysis.stats.distributions import Floats
from analysis.wording import moved

# Even, so that each has whole blocks A B B A, in which a steady drift cancels.
PAIRS: Final = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96)
ALWAYS_DECIDES: Final = "error_share"
DECIDING: Final = ("ttft_ms:p50", "tpot_ms:p50", "output_tokens_per_s", ALWAYS_DECIDES)


class InterimAnalysis(NamedTuple):
    """A number of pairs after which it is judged, and the share of the permitted error that this may use up."""

    pairs: int
    share: float


def interim_analyses(max_pairs: int) -> tuple[InterimAnalysis, ...]:
    """After how many pairs to analyse, the bound itself the last of them."""
    counts = (*(n for n in PAIRS if n < max_pairs), max_pairs)
    return tuple(InterimAnalysis(n, (n - before) / max_pairs) for before, n in pairwise((0, *counts)))


def analyse_interim(
    interim: InterimAnalysis,
    base: Sequence[Run],
    candidate: Sequence[Run],
    thresholds: Mapping[str, float],
    warnings: Sequence[str] = (),
    deciding: Collection[str] = DECIDING,
) -> Comparison:
    """Compare runs, those of a pair in the same place of both, as many pairs as the analysis is of.

    What is worse though it does not decide is added to the warnings.
    """
    base, candidate = base[: interim.pairs], candidate[: interim.pairs]
    estimator = partial(_of_pairs, base, candidate, interim.share)
    found = judge(base, candidate, thresholds, estimator, "pair", warnings, deciding)
    aside = [change for change in found.changes if change.verdict == "worse" and not change.decides]
    told = ", ".join(
        f"{change.measure.name} ({moved(change.change, points=change.measure.is_share)})" for change in aside
    )
    said = (f"worse, though it does not decide: {told}",) if aside else ()
    return replace(found, warnings=(*warnings, *said))


def is_decided(found: Comparison) -> bool:
    """Whether more pairs would change nothing: a measure is worse, or none is left that they could decide."""
    return bool(found.of("worse")) or all(change.p is None for change in found.of("inconclusive"))


def _of_pairs(
    base: Sequence[Run], candidate: Sequence[Run], share: float, measure: Measure, first: Floats, second: Floats
) -> ChangeEstimate | str:
    if measure.is_share:
        return between_pairs(second - first, share)._replace(counts=counts(base, candidate))
    if not (first.any() or second.any()):
        return ChangeEstimate(0.0, 0.0, len(first) - 1, share)
    if min(first.min(), second.min()) <= 0:
        return NO_RATIO
    return between_pairs(np.log(second / first), share)
