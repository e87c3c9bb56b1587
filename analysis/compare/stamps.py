"""How far apart the stamps of two sides may be: a smaller difference of latencies need not be the servers'."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analysis.run.summary import RunSummary
from analysis.stats.changes import Verdict
from analysis.stats.distributions import all_known
from analysis.wording import number


class StampsApart(NamedTuple):
    """What the sides' selftests say their stamps err by together, None where one has none; and whose they are."""

    error_ms: float | None
    whose: str

    def hides(self, called: Verdict, base_ms: float | None, candidate_ms: float | None, threshold: float) -> str | None:
        """Why a change of a latency cannot be called this, None where it can."""
        if called == "inconclusive" or base_ms is None or candidate_ms is None:
            return None
        if self.error_ms is None:
            return (
                f"stamps are {self.whose}, and a side's error is not known: bench.py selftest before its runs, or "
                "the same --stamps on both"
            )
        seen_ms = threshold * base_ms if called == "same" else abs(candidate_ms - base_ms)
        if seen_ms > self.error_ms:
            return None
        return (
            f"stamps are {self.whose}, which err by up to {number(self.error_ms)} ms: the same --stamps on both sides"
        )


def stamps_apart(base: Sequence[RunSummary], candidate: Sequence[RunSummary]) -> StampsApart | None:
    """Say how far apart the sides' stamps may be; None where all runs have the same."""
    sides = [_stamps(side) for side in (base, candidate)]
    if len(sides[0] | sides[1]) < 2:
        return None
    errors_ms = all_known(map(_error_ms, (base, candidate)))
    whose = ", then ".join(" and ".join(sorted(side)) for side in sides)
    return StampsApart(None if errors_ms is None else sum(errors_ms), whose)


def _stamps(side: Iterable[RunSummary]) -> set[str]:
    return {run.client.stamps for run in side if run.client.stamps is not None}


def _error_ms(side: Iterable[RunSummary]) -> float | None:
    """The largest of a side's runs, None where one is unknown."""
    known = all_known(None if run.client.selftest is None else run.client.selftest.error_ms for run in side)
    return None if known is None else max(known)
