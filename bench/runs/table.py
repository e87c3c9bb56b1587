"""`requests.parquet` as a table: its columns are the fields of `Record`, its rows the records."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.runs.folder import PLAN, REQUESTS
from bench.types import Record, UserError

_TEXTS = {
    "phase", "finish", "error", "error_message", "token_source", "text_sha", "service_tier", "rate_limits",
    "unread_example", "encoding", "count_readings", "count_contradictions", "klass", "adapter", "stamps",
}  # fmt: skip
_LISTS = {"arrivals_ns": pa.int64(), "arrival_tokens": pa.int32(), "lags_ns": pa.int64()}


def column_of(name: str) -> str:
    """The column of a field; Python keeps the word for itself."""
    return "class" if name == "klass" else name


SCHEMA = pa.schema(
    [
        (
            column_of(field.name),
            pa.string()
            if field.name in _TEXTS
            else pa.list_(_LISTS[field.name])
            if field.name in _LISTS
            else pa.int64(),
        )
        for field in fields(Record)
    ]
)
"""The columns of `requests.parquet`: the fields of `Record`."""
ENCODING: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "use_dictionary": [field.name for field in SCHEMA if field.type == pa.string()],
    "column_encoding": {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in _LISTS},
}
"""How they are written: instants are nearly all different, and near each other."""
_NAMES = [field.name for field in fields(Record)]


def to_table(records: Iterable[Record]) -> pa.Table:
    """Records as a table of `SCHEMA`."""
    rows = list(records)
    return pa.Table.from_arrays(
        [_column([getattr(row, name) for row in rows], field) for name, field in zip(_NAMES, SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    if not pa.types.is_list(field.type):
        return pa.array(values, field.type)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    flat = np.fromiter(chain.from_iterable(values), field.type.value_type.to_pandas_dtype(), offsets[-1])
    return pa.ListArray.from_arrays(offsets, pa.array(flat, field.type.value_type))


def read_parquet(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read one of a run's tables, or those of its columns that it has. Raises UserError where it is damaged."""
    try:
        known = pq.read_schema(path).names
        return pq.read_table(path, columns=known if columns is None else [name for name in columns if name in known])
    except (OSError, pa.ArrowException) as problem:
        again = "restore the file" if path.name == PLAN else f"make it again with: bench.py decode {path.parent}"
        why = (str(problem).splitlines() or ["no reason given"])[0][:120]
        raise UserError(f"{path} cannot be read: {why}; {again}") from None


def read_requests(folder: Path) -> pa.Table:
    """Read a run's `requests.parquet`; what an older one has no column for is unknown."""
    table = read_parquet(folder / REQUESTS)
    for field in SCHEMA:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table
