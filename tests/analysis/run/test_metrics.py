"""Every metric on a case small enough to compute by hand."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.run.metrics import METRICS, measured, successful

MS = 1_000_000

# Sent 2 ms late, thinks until 30 ms, first text at 40 ms, then 1, 3 and 1 tokens; the response ends at 95 ms.
CALL = {
    "phase": "measured",
    "due_ns": 8 * MS,
    "sent_ns": 10 * MS,
    "connect_ns": 1_500_000,
    "retrieval_ns": 40 * MS,
    "first_token_ns": 30 * MS,
    "first_text_ns": 40 * MS,
    "last_token_ns": 90 * MS,
    "end_ns": 95 * MS,
    "prompt_tokens": 12,
    "output_tokens": 6,
    "arrivals_ns": [30 * MS, 40 * MS, 70 * MS, 90 * MS],
    "arrival_tokens": [1, 1, 3, 1],
}
ONE_TOKEN = {
    "phase": "measured",
    "due_ns": 0,
    "sent_ns": 0,
    "first_token_ns": 5 * MS,
    "first_text_ns": 5 * MS,
    "last_token_ns": 5 * MS,
    "end_ns": 6 * MS,
    "prompt_tokens": 3,
    "output_tokens": 1,
    "arrivals_ns": [5 * MS],
    "arrival_tokens": [1],
}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ttft_ms", [20.0]),
        ("ttft_text_ms", [30.0]),
        ("chunk_gap_ms", [10.0, 30.0, 20.0]),
        ("itl_ms", [10.0, 30.0, 0.0, 0.0, 20.0]),
        ("tpot_ms", [12.0]),
        ("service_ms", [85.0]),
        ("response_ms", [87.0]),
        ("lateness_ms", [2.0]),
        ("prompt_tokens", [12.0]),
        ("output_tokens", [6.0]),
        ("connect_ms", [1.5]),
        ("retrieval_ms", [40.0]),
        ("rag_response_ms", [127.0]),
    ],
)
def test_golden(requests_table: Any, name: str, values: Any) -> None:
    assert METRICS[name].values(requests_table([CALL])).values.tolist() == values


def test_every_metric_has_a_golden_case() -> None:
    (parametrize,) = (mark for mark in test_golden.pytestmark if mark.name == "parametrize")
    assert {name for name, _ in parametrize.args[1]} == set(METRICS)


@pytest.mark.parametrize("name", ["tpot_ms", "itl_ms", "chunk_gap_ms", "connect_ms", "retrieval_ms", "rag_response_ms"])
def test_what_one_token_on_an_open_connection_does_not_have_is_left_out_not_zero(
    requests_table: Any, name: str
) -> None:
    values, offsets = METRICS[name].values(requests_table([ONE_TOKEN, CALL, ONE_TOKEN]))
    golden = METRICS[name].values(requests_table([CALL])).values
    assert values.tolist() == golden.tolist()
    assert offsets.tolist() == [0, 0, len(golden), len(golden)]


def test_first_arrival_with_several_tokens_is_zero_gaps_only(requests_table: Any) -> None:
    calls = requests_table([{"arrivals_ns": [0, 10 * MS], "arrival_tokens": [3, 1]}])
    assert METRICS["itl_ms"].values(calls).values.tolist() == [0.0, 0.0, 10.0]


def test_a_count_without_end_does_not_take_memory_without_end(requests_table: Any) -> None:
    calls = requests_table([{"arrivals_ns": [0, 10 * MS], "arrival_tokens": [1_000_000_000, 1_000_000_000]}] * 2)
    values, offsets = METRICS["itl_ms"].values(calls)
    assert len(values) == offsets[-1] <= 40_000
    assert values.max() == 10.0


def test_an_arrival_without_tokens_is_no_token_gap(requests_table: Any) -> None:
    calls = requests_table([{"arrivals_ns": [0, 4 * MS, 10 * MS], "arrival_tokens": [1, 0, 1]}])
    assert METRICS["itl_ms"].values(calls).values.tolist() == [10.0]
    assert METRICS["chunk_gap_ms"].values(calls).values.tolist() == [4.0, 6.0]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 4)), max_size=6).map(sorted), min_size=1, max_size=8
    )
)
def test_gaps_are_those_of_each_call_by_itself(calls: Any) -> None:
    table = _table(calls)
    for name, per_call in (("chunk_gap_ms", _chunk_gaps), ("itl_ms", _token_gaps)):
        values, offsets = METRICS[name].values(table)
        got = [values[start:end].tolist() for start, end in pairwise(offsets)]
        assert got == [per_call(call) for call in calls]


def _table(calls: Any) -> Any:
    return pa.table(
        {
            "arrivals_ns": pa.array([[t_ns for t_ns, _ in call] for call in calls], pa.list_(pa.int64())),
            "arrival_tokens": pa.array([[tokens for _, tokens in call] for call in calls], pa.list_(pa.int32())),
        }
    )


def _chunk_gaps(call: Any) -> Any:
    return [(later[0] - earlier[0]) / MS for earlier, later in pairwise(call)]


def _token_gaps(call: Any) -> Any:
    times = [t_ns for t_ns, tokens in call for _ in range(tokens)]
    return [(later - earlier) / MS for earlier, later in pairwise(times)]


def test_sliced_and_chunked_tables_give_the_same_gaps(synthetic_run: Any) -> None:
    _, table, _ = synthetic_run(requests=30, tokens=5)
    pieces = pa.concat_tables([table.slice(0, 7), table.slice(7, 1), table.slice(8)])
    for name in ("itl_ms", "chunk_gap_ms"):
        whole, pieced = METRICS[name].values(table), METRICS[name].values(pieces)
        assert np.array_equal(whole.values, pieced.values)
        assert np.array_equal(whole.offsets, pieced.offsets)


def test_gaps_of_a_call_sum_to_its_last_minus_first_token(synthetic_run: Any) -> None:
    _, table, _ = synthetic_run(requests=20, tokens=17, tokens_per_arrival=3)
    values, offsets = METRICS["itl_ms"].values(table)
    tpot = METRICS["tpot_ms"].values(table).values
    assert np.add.reduceat(values, offsets[:-1]) == pytest.approx(tpot * 16)


def test_only_measured_calls_that_ended_without_error_are_kept(synthetic_run: Any) -> None:
    _, table, _ = synthetic_run(requests=10, warmup=2, failed=[3], dropped=[4], unfinished=[5])
    assert successful(measured(table))["seq"].to_pylist() == [2, 6, 7, 8, 9, 10, 11]


def test_reasoning_that_is_counted_but_not_sent_takes_no_time(requests_table: Any) -> None:
    """A hundred tokens, 60 of them hidden: the 39 after the first came within 390 ms."""
    hidden = {"first_token_ns": 0, "first_text_ns": 0, "last_token_ns": 390 * 10**6, "output_tokens": 100,
              "reasoning_tokens": 60}  # fmt: skip
    shown = hidden | {"first_text_ns": 200 * 10**6, "last_token_ns": 990 * 10**6}
    assert METRICS["tpot_ms"].values(requests_table([hidden, shown])).values.tolist() == [10, 10]
