"""The difference of two shares from their counts, exact however few there are: no failure in twenty is not none at all.

Each share has Clopper and Pearson's interval, and the difference the one that follows from both (Newcombe, Interval
estimation for the difference between independent proportions, Statistics in Medicine 17, 1998, method 10). Whether they
differ is Fisher's exact test.
"""

import math
from typing import NamedTuple

import numpy as np

from analysis.stats.distributions import clopper_pearson


class FailureCounts(NamedTuple):
    """How many of so many requests failed on each side, of all its runs together."""

    base: int
    of_base: int
    candidate: int
    of_candidate: int

    def interval(self, error: float) -> tuple[float, float]:
        """Of the candidate's share less the base's; wrong in `error` of all comparisons of independent requests."""
        first, second = self.base / max(self.of_base, 1), self.candidate / max(self.of_candidate, 1)
        low1, high1 = clopper_pearson(self.base, self.of_base, error)
        low2, high2 = clopper_pearson(self.candidate, self.of_candidate, error)
        change = second - first
        return change - math.hypot(second - low2, high1 - first), change + math.hypot(high2 - second, first - low1)

    @property
    def p(self) -> float:
        """How probable counts at least as unlikely are where both shares are the same."""
        # Fisher conditions on all failures: how they fall on the sides is hypergeometric where both are alike. Outcomes
        # that differ by rounding alone count as equally likely, with R's allowance (fisher.test).
        failed = self.base + self.candidate
        k = np.arange(max(0, failed - self.of_candidate), min(failed, self.of_base) + 1)
        logs = np.array([_log_choose(self.of_base, i) + _log_choose(self.of_candidate, failed - i) for i in k.tolist()])
        weights = np.exp(logs - logs.max())
        return float(weights[weights <= weights[self.base - k[0]] * (1 + 1e-7)].sum() / weights.sum())


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
