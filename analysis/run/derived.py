"""What a row of requests.parquet says beside its stamps: the metrics of which a call has one value, in ms."""

from typing import Final

import numpy as np
import pyarrow as pa

from analysis.run.metrics import METRICS, POOLED, is_successful, keep

DERIVED: Final = tuple(name for name, metric in METRICS.items() if metric.unit == "ms" and name not in POOLED)


def with_derived(calls: pa.Table) -> pa.Table:
    """The table with a column for each of these metrics, computed anew where it has one.

    A column holds just the values that the metric is made of: a call that failed has none, nor one where it is
    undefined.
    """
    succeeded = is_successful(calls)
    rows = np.flatnonzero(succeeded.to_numpy())
    successes = keep(calls, succeeded)
    for name in DERIVED:
        values, offsets = METRICS[name].values(successes)
        column = np.full(calls.num_rows, np.nan)
        column[rows[np.diff(offsets) == 1]] = values
        made = pa.array(column, pa.float64(), mask=np.isnan(column))
        at = calls.schema.get_field_index(name)
        calls = calls.append_column(name, made) if at < 0 else calls.set_column(at, name, made)
    return calls
