"""Findings on repeats of one run: some are missing, they drift, or one is unlike the others."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from analysis.checks.finding import Finding
from analysis.compare.comparison import Run
from analysis.compare.measures import MEASURES, TYPICAL, value
from analysis.run.steady import change, trend_p
from analysis.stats.distributions import Floats, two_sided_p

WATCHED: Final = ("ttft_ms:p50", "tpot_ms:p50", "output_tokens_per_s")
"""The measures in which repeats are looked at for a drift and for a run that is unlike the others."""
LEAST_DRIFTING: Final = 5
LEAST_UNLIKE: Final = 4
# Five runs of which each is slower than the one before: by chance once in sixty, in either direction.
MOST_P: Final = 0.03
MOST_APART: Final = 0.2


def cut_short(runs: Sequence[Run], asked: int) -> Iterator[Finding]:
    """Fewer runs came to their end than were asked for."""
    if len(runs) < asked:
        message = f"{len(runs)} of {asked} runs finished: means and intervals are over these; run again"
        yield Finding("suspect", "repeats_cut_short", message, len(runs), asked)


def drift(runs: Sequence[Run], asked: int) -> Iterator[Finding]:
    """A measure rose or fell from each run to the next, so what comes out depends on how many there are."""
    for name, values in _watched(runs):
        if len(values) < LEAST_DRIFTING:
            continue
        moved = change(values) / float(np.median(values))
        if abs(moved) > TYPICAL and trend_p(values) < MOST_P:
            way = "rose" if moved > 0 else "fell"
            message = (
                f"{name} {way} by {abs(moved):.0%} from the first run to the last: the machine or the server changed "
                "meanwhile (heat, a cache that fills, others); run again once it has settled"
            )
            yield Finding("suspect", "repeats_drift", message, moved, TYPICAL)


def one_unlike(runs: Sequence[Run], asked: int) -> Iterator[Finding]:
    """One run is far from the others, and farther than they are from each other."""
    for name, values in _watched(runs):
        if len(values) < LEAST_UNLIKE:
            continue
        logs = np.log(values)
        most = int(np.abs(logs - np.median(logs)).argmax())
        others = np.delete(logs, most)
        ratio = math.exp(logs[most] - others.mean())
        if max(ratio, 1 / ratio) > 1 + MOST_APART and len(values) * _outlier_p(logs[most], others) < MOST_P:
            message = (
                f"{name} of {runs[most].name} is {ratio:.3g} times that of the other runs: see what else its report "
                "says; means and intervals include it; run again"
            )
            yield Finding("suspect", "repeats_differ", message, ratio - 1, MOST_APART)


def _outlier_p(one: float, others: Floats) -> float:
    """The probability that a value is as far from others of its kind, by Student's t; of one that was not picked."""
    error = float(others.std(ddof=1)) * math.sqrt(1 + 1 / len(others))
    return two_sided_p((one - float(others.mean())) / error, len(others) - 1) if error else 0.0


def _watched(runs: Sequence[Run]) -> Iterator[tuple[str, Floats]]:
    """The watched measures that every run knows, in the order of the runs."""
    for name in WATCHED:
        values = [value(MEASURES[name], run.summary) for run in runs]
        if values and all(values):
            yield name, np.array(values, np.float64)


CHECKS: tuple[Callable[[Sequence[Run], int], Iterator[Finding]], ...] = (cut_short, drift, one_unlike)
"""Functions of the runs that came to their end, in order, and of how many were asked for."""
