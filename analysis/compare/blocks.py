"""Standard errors from one run on each side: a moving block bootstrap of its calls.

Calls that follow each other share a batch, a queue and a cache, so they are drawn in blocks of successive ones
(circular: Politis and Romano, A circular block-resampling procedure for stationary data, 1992). A run is cut into
cells of successive calls, in the plan's order, and of equal time for what is counted per second. With one plan on both
sides the same cells are drawn from both, because they hold the same requests.

What differs from one run to the next (a restart, a neighbour, a temperature) cannot be seen in one run.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.compare.measures import MEASURES, Measure, value
from analysis.run import slo
from analysis.run.agreement import agree, tells_of
from analysis.run.metrics import METRICS, is_successful, measured, successful
from analysis.run.rates import flow
from analysis.run.sections import MetricSummary
from analysis.run.streams import output_tokens
from analysis.run.summary import RunSummary
from analysis.run.window import window
from analysis.stats.distributions import LEVELS, Floats, quantile
from bench.runs.manifest import RunManifest
from bench.types import UserError

CELLS: Final = 200
DRAWS: Final = 1000
FEWEST_CELLS: Final = 50
FEWEST_BLOCKS: Final = 5
# The spread of a percentile cannot be seen in the few values beyond it.
BEYOND: Final = 10
_STRIDE: Final = 16
# Of many values only these quantiles are kept apart: finer towards the tail, where a p99 lies.
LEVELS_KEPT: Final = np.unique(np.concatenate([np.linspace(0, 1, 401), 1 - np.geomspace(0.1, 1e-4, 200)]))


class Cells(NamedTuple):
    """One measure by cell: `counts[cell, bin]` of the values at most `bins[bin]` and above the one before.

    Without a percentile there is one bin, `counts` the sum in each cell, and the measure its mean.
    """

    counts: Floats
    bins: Floats
    level: float | None


def calls_of(requests: pa.Table) -> pa.Table:
    """The measured calls of requests.parquet in the plan's order, failures included."""
    calls = measured(requests)
    return calls.take(pc.sort_indices(calls["seq"]))


def cells_of(run: RunManifest, requests: pa.Table, cells: int) -> dict[str, Cells]:
    """Every measure that calls tell of, by name, in so many cells. Costs are not among them."""
    calls = calls_of(requests)
    failed = ~np.asarray(is_successful(calls))
    cell = np.arange(calls.num_rows) * cells // calls.num_rows
    latencies = [measure for measure in MEASURES.values() if measure.statistic is not None]
    size = np.bincount(cell, minlength=cells)
    return {
        **{measure.name: _values(measure, successful(calls), cell[~failed], cells) for measure in latencies},
        **{name: Cells(sums[:, None], np.zeros(1), None) for name, sums in _served(run, requests, cells).items()},
        "error_share": Cells((np.bincount(cell, failed, cells) / size)[:, None], np.zeros(1), None),
    }


def _values(measure: Measure, calls: pa.Table, cell: Any, cells: int) -> Cells:
    """`cell` is that of each successful call."""
    values, offsets = METRICS[measure.metric].values(calls)
    bins = np.unique(values)
    if len(bins) > len(LEVELS_KEPT):
        bins = np.unique(np.quantile(values, LEVELS_KEPT))
    place = np.repeat(cell, np.diff(offsets)) * len(bins) + np.searchsorted(bins, values)
    counts = np.bincount(place, minlength=cells * len(bins)).reshape(cells, len(bins))
    return Cells(counts.astype(np.float64), bins, LEVELS[measure.statistic or "p50"])


def _served(run: RunManifest, requests: pa.Table, cells: int) -> dict[str, Floats]:
    """Calls, tokens and good calls that were served in each of so many equal parts of the window."""
    done, span = successful(requests), window(run, requests)
    served = flow(run, requests, span)
    good = slo.keeps_all(slo.objectives_of(run), done)

    of_call = {
        "requests_per_s": np.ones(done.num_rows),
        "output_tokens_per_s": output_tokens(done),
        "goodput_rps": good.astype(np.float64),
    }
    return dict(zip(of_call, served.units_in(cells, list(of_call.values())), strict=True))


class Errors(NamedTuple):
    """The standard error of each measure's change by name, on the scale of judgement; absent where it is unknown.

    `otherwise` are the measures of which the requests of a side say another figure than its tool.
    """

    of: Mapping[str, float]
    degrees: int
    otherwise: frozenset[str] = frozenset()


NOTHING_SEEN: Final = Errors({}, 1)
"""Of figures without their requests, as other tools give them."""


class OneRun(NamedTuple):
    """The one run of a side: its run.json, summary.json and requests."""

    run: RunManifest
    summary: RunSummary
    requests: pa.Table


def errors(sides: Sequence[OneRun], *, same_plan: bool) -> Errors:
    """The errors of the changes from the first side to the second.

    Raises UserError where one of them has too few calls to cut into blocks.
    """
    cells = min(CELLS, *(successful(measured(side.requests)).num_rows for side in sides))
    if cells < FEWEST_CELLS and any(side.run.imported for side in sides):
        return NOTHING_SEEN
    if cells < FEWEST_CELLS:
        raise UserError(
            f"a comparison of one run on each side needs {FEWEST_CELLS} measured requests that succeeded in both, one "
            f"has {cells}: give --requests, or three runs on each side"
        )
    base, candidate = (cells_of(side.run, side.requests, cells) for side in sides)
    otherwise = _otherwise(sides[0], base) | _otherwise(sides[1], candidate)
    series = [_series(found) for side in (base, candidate) for found in side.values() if found.counts.size]
    # Short blocks leave dependence out: with half of this, one comparison in eleven saw a change where none was.
    block = max(math.ceil(2 * cells ** (1 / 3)), *map(block_length, series))
    # Of fewer blocks the spread itself would be a guess.
    block = min(block, cells // FEWEST_BLOCKS)
    rng = np.random.default_rng(0)
    drawn = draws(rng, cells, block)
    # The same requests on both sides: what is long in one is long in the other, and cancels if drawn together.
    again = drawn if same_plan else draws(rng, cells, block)
    found = {}
    for name, of_base in base.items():
        error = _error(of_base, candidate[name], (drawn, again), is_share=MEASURES[name].is_share)
        if error is not None and name not in otherwise:
            found[name] = error
    return Errors(found, cells // block - 1, otherwise)


def _otherwise(side: OneRun, found: Mapping[str, Cells]) -> frozenset[str]:
    """The measures of an imported run of which its requests, as they are counted here, say another figure than it."""
    if side.run.imported is None:
        return frozenset()
    calls, seconds = successful(measured(side.requests)), window(side.run, side.requests).seconds

    def agrees(measure: Measure) -> bool:
        if measure.statistic is not None:
            return tells_of(side.summary.metric(measure.metric), _figures(measure.metric, calls), measure.statistic)
        total = float(found[measure.name].counts.sum())
        of = len(found[measure.name].counts) if measure.is_share else seconds
        return agree(value(measure, side.summary), total / of if of else None)

    return frozenset(name for name in found if not agrees(MEASURES[name]))


def _figures(metric: str, calls: pa.Table) -> MetricSummary:
    values = np.sort(METRICS[metric].values(calls).values)
    if not len(values):
        return MetricSummary()
    return MetricSummary(mean=float(values.mean()), p50=quantile(values, 0.5), p99=quantile(values, 0.99))


def draws(rng: np.random.Generator, cells: int, block: int) -> Floats:
    """How often each cell is in each of DRAWS resamples, [draw, cell], from blocks that go round the end."""
    starts = rng.integers(cells, size=(DRAWS, math.ceil(cells / block)))
    drawn = (starts[:, :, None] + np.arange(block)).reshape(DRAWS, -1)[:, :cells] % cells
    place = np.arange(DRAWS)[:, None] * cells + drawn
    return np.bincount(place.ravel(), minlength=DRAWS * cells).reshape(DRAWS, cells).astype(np.float64)


def block_length(series: Floats) -> int:
    """How long blocks must be for the dependence that a series has; 1 where there is none.

    Politis and White, Automatic block-length selection for the dependent bootstrap, Econometric Reviews 23 (2004),
    with the correction of Patton, Politis and White (2009).
    """
    n = len(series)
    x = series - series.mean()
    covariance = np.correlate(x, x, "full")[n - 1 :] / n
    if covariance[0] <= 0:
        return 1
    quiet = np.abs(covariance / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    run_of = 5
    last = next((m for m in range(n // 2) if quiet[m + 1 : m + 1 + run_of].all()), n // 2)
    lags = np.arange(1, min(2 * max(last, 1), n - 1) + 1)
    taper = np.clip(2 * (1 - lags / len(lags)), 0, 1)
    spectrum = covariance[0] + 2 * (taper * covariance[lags]).sum()
    slope = 2 * (taper * lags * covariance[lags]).sum()
    if spectrum <= 0:
        return 1
    return max(1, math.ceil(math.cbrt(1.5 * slope**2 / spectrum**2 * n)))


def _series(cells: Cells) -> Floats:
    """What follows itself in time: the share of a cell's values above the percentile, or the cell's sum."""
    if cells.level is None:
        return cells.counts[:, 0]
    share = np.cumsum(cells.counts.sum(axis=0)) / cells.counts.sum()
    above = cells.counts[:, share > cells.level].sum(axis=1)
    size = cells.counts.sum(axis=1)
    filled = np.where(size > 0, above / np.maximum(size, 1), above.sum() / size.sum())
    return np.asarray(filled, np.float64)


def _statistic(cells: Cells, drawn: Floats) -> Floats:
    """The measure in each resample."""
    if cells.level is None:
        return (drawn @ cells.counts)[:, 0] / len(cells.counts)
    # The percentile of a histogram: the bin in which the count passes its share, and the part of the way into it. As
    # counts are whole, sums are exact, and only the bins between which all resamples pass it need to be counted.
    at_most = np.cumsum(cells.counts, axis=1)
    wanted = cells.level * (drawn @ at_most[:, -1])
    passed = (drawn @ at_most[:, _STRIDE - 1 :: _STRIDE] < wanted[:, None]).sum(axis=1)
    begin = max(int(passed.min()) * _STRIDE - 1, 0)
    below = drawn @ at_most[:, begin : (int(passed.max()) + 1) * _STRIDE]
    last = below.shape[1] - 1
    above = np.minimum((below < wanted[:, None]).sum(axis=1), last)
    under = np.maximum(above - 1, 0)
    each = np.arange(len(drawn))
    before = np.where(above > 0, below[each, under], 0)
    part = np.clip((wanted - before) / np.maximum(below[each, above] - before, 1e-9), 0, 1)
    bins = cells.bins[begin:]
    return np.asarray(bins[under] + part * (bins[above] - bins[under]), np.float64)


def _error(base: Cells, candidate: Cells, drawn: tuple[Floats, Floats], *, is_share: bool) -> float | None:
    if not (base.counts.size and candidate.counts.size):
        return None
    first, second = _statistic(base, drawn[0]), _statistic(candidate, drawn[1])
    if not is_share and ((first <= 0).any() or (second <= 0).any()):
        return None
    error = float((second - first if is_share else np.log(second / first)).std(ddof=1))
    # Equal in each resample is equal, however few the values are.
    return error if error == 0 or (_is_seen(base) and _is_seen(candidate)) else None


def _is_seen(cells: Cells) -> bool:
    """Whether there are enough values beyond the percentile for its spread to be seen."""
    return cells.level is None or cells.counts.sum() * (1 - cells.level) >= BEYOND - 1e-6
