"""A run's tables: what is damaged is refused in a line that names the file, and never a traceback."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runs.folder import PLAN, REQUESTS
from bench.runs.table import SCHEMA, read_parquet, read_requests
from bench.types import UserError


def test_a_column_that_an_older_run_lacks_is_unknown(tmp_path: Path) -> None:
    pq.write_table(pa.table({"seq": [1, 2]}), tmp_path / REQUESTS)
    assert read_requests(tmp_path).select(SCHEMA.names)["status"].to_pylist() == [None, None]
    assert read_parquet(tmp_path / REQUESTS, ["status", "seq"]).column_names == ["seq"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_table_damaged_anywhere_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("run") / draw.draw(st.sampled_from([PLAN, REQUESTS]))
    pq.write_table(pa.table({"seq": list(range(50)), "finish": ["stop"] * 50}), path, compression="zstd")
    data = bytearray(path.read_bytes())
    for place in draw.draw(st.lists(st.integers(0, len(data) - 1), max_size=4)):
        data[place] ^= draw.draw(st.integers(1, 255))
    path.write_bytes(data[: draw.draw(st.integers(0, len(data)))])
    try:
        read_parquet(path)
    except UserError as problem:
        assert str(problem).startswith(str(path)) and "\n" not in str(problem)
        assert ("bench.py decode" in str(problem)) == (path.name == REQUESTS)


def test_a_folder_in_a_tables_place_is_named(tmp_path: Path) -> None:
    (tmp_path / REQUESTS).mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_requests(tmp_path)
