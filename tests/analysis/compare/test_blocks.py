"""One run on each side: the block bootstrap."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import blocks
from analysis.compare.comparison import Comparison, Run, compare
from analysis.compare.measures import MEASURES, thresholds
from analysis.run.agreement import OTHERWISE
from analysis.run.metrics import METRICS
from analysis.run.window import window
from analysis.stats.distributions import LEVELS
from bench.types import UserError
from tests.analysis.sides import build_one, manifest
from tests.summaries import summary_of

One = Callable[..., tuple[Run, pa.Table]]
DEFAULTS = thresholds([])


def compared(first: tuple[Run, pa.Table], second: tuple[Run, pa.Table], limits: dict[str, float]) -> Comparison:
    return compare([first[0]], [second[0]], limits, (first[1], second[1]))


def verdicts(found: Comparison) -> dict[str, str]:
    return {change.measure.name: change.verdict for change in found.changes}


@pytest.mark.parametrize("requests", [100, 1000])
def test_a_run_compared_with_itself_is_the_same_in_everything(one: One, requests: int) -> None:
    run = one("a", np.random.default_rng(1), requests=requests)
    found = compared(run, run, dict.fromkeys(DEFAULTS, 0.0))
    assert (found.verdict, found.unit) == ("same", "block")
    assert set(verdicts(found).values()) == {"same"}
    assert all(change.ci95 == (0, 0) for change in found.changes)


def test_swapped_sides_have_the_opposite_verdicts(one: One) -> None:
    rng = np.random.default_rng(2)
    base, candidate = one("a", rng), one("b", rng, slower=1.2)
    there, back = verdicts(compared(base, candidate, DEFAULTS)), verdicts(compared(candidate, base, DEFAULTS))
    assert there["ttft_ms:p50"] == "worse"
    flipped = {"worse": "better", "better": "worse"}
    assert back == {name: flipped.get(verdict, verdict) for name, verdict in there.items()}


def test_the_percentile_of_the_cells_is_that_of_the_values(one: One) -> None:
    run, table = one("a", np.random.default_rng(3))
    cells = blocks.cells_of(run.run, table, 200)
    everything = np.ones((1, 200))
    for name in ("ttft_ms:p50", "service_ms:p99", "itl_ms:p50", "itl_ms:p99"):
        metric, _, statistic = name.partition(":")
        expected = getattr(run.summary.metric(metric), statistic)
        assert blocks._statistic(cells[name], everything)[0] == pytest.approx(expected, rel=0.01), name
    # The window ends when the last request is sent.
    assert 950 < cells["requests_per_s"].counts.sum() < 1000
    assert cells["output_tokens_per_s"].counts.sum() == pytest.approx(9_900, abs=99)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), cells=st.integers(1, 6), bins=st.integers(1, 70), seed=st.integers(0, 99))
def test_the_percentile_is_where_the_count_of_all_bins_passes_its_share(
    data: st.DataObject, cells: int, bins: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    filled, level = (
        rng.random(bins) < data.draw(st.sampled_from([0.1, 0.5, 1.0])),
        data.draw(st.sampled_from([0.5, 0.99])),
    )
    counts = np.floor(rng.pareto(1.0, (cells, bins))) * filled
    values, drawn = np.sort(rng.normal(size=bins)), np.floor(rng.exponential(1.5, (40, cells)))
    found = blocks._statistic(blocks.Cells(counts, values, level), drawn)
    for value, below in zip(found, np.cumsum(drawn @ counts, axis=1), strict=True):
        above = min(int((below < level * below[-1]).sum()), bins - 1)
        under, before = max(above - 1, 0), below[above - 1] if above else 0
        part = min(max((level * below[-1] - before) / max(below[above] - before, 1e-9), 0), 1)
        assert value == values[under] + part * (values[above] - values[under])


def test_a_p99_of_few_requests_is_inconclusive(one: One) -> None:
    rng = np.random.default_rng(4)
    found = compared(one("a", rng, requests=300), one("b", rng, requests=300), DEFAULTS)
    change = next(change for change in found.changes if change.measure.name == "ttft_ms:p99")
    assert (change.verdict, change.p) == ("inconclusive", None)
    assert change.why is not None
    assert "10 values beyond the percentile" in change.why


def test_fewer_requests_than_make_blocks_are_refused(one: One) -> None:
    rng = np.random.default_rng(5)
    with pytest.raises(UserError, match="needs 50 measured requests that succeeded in both, one has 40"):
        compared(one("a", rng), one("b", rng, requests=40), DEFAULTS)


def test_every_resample_has_as_many_cells_as_the_run_in_blocks() -> None:
    drawn = blocks.draws(np.random.default_rng(6), 200, 12)
    assert drawn.shape == (blocks.DRAWS, 200)
    assert (drawn.sum(axis=1) == 200).all()
    # A cell's neighbour is nearly always drawn with it.
    assert (drawn == np.roll(drawn, 1, axis=1)).mean() > 0.8
    assert drawn.mean(axis=0) == pytest.approx(np.ones(200), abs=0.2)


def test_blocks_are_longer_where_values_depend_longer_on_each_other() -> None:
    rng = np.random.default_rng(7)
    noise = rng.standard_normal(400)
    dependent = [np.convolve(rng.standard_normal(600), rho ** np.arange(200))[200:600] for rho in (0.5, 0.9)]
    independent, some, much = (blocks.block_length(series) for series in (noise, *dependent))
    assert independent <= 3
    assert independent < some < much
    assert blocks.block_length(np.ones(400)) == 1


def _wrong(one: One, rng: Any, comparisons: int, limits: dict[str, float]) -> int:
    found = [compared(one("a", rng), one("b", rng), limits) for _ in range(comparisons)]
    return sum(bool(each.of("worse") or each.of("better")) for each in found)


def test_of_a_few_comparisons_where_nothing_changed_hardly_any_says_so(one: One) -> None:
    assert _wrong(one, np.random.default_rng(8), 3, DEFAULTS) <= 1


@pytest.mark.slow
def test_where_nothing_changed_at_most_one_comparison_in_twenty_says_so(one: One) -> None:
    assert _wrong(one, np.random.default_rng(9), 100, DEFAULTS) <= 5


def test_an_error_is_that_of_theory_where_requests_are_independent() -> None:
    """The mean of 200 cells with 5 exponential values each, and its logarithm's error 1 / sqrt(1000)."""
    rng = np.random.default_rng(10)
    cells = blocks.Cells(rng.exponential(1.0, (200, 5)).sum(axis=1)[:, None], np.zeros(1), None)
    drawn = blocks.draws(rng, 200, 6)
    again = blocks.draws(rng, 200, 6)
    error = blocks._error(cells, cells, (drawn, again), is_share=False)
    assert error == pytest.approx(math.sqrt(2 / 1000), rel=0.25)


IMPORTED = {"tool": "x", "title": "X", "file": "f", "sha256": "0", "differs": {}, "lacks": [], "untranslated": []}
APART = st.sampled_from([1.0, 1.0, 1.005, 0.995, 1.02, 0.98, 0.15, 7.0])


@cache
def counted_here(seed: int) -> tuple[dict[str, dict[str, float]], dict[str, float], pa.Table]:
    """What the requests of a run say themselves: its metrics' statistics, its rates, and the requests."""
    run, table = build_one("", np.random.default_rng(seed))
    cells, seconds = blocks.cells_of(run.run, table, 200), window(run.run, table).seconds
    metrics: dict[str, dict[str, float]] = {}
    for measure in MEASURES.values():
        if measure.statistic is None:
            continue
        values = METRICS[measure.metric].values(table).values
        if len(values):
            said = metrics.setdefault(measure.metric, {"mean": float(values.mean())})
            said[measure.statistic] = float(np.quantile(values, LEVELS[measure.statistic]))
    rates = {name: float(cells[name].counts.sum()) / seconds for name in ("requests_per_s", "output_tokens_per_s")}
    return metrics, rates, table


def as_a_tool_says(name: str, seed: int, factors: dict[str, float]) -> tuple[Run, pa.Table]:
    """A run whose tool gives these multiples of what its requests say, by `metric:statistic` or rate."""
    metrics, rates, table = counted_here(seed)
    summary = {
        "metrics": {
            metric: {each: value * factors.get(f"{metric}:{each}", 1.0) for each, value in said.items()}
            for metric, said in metrics.items()
        },
        "throughput": {rate: value * factors.get(rate, 1.0) for rate, value in rates.items()},
        "requests": {"planned": table.num_rows, "failed": 0, "dropped": 0, "unfinished": 0},
    }
    return Run(name, manifest(imported=IMPORTED), summary_of(summary)), table


FACTORS = st.dictionaries(
    st.sampled_from([*MEASURES, *(f"{each.metric}:mean" for each in MEASURES.values() if each.statistic)]), APART
)


@settings(max_examples=10, deadline=None)
@given(FACTORS, FACTORS)
def test_nothing_is_concluded_from_requests_that_say_another_figure_than_their_tool(
    base: dict[str, float], candidate: dict[str, float]
) -> None:
    sides = as_a_tool_says("a", 1, base), as_a_tool_says("b", 2, candidate)
    for change in compared(*sides, DEFAULTS).changes:
        names = (change.measure.name, f"{change.measure.metric}:mean")
        apart = max(abs(factors.get(name, 1.0) - 1) for factors in (base, candidate) for name in names)
        if apart > 0.01 and not change.measure.is_share:
            assert (change.ci95, change.p, change.verdict) == (None, None, "inconclusive"), names
            assert (change.why or "").startswith(OTHERWISE)
        else:
            assert change.ci95 is not None, (names, change.why)
