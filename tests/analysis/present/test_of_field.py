"""What a comparison of more than two sides looks like wherever it is read, and that it counts its own rows."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.compare.comparison import Run
from analysis.compare.field import compare_all
from analysis.compare.measures import thresholds
from analysis.present.of_field import document
from tests.golden import same_as_before

Runs = Callable[..., tuple[Run, ...]]
SPREAD = (0.99, 1.0, 1.01)


def test_it_reads_as_before(runs: Runs, summary: Callable[..., dict[str, Any]]) -> None:
    sides = [
        runs(name, [summary(metrics={"ttft_ms": {"p50": ms * x, "p99": 3 * ms * x}}) for x in SPREAD])
        for name, ms in (("a", 100), ("b", 130), ("c", 90), ("d", 100))
    ]
    same_as_before("field", document(compare_all(sides, thresholds([]), warnings=("beware of <b>",))))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.floats(0.1, 1e4), min_size=3, max_size=4), min_size=3, max_size=4))
def test_a_headline_counts_its_rows_and_no_sign_contradicts_the_values_beside_it(
    runs: Runs, summary: Callable[..., dict[str, Any]], speeds: list[list[float]]
) -> None:
    sides = [
        runs(f"{i}-", [summary(metrics={"ttft_ms": {"p50": ms, "p99": 2 * ms}}) for ms in side])
        for i, side in enumerate(speeds)
    ]
    found = compare_all(sides, thresholds([]))
    shown = document(found)
    rows = [change for pair in shown.data["pairs"] for change in pair["changes"]]
    counts = Counter(row["verdict"] for row in rows)
    differ, same = counts["better"] + counts["worse"], counts["same"]
    said = f": {differ} differ, {same} same, {counts['inconclusive']} inconclusive."
    assert shown.headline is not None and shown.headline.text.endswith(said)
    for pair in found.pairs.values():
        for change in pair.changes:
            assert change.base is not None and change.candidate is not None and change.change is not None
            rises = change.candidate - change.base
            assert change.change * rises >= 0 or change.change == pytest.approx(0, abs=1e-9)
            if change.verdict in ("better", "worse"):
                assert (change.verdict == "worse") == (rises > 0) == (change.change > 0)
