"""`requests.parquet` as a table: its columns are the fields of `Record`, its rows the records."""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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
            column_of(name),
            pa.string() if name in _TEXTS else pa.list_(_LISTS[name]) if name in _LISTS else pa.int64(),
        )
        for name in Record._fields
    ]
)
"""The columns of `requests.parquet`: the fields of `Record`."""
ENCODING: Final[Mapping[str, Any]] = {
    "compression": "zstd",
    "use_dictionary": [field.name for field in SCHEMA if field.type == pa.string()],
    "column_encoding": {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in _LISTS},
}
"""How they are written: instants are nearly all different, and near each other."""
# Columns of a table whose lists have been left in the file, and how many calls' are read from there at a time.
_ROW, _FILE, _BLOCK = "row", b"file", 4096


def to_table(records: Iterable[Record]) -> pa.Table:
    """Records as a table of `SCHEMA`."""
    columns = list(zip(*records, strict=True)) or [()] * len(SCHEMA)
    return pa.Table.from_arrays([_column(*each) for each in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    if not pa.types.is_list(field.type):
        return pa.array(values, field.type)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    # Of a long answer they are arrays, of which each is copied at once.
    flat = array("q" if field.type.value_type == pa.int64() else "i")
    for value in values:
        flat.extend(value)
    return pa.ListArray.from_arrays(offsets, pa.array(np.asarray(flat)))


def read_parquet(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read one of a run's tables, or those of its columns that it has. Raises UserError where it is damaged."""
    with _named(path), pq.ParquetFile(path) as file:
        known = file.schema_arrow.names
        names = known if columns is None else [name for name in columns if name in known]
        # In this thread: where memory is limited, Arrow may wait for ever for one of its own that could not be started.
        return file.read(names, use_threads=False).select(names)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of a table that cannot be read which it is, and how to get it back."""
    try:
        yield
    except (OSError, pa.ArrowException) as problem:
        again = "restore the file" if path.name == PLAN else f"make it again with: bench.py decode {path.parent}"
        why = (str(problem).splitlines() or ["no reason given"])[0][:120]
        raise UserError(f"{path} cannot be read: {why}; {again}") from None


def read_requests(folder: Path, *, lists: bool = True) -> pa.Table:
    """Read a run's `requests.parquet`; what an older one has no column for is unknown.

    Without `lists` those of a hundred million token events stay in the file, where `blocks` reads them: a column `row`
    says which a call's are, the table's metadata which file.
    """
    path = folder / REQUESTS
    with _named(path):
        there = pq.read_schema(path).names
    lists = lists or not set(_LISTS).issubset(there)
    table = read_parquet(path, None if lists else [name for name in there if name not in _LISTS])
    for field in SCHEMA:
        if field.name not in there:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    if lists:
        return table
    table = table.append_column(_ROW, pa.array(np.arange(table.num_rows)))
    return table.replace_schema_metadata({_FILE: str(path.absolute())})


def write_requests(path: Path, calls: pa.Table) -> None:
    """Write a table that was read without its lists with those that are in its file, which is not `path`."""
    schema = pq.read_schema(calls.schema.metadata[_FILE].decode())
    with pq.ParquetWriter(path, schema, **ENCODING) as writer:
        for _, part in blocks(calls, schema.names):
            writer.write_table(part.select(schema.names))


def blocks(calls: pa.Table, names: Iterable[str]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """Take some columns of some of the calls at a time, lists included: (which of the calls these are, columns)."""
    lists = [name for name in names if name in _LISTS and name not in calls.column_names]
    others = calls.select([name for name in names if name not in lists])
    if not lists:
        for start in range(0, calls.num_rows, _BLOCK):
            part = others.slice(start, _BLOCK)
            yield np.arange(start, start + part.num_rows), part
        return
    rows = calls[_ROW].to_numpy()
    in_order = np.argsort(rows, kind="stable")
    rows, first = rows[in_order], 0
    for batch in _batches(Path(calls.schema.metadata[_FILE].decode()), lists):
        begin, end = np.searchsorted(rows, (first, first + batch.num_rows))
        if end > begin:
            which, part, own = in_order[begin:end], pa.Table.from_batches([batch]), rows[begin:end] - first
            if not np.array_equal(own, np.arange(batch.num_rows)):
                part = part.take(own)
            for name in others.column_names:
                part = part.append_column(name, others[name].take(which))
            yield which, part
        first += batch.num_rows


def _batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    with _named(path), pq.ParquetFile(path) as file:
        yield from file.iter_batches(_BLOCK, columns=names, use_threads=False)
