"""What decoding knows of the plan."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runs.decoding import PlannedCalls
from bench.runs.folder import PLAN
from bench.runs.table import column_of


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 60)), st.data())
def test_the_plan_gives_the_calls_that_are_asked_for_and_all_others(
    tmp_path_factory: pytest.TempPathFactory, numbers: set[int], data: st.DataObject
) -> None:
    """In whatever order it lies, and whatever is asked for that was not planned."""
    folder = tmp_path_factory.mktemp("plan")
    order = data.draw(st.permutations(sorted(numbers)))
    columns = {"seq": order, "session": order, "turn": [0] * len(order), "max_tokens": [7 * seq for seq in order]}
    table = {column_of(name): pa.array(values, pa.int64()) for name, values in columns.items()}
    table |= {column_of(name): pa.nulls(len(order), pa.int64()) for name in ("due_ns", "prompt_tokens")}
    table[column_of("phase")] = pa.nulls(len(order), pa.string())
    pq.write_table(pa.table(table), folder / PLAN)
    calls = PlannedCalls(folder)
    asked = data.draw(st.lists(st.integers(0, 80)))
    found, others = calls.of(asked), calls.but(asked)
    assert found.keys() == numbers & set(asked)
    assert others.keys() == numbers - set(asked)
    assert all(one.max_tokens == 7 * seq == 7 * one.seq for seq, one in (found | others).items())
