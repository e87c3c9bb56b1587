"""How far a number moved between two sides, how sure that is, and what to call it.

Changes are on the scale on which they are judged: the logarithm of the ratio, so that a doubling and a halving are
equally far, or the difference of two shares. The family of all measures is held to one error rate by Holm's method
(A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979).
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

import numpy as np

from analysis.stats.distributions import CONFIDENCE, Floats, t_quantile, two_sided_p
from analysis.stats.shares import FailureCounts

Verdict = Literal["better", "worse", "same", "inconclusive"]

FAMILY_ERROR: Final = 1 - CONFIDENCE
LEAST_RUNS: Final = 3

Direction = Literal["lower", "higher"]

K = TypeVar("K", bound=Hashable)


class ChangeEstimate(NamedTuple):
    """A change on the scale of judgement, its standard error, and the degrees of freedom that the error has.

    `share` is the part of the permitted error that it may use up: less than 1 in one interim analysis of several.
    `counts` are those behind the change of a share: it is never surer than they are.
    """

    change: float
    error: float
    degrees: int
    share: float = 1.0
    counts: FailureCounts | None = None

    @property
    def ci95(self) -> tuple[float, float]:
        """Student's interval of this one change; of all analyses together the intervals hold with 95%."""
        # Student's and not the normal: of three runs a side the spread itself is barely known.
        margin = t_quantile(1 - self.share * FAMILY_ERROR / 2, self.degrees) * self.error
        low, high = self.change - margin, self.change + margin
        if self.counts is None:
            return low, high
        # Runs in which nothing failed have no spread, and yet a failure in the next is no surprise: the counts tell.
        least, most = self.counts.interval(self.share * FAMILY_ERROR)
        return min(low, least), max(high, most)

    @property
    def p(self) -> float:
        """How probable a change at least as large is where there is none, adjusted for all analyses (Bonferroni)."""
        p = 1.0 if self.change == 0 else 0.0
        if self.error > 0:
            p = two_sided_p(self.change / self.error, self.degrees)
        if self.counts is not None:
            p = max(p, self.counts.p)
        return min(1.0, p / self.share)


def between_runs(base: Floats, candidate: Floats) -> ChangeEstimate:
    """Welch's estimate of the difference of two means, a value for each run; at least two values on each side.

    Welch, The generalization of Student's problem when several different population variances are involved,
    Biometrika 34 (1947).
    """
    sizes = np.array([len(base), len(candidate)])
    parts = np.array([base.var(ddof=1), candidate.var(ddof=1)]) / sizes
    change = float(candidate.mean() - base.mean())
    # What is left of equal values after rounding is no spread.
    if parts.sum() <= (1e-12 * max(abs(base).max(), abs(candidate).max(), 1e-300)) ** 2:
        return ChangeEstimate(change, 0.0, int(sizes.sum()) - 2)
    # Welch and Satterthwaite's degrees of freedom, rounded down: fewer make a wider interval.
    degrees = parts.sum() ** 2 / (parts**2 / (sizes - 1)).sum()
    return ChangeEstimate(change, math.sqrt(parts.sum()), max(1, math.floor(degrees + 1e-9)))


def between_pairs(differences: Floats, share: float) -> ChangeEstimate:
    """Student's estimate of the mean of the differences of pairs, of which there are at least two."""
    change, n = float(differences.mean()), len(differences)
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    # What is left of equal values after rounding is no spread.
    return ChangeEstimate(change, error if error > 1e-12 * abs(differences).max() else 0.0, n - 1, share)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for the others: those below 0.05 are rejected together with one error in twenty families."""
    # Step down: the smallest of m counts m times, the next m - 1 times, and none less than the one before it.
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = least
    return adjusted


def adjusted(family: Mapping[K, ChangeEstimate | str]) -> dict[K, float]:
    """The p of each change that is known, adjusted for the others of its family; of the rest it is said why not."""
    ps = {key: each.p for key, each in family.items() if isinstance(each, ChangeEstimate)}
    return dict(zip(ps, holm(list(ps.values())), strict=True))


def verdict(found: ChangeEstimate, p: float, limit: float, better: Direction) -> Verdict:
    """What to call a change whose p, adjusted for its family, is given, when changes below `limit` do not matter."""
    if p < FAMILY_ERROR and abs(found.change) >= limit:
        return "worse" if (found.change > 0) == (better == "lower") else "better"
    # Two one-sided tests: the same is what the whole interval says, never what a test failed to find.
    low, high = found.ci95
    return "same" if -limit <= low and high <= limit else "inconclusive"


class JudgedChange(NamedTuple):
    """A change as it is shown: relative, of a share in points; `why` says what leaves it inconclusive."""

    verdict: Verdict
    change: float
    ci95: tuple[float, float]
    why: str | None


def judged(
    found: ChangeEstimate, p: float, threshold: float, better: Direction, *, is_share: bool = False
) -> JudgedChange:
    """A change of which `threshold` is the least that matters, and p is adjusted for its family."""
    # Symmetric on the scale of judgement: with 5%, a change to 1.05 and one to 1 / 1.05 are equally large.
    limit = threshold if is_share else math.log1p(threshold)
    called = verdict(found, p, limit, better)
    # e^700 is beyond any change that a table can show, and still a number in JSON.
    change, low, high = (x if is_share else math.expm1(min(x, 700.0)) for x in (found.change, *found.ci95))
    return JudgedChange(called, change, (low, high), why_undecided(found, limit) if called == "inconclusive" else None)


def why_undecided(found: ChangeEstimate, limit: float) -> str:
    """Why an inconclusive change is not decided."""
    low, high = found.ci95
    if low <= 0 <= high:
        return "the interval holds both no change and one that matters: more runs, or longer ones"
    if abs(found.change) < limit:
        return "there is a change, but perhaps none that matters: more runs, or longer ones"
    return "one of so many measures may move as far by chance: more runs, or longer ones"
