"""How the tests of the checks make a run doubtful: by changing columns and series of a synthetic one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.summaries import summarize

Doubts = Callable[..., dict[str, dict[str, Any]]]
Filled = Callable[..., pa.Table]
Sampled = Callable[..., pa.Table]


@pytest.fixture
def doubts() -> Doubts:
    """`doubts(run, requests, telemetry=None) -> {code: reason}` of the verdict; `status` is its status."""

    def judge(run: Any, table: pa.Table, telemetry: pa.Table | None = None) -> dict[str, dict[str, Any]]:
        verdict = summarize(run, table, telemetry)["verdict"]
        return {reason["code"]: reason | {"status": verdict["status"]} for reason in verdict["reasons"]}

    return judge


@pytest.fixture
def filled() -> Filled:
    """`filled(table, name, value, rows=None) -> table` with a column's values replaced, all or in the rows given."""

    def fill(table: pa.Table, name: str, value: Any, rows: Sequence[int] | range | None = None) -> pa.Table:
        values = table[name].to_pylist()
        for row in range(table.num_rows) if rows is None else rows:
            values[row] = value
        field = table.schema.field(name)
        return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))

    return fill


@pytest.fixture
def sampled() -> Sampled:
    """`sampled({(source, name): values}, every_s=1.0) -> telemetry`, the first sample at the start of the load."""

    def sample(series: Mapping[tuple[str, str], Sequence[float]], every_s: float = 1.0) -> pa.Table:
        rows = [
            (round(i * every_s * 1e9), source, name, float(value))
            for (source, name), values in series.items()
            for i, value in enumerate(values)
        ]
        t_ns, source, name, value = zip(*rows, strict=True)
        return pa.table({"t_ns": np.array(t_ns, np.int64), "source": source, "name": name, "value": value})

    return sample
