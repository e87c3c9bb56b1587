"""Where the initial transient ends: the window that a run's own latencies propose, and what is left without the rest.

The rule is MSER-5: of a series of batches of at least five calls, cut so many at its start that the standard error of
the mean of what remains is least, and never more than half (White, An effective truncation heuristic for bias
reduction in simulation output, Simulation 69 (1997); Spratt, University of Virginia (1998)). Batches are medians, and
taken by their logarithm, so that a few slow calls are no transient. MSER alone nearly always cuts a little, so a cut is
proposed only where it matters; its limits were chosen by simulation (docs/validity.md).
"""

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import METRICS, NS_PER_S, column, measured, successful
from analysis.run.sections import ProposedWindow, Steadiness
from analysis.run.steady import BLOCKS, trend_p
from analysis.run.window import planned, window
from analysis.stats.distributions import Floats, ranks, two_sided_p
from bench.runs.manifest import NOTHING_CUT, RunManifest, WindowCut

PLANNED: Final = "planned"
SERIES: Final = ("ttft_ms", "tpot_ms")
LEAST_CALLS: Final = 100
BATCH: Final = 5
# Longer batches, where there are many calls, hold calls that resemble each other.
MOST_BATCHES: Final = 100
LEAST_CHANGE: Final = 0.10
# Far below one in a hundred, because the cut that is tested is the clearest of many.
MOST_RANK_P, MOST_DISTANCE_P = 0.002, 1e-6
# What remains is no steady state while it has a trend itself.
LEAST_TREND_P: Final = 0.01
_LEAST_MS: Final = 1e-3
_MOST_CORRELATION: Final = 0.95


class Transient(NamedTuple):
    """The calls at the start of a run in which a metric differs: the first call after them was sent at `end_ns`."""

    metric: str
    end_ns: int
    ratio: float


def proposed(run: RunManifest, requests: pa.Table) -> ProposedWindow | None:
    """The window without the initial transient.

    `requests` has the phases as planned. None where nothing is to be cut, fewer than 100 calls succeeded, or the load
    itself changed on purpose.
    """
    if not run.is_stationary:
        return None
    calls = successful(measured(requests))
    found = [transient for name in SERIES if (transient := _transient(name, calls)) is not None]
    if not found:
        return None
    longest = max(found, key=lambda transient: transient.end_ns)
    rest = without(requests, longest.end_ns)
    cut_s = (longest.end_ns - planned(run, requests).start_ns) / NS_PER_S
    cut_calls = measured(requests.select(["phase"])).num_rows - measured(rest.select(["phase"])).num_rows
    span = window(replace(run, cut=WindowCut(cut_calls, cut_s)), rest)
    return ProposedWindow(
        start_s=span.start_ns / NS_PER_S,
        seconds=span.seconds,
        cut_calls=cut_calls,
        cut_s=cut_s,
        why=f"{longest.metric} of the first {cut_calls:,} requests is {longest.ratio:.3g} times that of the rest",
    )


def with_window(found: Steadiness, run: RunManifest, requests: pa.Table) -> Steadiness:
    """Add which window a run was given, what of its start was cut for it, and what is proposed where nothing was."""
    which = run.window or PLANNED
    return replace(
        found,
        window=which,
        proposed=proposed(run, requests) if which == PLANNED else None,
        cut=run.cut or NOTHING_CUT,
    )


def steady(run: RunManifest, requests: pa.Table) -> tuple[pa.Table, WindowCut]:
    """Take the proposal: the table with what it cuts made warm-up, and what was cut."""
    found = proposed(run, requests)
    if found is None:
        return requests, NOTHING_CUT
    cut = WindowCut(found.cut_calls, found.cut_s, found.why)
    return without(requests, round(found.start_s * NS_PER_S)), cut


def without(requests: pa.Table, start_ns: int) -> pa.Table:
    """The same calls, those of before `start_ns` being warm-up; what was never sent counts by when it was due."""
    begun_ns = pc.coalesce(requests["sent_ns"], requests["due_ns"])
    phase = pc.if_else(pc.fill_null(pc.less(begun_ns, start_ns), False), "warmup", requests["phase"])
    return requests.set_column(requests.schema.get_field_index("phase"), "phase", phase)


def _transient(name: str, calls: pa.Table) -> Transient | None:
    values, offsets = METRICS[name].values(calls)
    sent_ns = column(calls, "sent_ns")[np.diff(offsets) > 0]
    order = np.argsort(sent_ns, kind="stable")
    found = onset(values[order])
    if found is None:
        return None
    first, ratio = found
    return Transient(name, int(sent_ns[order[first]]), ratio)


def onset(values: Floats) -> tuple[int, float] | None:
    """Where the steady part of a series begins: (index of its first value, ratio of what is before to it).

    None where what is before differs by less than 10% or by no more than chance, or where the rest has a trend. There
    are two ways to differ by more than chance: by the ranks, in which a few values count as no more than a few; and by
    the distance, where that is beyond all that the rest does.
    """
    n = len(values)
    if n < LEAST_CALLS:
        return None
    size = max(BATCH, math.ceil(n / MOST_BATCHES))
    batches = n // size
    medians = np.median(values[: batches * size].reshape(batches, size), axis=1)
    logs = np.log(np.maximum(medians, _LEAST_MS))
    # Never more than half: with few batches left the statistic is small by chance (MSER's usual limit).
    cut = int(np.argmin(_marginal_errors(logs)[: batches // 2 + 1]))
    before, rest = logs[:cut], logs[cut:]
    if not cut or not (_rank_p(before, rest) < MOST_RANK_P or _distance_p(before, rest) < MOST_DISTANCE_P):
        return None
    blocks = np.array([np.median(block) for block in np.array_split(values[cut * size :], BLOCKS)])
    ratio = math.exp(float(before.mean() - rest.mean()))
    if max(ratio, 1 / ratio) < 1 + LEAST_CHANGE or trend_p(blocks) < LEAST_TREND_P:
        return None
    return cut * size, ratio


def _marginal_errors(series: Floats) -> Floats:
    """MSER's statistic of the series without its first value, its first two, …: the squared error of a mean."""
    left = len(series) - np.arange(len(series))
    series = series - np.median(series)  # so that little is lost to rounding
    sums, squares = (np.cumsum(values[::-1])[::-1] for values in (series, series**2))
    return np.asarray((squares - sums**2 / left) / left**2, np.float64)


def _distance_p(first: Floats, second: Floats) -> float:
    """Student's two-sided probability that the means differ so, if `first` were of the kind of `second`."""
    change, inflation = float(first.mean() - second.mean()), _inflation(second)
    error = float(second.std(ddof=1)) * math.sqrt(inflation * (1 / len(first) + 1 / len(second)))
    return two_sided_p(change / error, max(1, int(len(second) / inflation) - 1)) if error else float(change == 0)


def _rank_p(first: Floats, second: Floats) -> float:
    """Mann and Whitney's two-sided probability, of values that resemble their neighbours as those of `second` do."""
    sizes = len(first), len(second)
    ranked = ranks(np.concatenate([first, second]))
    score = abs(ranked[: sizes[0]].sum() - sizes[0] * (sum(sizes) + 1) / 2)
    # A continuity correction of half a step below; ties are few among medians of times, and left uncorrected.
    variance = sizes[0] * sizes[1] * (sum(sizes) + 1) / 12 * _inflation(ranks(second))
    return 2 * (1 - NormalDist().cdf(max(score - 0.5, 0.0) / math.sqrt(variance)))


def _inflation(series: Floats) -> float:
    """By how much the variance of a mean grows where each value resembles the one before (first-order autoregression).

    The correlation of a short series is estimated too low by (1 + 3 r) / n on average (Kendall, Biometrika 41 (1954)).
    """
    n, around = len(series), series - series.mean()
    correlation = float(around[1:] @ around[:-1] / (around @ around)) if around.any() else 0.0
    correlation = min(max(correlation + (1 + 3 * correlation) / n, 0.0), _MOST_CORRELATION)
    return (1 + correlation) / (1 - correlation)
