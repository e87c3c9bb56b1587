"""One run on each side: the block bootstrap."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.compare import blocks
from analysis.compare.comparison import Comparison, Run, compare
from analysis.compare.measures import thresholds
from bench.types import UserError

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
