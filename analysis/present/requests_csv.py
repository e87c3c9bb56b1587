"""requests.csv: a row for each planned call, for a spreadsheet."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from analysis.present.to_csv import literal
from analysis.run.derived import with_derived

_ROWS_AT_ONCE = 1_000


def rows(calls: pa.Table) -> Iterator[Sequence[Any]]:
    """The names of the columns, then the calls by their numbers, with what is derived of their stamps.

    Columns of lists are left out; unknown is None. Texts are such that no spreadsheet takes them for a formula.
    """
    table = with_derived(calls).sort_by("seq")
    table = table.select([field.name for field in table.schema if not pa.types.is_list(field.type)])
    yield table.column_names
    for batch in table.to_batches(_ROWS_AT_ONCE):
        yield from zip(*([literal(value) for value in column.to_pylist()] for column in batch.columns), strict=True)
