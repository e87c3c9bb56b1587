"""What a row of requests.parquet says beside its stamps."""

import csv
import io
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analysis.present.requests_csv import rows
from analysis.run.derived import DERIVED, with_derived
from analysis.run.metrics import METRICS, successful
from bench.runs.table import SCHEMA, to_table
from tests.analysis.test_anything import records

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    count = draw(st.integers(0, 6))
    return to_table(draw(records(seq)) for seq in draw(st.permutations(range(count))))


@QUICK
@given(tables())
def test_a_column_holds_just_the_values_that_its_metric_is_made_of(calls: pa.Table) -> None:
    derived = with_derived(calls)
    assert derived.column_names == [*SCHEMA.names, *DERIVED]
    for name in DERIVED:
        own = METRICS[name].values(successful(calls)).values
        np.testing.assert_array_equal(derived[name].drop_null().to_numpy(), own)
        assert successful(derived)[name].null_count == successful(calls).num_rows - len(own)


@QUICK
@given(tables())
def test_columns_are_computed_anew_where_they_are_there(calls: pa.Table) -> None:
    once = with_derived(calls)
    assert with_derived(once).equals(once)


def test_the_metrics_that_a_call_has_one_value_of_are_all_there() -> None:
    assert {"ttft_ms", "tpot_ms", "service_ms", "response_ms", "lateness_ms", "retrieval_ms"} <= set(DERIVED)
    assert not {"itl_ms", "chunk_gap_ms", "output_tokens"} & set(DERIVED)


@QUICK
@given(tables())
def test_the_csv_has_a_row_for_each_call_by_its_number_and_says_what_the_table_says(calls: pa.Table) -> None:
    names, *read = _through_a_file(calls)
    derived = with_derived(calls).sort_by("seq")
    assert [row[names.index("seq")] for row in read] == [str(seq) for seq in range(calls.num_rows)]
    for name in names:
        told = ["" if value is None else str(value) for value in derived[name].to_pylist()]
        assert [row[names.index(name)] for row in read] == told


@QUICK
@given(st.text(st.characters(exclude_characters="\0")), st.sampled_from("=+-@\t\r"))
def test_no_text_of_a_server_is_a_formula(text: str, first: str) -> None:
    calls = pa.Table.from_pylist([{"seq": 0, "error_message": first + text}], schema=SCHEMA)
    names, row = _through_a_file(calls)
    assert row[names.index("error_message")] == f"'{first}{text}"


def _through_a_file(calls: pa.Table) -> list[list[Any]]:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows(calls))
    return list(csv.reader(io.StringIO(text.getvalue(), newline="")))
