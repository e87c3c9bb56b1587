"""Classes and adapters are summed up by the functions that sum up the whole, and come to it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import build_run
from tests.summaries import summarize

TOKENS = {"kind": "fixed", "low": 1, "high": 1}


def with_groups(table: pa.Table, name: str, values: list[str | None]) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))


def classed(slos: dict[str, list[str]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "weight": 1.0, "prompt_tokens": TOKENS, "output_tokens": TOKENS, "slo": slo}
        for name, slo in slos.items()
    ]


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=60, max_size=60),
    st.sampled_from([{"concurrency": 4}, {"rate_per_s": 20.0}]),
    st.sampled_from([(), range(5, 25, 3)]),
)
def test_the_rows_of_all_classes_are_all_rows(of: list[str], load: dict[str, Any], failed: Any) -> None:
    run, table, _ = build_run(60, 8, failed=failed, **load)
    for column, section in (("class", "classes"), ("adapter", "adapters")):
        whole = summarize(run, with_groups(table, column, list(of)), None)
        groups = whole[section]
        assert [group["name"] for group in groups] == sorted(set(of))
        for count in ("planned", "succeeded", "failed", "dropped", "unfinished"):
            assert sum(group["requests"][count] for group in groups) == whole["requests"][count]
        counts = (sum(group["metrics"]["ttft_ms"]["count"] for group in groups), whole["metrics"]["ttft_ms"]["count"])
        assert counts[0] == counts[1]
        for rate in ("requests_per_s", "output_tokens_per_s"):
            if whole["throughput"][rate] is not None:
                together = sum(group["throughput"][rate] for group in groups)
                assert together == pytest.approx(whole["throughput"][rate])


def test_one_class_alone_says_what_the_whole_says() -> None:
    run, table, _ = build_run(200, 8, failed=range(3), slo=["ttft_ms:p90<90"])
    whole = summarize(run, with_groups(table, "class", ["a"] * 200), None)
    [only] = whole["classes"]
    assert only == {name: whole[name] for name in ("requests", "metrics", "throughput")} | {"name": "a"}


def test_a_class_is_judged_by_its_own_objectives_and_no_other_is() -> None:
    run, table, _ = build_run(200, 8, ttft_ms=80, jitter=0.0)
    run = run | {
        "scenario": run["scenario"] | {"classes": classed({"a": ["ttft_ms:p90<50"], "b": ["ttft_ms:p90<500"]})}
    }
    of = np.where(np.arange(200) % 4 == 0, "a", "b").tolist()
    found = summarize(run, with_groups(table, "class", of), None)
    judged = {result["objective"]: (result["met"], result["attainment"], result["klass"]) for result in found["slo"]}
    assert judged == {"a: ttft_ms:p90<50": (False, 0.0, "a"), "b: ttft_ms:p90<500": (True, 1.0, "b")}
    assert found["throughput"]["slo_attainment"] == 0.75
    assert [group["throughput"]["slo_attainment"] for group in found["classes"]] == [0.0, 1.0]
    assert [group["requests"]["planned"] for group in found["classes"]] == [50, 150]


def test_a_run_without_classes_has_no_groups() -> None:
    found = summarize(*build_run(60, 8))
    assert (found["classes"], found["adapters"]) == ([], [])
