"""Parquet as records: a few rows at a time, and only the columns that are needed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from bench.types import UserError
from scenarios.traffic.lines import ROW_BYTES_MAX
from scenarios.traffic.rows import FilePosition

_ROWS_A_READ: Final = 64


def parquet_records(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[FilePosition, Mapping[str, Any]]]:
    """Yield the rows of a Parquet file, numbered from 1, with the wanted columns that it has, in any case.

    If it has none of them, all its columns are given. Raises UserError for a file that is not Parquet.
    """
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            names = file.schema_arrow.names
            chosen = [name for name in names if name.lower() in wanted] or names
            for batch in file.iter_batches(_ROWS_A_READ, columns=chosen):
                for record in _with_whole_times(batch).to_pylist():
                    number += 1
                    for name, value in record.items():
                        if _characters(value) > ROW_BYTES_MAX:
                            raise UserError(f"{path}:{number}: {name}: longer than {ROW_BYTES_MAX >> 20} MiB")
                    yield FilePosition(path, number), record
    except OSError as problem:
        said = problem.strerror or " ".join(str(problem).split())
        raise UserError(f"{path}:{number + 1}: cannot be read: {said}") from None
    except (pa.ArrowException, UnicodeDecodeError) as problem:
        said = " ".join(str(problem).split())  # pyarrow's may have several lines
        raise UserError(f"{path}:{number + 1}: not Parquet that can be read: {said}") from None


def _with_whole_times(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Convert times to numbers of nanoseconds, which Python's own cannot hold."""
    columns = [
        column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
        if pa.types.is_timestamp(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _characters(value: Any) -> int:
    if isinstance(value, list | dict):
        return sum(map(_characters, value.values() if isinstance(value, dict) else value))
    return len(value) if isinstance(value, str | bytes) else 0
