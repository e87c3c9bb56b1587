"""More than two sides: how often a difference is seen where there is none, and what may be best."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.compare.comparison import Run, compare
from analysis.compare.field import FieldComparison, compare_all
from analysis.compare.measures import thresholds
from tests.speed.field import false_alarms

Runs = Callable[..., tuple[Run, ...]]
Tool = Callable[..., Any]
DEFAULTS = thresholds([])
SPREAD = (0.99, 1.0, 1.01)


@pytest.fixture
def of_speeds(runs: Runs, summary: Tool) -> Callable[..., FieldComparison]:
    """`of_speeds(100, 120, ...)`: a comparison of sides whose first tokens come at about so many ms."""

    def build(*speeds_ms: float) -> FieldComparison:
        sides = [
            runs(f"{i}-", [summary(metrics={"ttft_ms": {"p50": ms * x, "p99": 3 * ms * x}}) for x in SPREAD])
            for i, ms in enumerate(speeds_ms)
        ]
        return compare_all(sides, DEFAULTS)

    return build


def test_two_sides_are_judged_as_ever(of_speeds: Callable[..., FieldComparison]) -> None:
    found = of_speeds(100, 130)
    base, candidate = found.sides
    assert found.pairs[0, 1] == compare(base, candidate, DEFAULTS)
    assert found.verdict == "worse"


def test_what_no_other_surely_beats_may_be_best(of_speeds: Callable[..., FieldComparison]) -> None:
    found = of_speeds(200, 100, 101, 400)
    assert found.may_be_best("ttft_ms:p50") == (1, 2)
    assert found.may_be_best("requests_per_s") == (0, 1, 2, 3)
    assert [comparison.verdict for comparison in found.against_base] == ["better", "better", "worse"]
    assert found.value(3, "ttft_ms:p50") == pytest.approx(400, rel=1e-4)


def test_every_measure_of_every_pair_is_counted_once(of_speeds: Callable[..., FieldComparison]) -> None:
    found = of_speeds(100, 150, 200)
    assert sum(found.found.values()) == 3 * len(found.measures())
    assert found.found["differs"] == 6  # p50 and p99 of each pair


def test_the_more_pairs_the_surer_a_difference_must_be(of_speeds: Callable[..., FieldComparison]) -> None:
    two, five = of_speeds(100, 105), of_speeds(100, 105, 100, 100, 100)
    first, again = (found.pairs[0, 1].changes[0].p for found in (two, five))
    assert first is not None and again is not None
    assert again > 5 * first


def test_one_run_on_each_side_is_compared_by_its_requests(one: Callable[..., tuple[Run, pa.Table]]) -> None:
    rng = np.random.default_rng(4)
    sides = [one(name, rng, slower=slower, requests=400) for name, slower in (("a", 1.0), ("b", 1.6), ("c", 1.0))]
    found = compare_all([[run] for run, _ in sides], DEFAULTS, [table for _, table in sides])
    assert found.unit == "block"
    assert found.pairs[0, 1].verdict == "worse"
    assert found.may_be_best("ttft_ms:p50") == (0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 5])
def test_of_five_equal_sides_at_most_one_study_in_twenty_says_that_anything_differs(count: int) -> None:
    """By the statistics alone: with no threshold below which a change does not matter."""
    assert false_alarms(100, count, dict.fromkeys(DEFAULTS, 0.0)) <= [5]
