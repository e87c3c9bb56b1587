"""`requests.parquet` as a table: its columns are the fields of `Record`, its rows the records."""

from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.process.cores import available_cores
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
# Columns of a table whose lists have been left in the file, and how many calls' and values are taken from it at a time.
_ROW, _FILE, _CALLS, _VALUES = "row", b"file", 8192, 1 << 18

T = TypeVar("T")
_Some = tuple[NDArray[np.int64], pa.Table]


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

    Without `lists` those of a hundred million token events stay in the file, where `mapped` reads them: a column `row`
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
        for _, part in mapped(lambda part: part, calls, schema.names):
            writer.write_table(part.select(schema.names))


def only(calls: pa.Table, names: Collection[str]) -> pa.Table:
    """These columns, and where lists are that have been left in the file."""
    return calls.select([name for name in calls.column_names if name in names or name == _ROW])


def mapped(
    function: Callable[[pa.Table], T], calls: pa.Table, names: Iterable[str]
) -> Iterator[tuple[NDArray[np.int64], T]]:
    """What a function makes of some columns of some of the calls at a time: (which of the calls these are, result).

    Lists that have been left in the file are read from there. The function is called in threads, one for each core.
    """

    def made(some: Callable[[], Iterator[_Some]]) -> list[tuple[NDArray[np.int64], T]]:
        return [(which, function(part)) for which, part in some()]

    lists = [name for name in names if name in _LISTS and name not in calls.column_names]
    others = calls.select([name for name in names if name not in lists])
    tasks = _in_file(calls, others, lists) if lists else _in_memory(others)
    if len(tasks) < 2:
        for some in tasks:
            yield from made(some)
        return
    threads = min(available_cores(), len(tasks))
    with ThreadPoolExecutor(threads) as pool:
        rest = iter(tasks)
        ahead = deque(_begun(pool, partial(made, some)) for some in islice(rest, 2 * threads))
        while ahead:
            found = ahead.popleft()()
            ahead.extend(_begun(pool, partial(made, some)) for some in islice(rest, 1))
            yield from found


def _begun(pool: ThreadPoolExecutor, task: Callable[[], T]) -> Callable[[], T]:
    """What waits for the result of a task; where no thread can be started it is done when it is asked for."""
    try:
        return pool.submit(task).result
    except RuntimeError:
        return task


def _in_memory(calls: pa.Table) -> list[Callable[[], Iterator[_Some]]]:
    sizes = np.ones(calls.num_rows, np.int64)
    for name in _LISTS.keys() & calls.column_names:
        sizes += pc.fill_null(pc.list_value_length(calls[name]), 0).to_numpy()
    number = (np.cumsum(sizes) - sizes) // _VALUES + np.arange(calls.num_rows) // _CALLS
    edges = np.flatnonzero(np.diff(number, prepend=-1, append=-1)).tolist() if calls.num_rows else []

    def some(start: int, end: int) -> Iterator[_Some]:
        yield np.arange(start, end), calls.slice(start, end - start)

    return [partial(some, *each) for each in pairwise(edges)]


def _in_file(calls: pa.Table, others: pa.Table, lists: list[str]) -> list[Callable[[], Iterator[_Some]]]:
    """A task for each row group in which some of the calls are."""
    path, others = Path(calls.schema.metadata[_FILE].decode()), others.combine_chunks()
    rows = calls[_ROW].to_numpy()
    in_order = np.argsort(rows, kind="stable")
    rows = rows[in_order]
    with _named(path):
        metadata = pq.read_metadata(path)
    leaf = next(n for n, leaf in enumerate(metadata.schema) if leaf.path.startswith(f"{lists[0]}."))
    idle = deque[pq.ParquetFile]()  # each is read by one task at a time

    def some(group: int, first: int) -> Iterator[_Some]:
        size = metadata.row_group(group)
        most = min(_CALLS, max(1, _VALUES * size.num_rows // size.column(leaf).num_values))
        with _named(path):
            try:
                file = idle.pop()
            except IndexError:
                file = pq.ParquetFile(path, metadata=metadata)
            for batch in file.iter_batches(most, row_groups=[group], columns=lists, use_threads=False):
                begin, end = np.searchsorted(rows, (first, first + batch.num_rows))
                if end > begin:
                    yield _beside(batch, rows[begin:end] - first, others, in_order[begin:end])
                first += batch.num_rows
        idle.append(file)

    firsts = np.cumsum([0, *(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))])
    begins = np.searchsorted(rows, firsts)
    return [partial(some, n, int(firsts[n])) for n in np.flatnonzero(np.diff(begins)).tolist()]


def _beside(batch: pa.RecordBatch, own: NDArray[np.int64], others: pa.Table, which: NDArray[np.int64]) -> _Some:
    """Some rows of a batch, and the other columns of the calls that they are of."""
    part = pa.Table.from_batches([batch])
    if not np.array_equal(own, np.arange(batch.num_rows)):
        part = part.take(own)
    for name in others.column_names:
        part = part.append_column(name, others[name].take(which))
    return which, part
