"""What the plots draw, cut down in numpy: exact while it is small, and what was kept is known when it is not."""

import math
from collections.abc import Sequence

import numpy as np

from analysis.stats.distributions import Floats, Ints
from analysis.stats.pool import Ordered

_POINTS = 500


def ecdf(ordered: Ordered, never: int = 0) -> tuple[Floats, Floats]:
    """(x, share of all at or below x) as a step curve: every value, or 500 quantiles with the tail drawn denser.

    `never` more are counted in the share's denominator: those that failed and have no value.
    """
    n = len(ordered)
    return ordered.at(ranks(n)), (ranks(n) + 1) / (n + never)


def ranks(n: int) -> Ints:
    """The ranks, from 0, of the values that a curve of so many has."""
    if n <= _POINTS:
        return np.arange(n)
    body, tail = np.linspace(1 / _POINTS, 1, _POINTS - 100), 1 - np.geomspace(0.01, 1 / n, 100)
    return np.unique(np.ceil(np.concatenate([body, tail]) * n).clip(1, n)).astype(np.int64) - 1


def decimate(x: Floats, y: Floats, limit: int, spans: int) -> Ints:
    """Indices, in the order of x, of at most `limit` points: all of them, or an even sample and the extremes.

    The extremes are the lowest and the highest y of each of `spans` equal spans of x; limit > 2 spans.
    """
    order = np.argsort(x, kind="stable")
    if len(x) <= limit:
        return order
    edges = np.linspace(x[order[0]], x[order[-1]], spans + 1)[:-1]
    span = np.searchsorted(edges, x, side="right")
    by_height = np.lexsort((y, span))
    changes = np.flatnonzero(np.diff(span[by_height]))
    lowest, highest = np.append(0, changes + 1), np.append(changes, len(x) - 1)
    every_kth = order[:: math.ceil(len(x) / (limit - 2 * spans))]
    kept = np.unique(np.concatenate([by_height[lowest], by_height[highest], every_kth]))
    return kept[np.argsort(x[kept], kind="stable")]


def bin_edges(end_s: float, bins: int) -> Floats:
    """Edges of at most `bins` bins from 0 to past `end_s`, their width 1, 2 or 5 times a power of ten."""
    least = max(end_s, 1e-3) / bins
    magnitude = 10.0 ** math.floor(math.log10(least))
    width = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= least * (1 - 1e-9))
    return np.asarray(np.arange(math.ceil(max(end_s, 1e-3) / width - 1e-9) + 1) * width, np.float64)


def rate_per_s(t_s: Floats, edges: Floats, weights: Floats | Ints | None = None) -> Floats:
    """Events (or their weights) per second in each bin."""
    return np.histogram(t_s, edges, weights=weights)[0] / np.diff(edges)


def mean_in_flight(sent_s: Floats, end_s: Floats, edges: Floats) -> Floats:
    """Mean over each bin of how many requests had been sent and not yet ended: exact, from the integrals."""
    return np.diff(_seconds_since(sent_s, edges) - _seconds_since(end_s, edges)) / np.diff(edges)


def _seconds_since(events_s: Floats, at_s: Floats) -> Floats:
    """Sum over the events of the time from each to `at_s`, those yet to come counting nothing."""
    ordered = np.sort(events_s)
    count = np.searchsorted(ordered, at_s, side="right")
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    return np.asarray(count * at_s - total[count], np.float64)


def ticks_1_2_5(low: float, high: float) -> Sequence[float]:
    """Labels for a logarithmic axis: 1, 2 and 5 in each decade, or powers of ten when there are many decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    return [m * 10.0**e for e in range(first, last + 1) for m in steps]
