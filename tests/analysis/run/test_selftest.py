from typing import Any

import pytest

from analysis.run.sections import SelftestAtLoad
from analysis.run.selftest import at_load
from bench.runs.manifest import MachineSelftest
from bench.runs.sections import load
from tests.summaries import summarize


def kept() -> dict[str, Any]:
    events = [(18_000, 0.01), (72_000, 1.5), (36_000, 0.02)]
    requests = [(1_500, 0.03), (6_000, 0.5)]
    return {
        "measured_at": "2026-11-21T10:00:00+00:00",
        "workers": 1,
        **{
            name: {"limit_per_s": 1.0, "bounded_by": "error",
                   "steps": [{"per_s": per_s, "error_ms": error_ms} for per_s, error_ms in steps]}
            for name, steps in (("events", events), ("requests", requests))
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events_per_s", "requests_per_s", "error_ms"),
    [
        (100.0, 1.0, 0.03),  # the lowest steps
        (20_000.0, 1.0, 0.03),
        (40_000.0, 1.0, 1.5),  # the next above, not the nearest
        (100.0, 2_000.0, 0.5),
        (80_000.0, 1.0, None),  # beyond what was tried
        (100.0, 7_000.0, None),
        (None, 1.0, None),
    ],
)
def test_the_error_is_that_of_the_next_higher_load_of_either_kind(
    events_per_s: float | None, requests_per_s: float, error_ms: float | None
) -> None:
    found = at_load(load(MachineSelftest, kept(), "run.json"), events_per_s, requests_per_s)
    assert found == SelftestAtLoad("2026-11-21T10:00:00+00:00", error_ms)


def test_without_a_selftest_nothing_is_known() -> None:
    assert at_load(None, 100.0, 1.0) is None


def test_a_run_of_a_version_without_selftests_is_summarised_all_the_same(synthetic_run: Any) -> None:
    run, *tables = synthetic_run(requests=50)
    assert "selftest" not in run
    assert summarize(run, *tables)["client"]["selftest"] is None
    assert summarize(run | {"selftest": kept()}, *tables)["client"]["selftest"]["error_ms"] == 0.03
