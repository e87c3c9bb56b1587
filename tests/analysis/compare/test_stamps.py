"""Runs whose stamps others took are compared within what these err by, and no finer."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.compare.comparison import Change, Run, compare
from analysis.compare.measures import thresholds
from analysis.compare.stamps import StampsApart

Runs = Callable[..., tuple[Run, ...]]
Tool = Callable[..., Any]
DEFAULTS = thresholds([])


@pytest.fixture
def ttft(runs: Runs, summary: Tool) -> Callable[..., Change]:
    """What becomes of ttft_ms:p50 from 100 ms to another, by the stamps and errors of the sides."""

    def build(candidate_ms: float, stamps: tuple[str, str], errors_ms: tuple[float | None, float | None]) -> Change:
        sides = []
        for name, ms, own, error_ms in zip("ab", (100.0, candidate_ms), stamps, errors_ms, strict=True):
            client = {"stamps": own, "selftest": {"measured_at": "2026-01-01", "error_ms": error_ms}}
            some = [summary(metrics={"ttft_ms": {"p50": ms * x}}) | {"client": client} for x in (0.99, 1.0, 1.01)]
            sides.append(runs(name, some))
        found = compare(sides[0], sides[1], DEFAULTS)
        return next(one for one in found.changes if one.measure.name == "ttft_ms:p50")

    return build


def test_what_the_stamps_may_err_by_is_neither_better_nor_worse(ttft: Tool) -> None:
    apart = ttft(115, ("kernel", "packets"), (15.0, 0.2))
    assert apart.verdict == "inconclusive"
    assert apart.why == "stamps are kernel, then packets, which err by up to 15.2 ms: the same --stamps on both sides"
    assert ttft(115, ("kernel", "packets"), (14.0, 0.2)).verdict == "worse"
    assert ttft(85, ("kernel", "packets"), (15.0, 0.2)).verdict == "inconclusive"
    assert ttft(115, ("kernel", "kernel"), (15.0, 15.0)).verdict == "worse", "both err alike"


def test_nor_is_it_the_same_where_they_may_hide_more_than_matters(ttft: Tool) -> None:
    assert ttft(100, ("kernel", "packets"), (4.0, 0.2)).verdict == "same"
    assert ttft(100, ("kernel", "packets"), (6.0, 0.2)).verdict == "inconclusive"


def test_without_a_selftest_nobody_knows(ttft: Tool) -> None:
    unknown = ttft(200, ("user", "packets"), (None, 0.2))
    assert unknown.verdict == "inconclusive"
    assert "bench.py selftest" in unknown.why


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4), st.floats(0, 1e4))
def test_no_difference_within_the_error_is_called_one(base_ms: float, candidate_ms: float, error_ms: float) -> None:
    hidden = StampsApart(error_ms, "a, then b")
    is_within = abs(candidate_ms - base_ms) <= error_ms
    for called in ("better", "worse"):
        assert (hidden.hides(called, base_ms, candidate_ms, 0.05) is not None) == is_within
    assert hidden.hides("inconclusive", base_ms, candidate_ms, 0.05) is None
