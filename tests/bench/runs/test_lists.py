"""Tables whose lists stay in their file: whatever is made of them, each call has its own."""

from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.run.metrics import flat
from bench.runs import table
from bench.runs.folder import REQUESTS

LISTS = st.lists(st.lists(st.integers(0, 2**40), max_size=5), min_size=1, max_size=30)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(folder: Path, arrivals: list[list[int]], group: int) -> None:
    columns = {
        "seq": range(len(arrivals)),
        "phase": ["warmup"] * len(arrivals),
        "arrivals_ns": arrivals,
        "arrival_tokens": [[1] * len(each) for each in arrivals],
        "lags_ns": [each[:1] for each in arrivals],
    }
    rows = pa.table({name: pa.array(values, table.SCHEMA.field(name).type) for name, values in columns.items()})
    pq.write_table(rows, folder / REQUESTS, row_group_size=group)


@FEW
@given(LISTS, st.integers(1, 9), st.tuples(st.integers(1, 9), st.integers(1, 20)), st.data())
def test_any_calls_in_any_order_have_their_lists(
    tmp_path: Path, arrivals: list[list[int]], group: int, most: tuple[int, int], draw: st.DataObject
) -> None:
    written(tmp_path, arrivals, group)
    chosen = draw.draw(st.lists(st.sampled_from(range(len(arrivals))), unique=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_CALLS", most[0])
        patch.setattr(table, "_VALUES", most[1])
        calls = table.read_requests(tmp_path, lists=False).take(pa.array(chosen, pa.int64()))
        assert "arrivals_ns" not in calls.column_names
        found: dict[int, list[int]] = {}
        for which, part in table.mapped(lambda part: part, calls, ["seq", "arrivals_ns", "lags_ns"]):
            assert part["seq"].to_pylist() == [chosen[place] for place in which]
            assert part["lags_ns"].to_pylist() == [each[:1] for each in part["arrivals_ns"].to_pylist()]
            found |= dict(zip(which.tolist(), part["arrivals_ns"].to_pylist(), strict=True))
        wanted = [arrivals[place] for place in chosen]
        assert [found[place] for place in range(len(chosen))] == wanted
        values, offsets = flat(calls, "arrivals_ns")
        assert values.tolist() == list(chain(*wanted))
        assert np.diff(offsets).tolist() == list(map(len, wanted))


@FEW
@given(LISTS, st.integers(1, 9))
def test_a_changed_column_is_written_beside_the_lists_as_they_were(
    tmp_path: Path, arrivals: list[list[int]], block: int
) -> None:
    written(tmp_path, arrivals, 4)
    before = pq.read_table(tmp_path / REQUESTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_CALLS", block)
        calls = table.read_requests(tmp_path, lists=False)
        place = calls.schema.get_field_index("phase")
        changed = calls.set_column(place, "phase", pa.array(["measured"] * len(arrivals)))
        table.write_requests(tmp_path / "new", changed)
    after = pq.read_table(tmp_path / "new")
    assert after.drop_columns("phase").equals(before.drop_columns("phase"))
    assert set(after["phase"].to_pylist()) == {"measured"}


def test_a_file_without_some_of_the_lists_is_read_whole(tmp_path: Path) -> None:
    pq.write_table(pa.table({"seq": [0], "arrivals_ns": pa.array([[1, 2]])}), tmp_path / REQUESTS)
    calls = table.read_requests(tmp_path, lists=False)
    assert calls["arrivals_ns"].to_pylist() == [[1, 2]]
    assert calls["lags_ns"].to_pylist() == [None]
