"""The streams of a run's answers, of which only some are in memory at a time.

What each comes to is read once (`with_streams`) and from then on a column like the others; what is asked of all their
arrivals together is read as often as it is needed.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.run.metrics import METRICS, flat, gaps_ms, told_early
from analysis.stats.distributions import Floats, Ints, Sample
from analysis.stats.pool import Pool, per_request
from bench.runs.table import mapped, only

T = TypeVar("T")

OF_GAPS: Final = ("arrivals_ns", "arrival_tokens")
"""The columns that gaps are made of."""
_TYPES: Final = {
    "arrivals": np.int64,
    "tokens": np.int64,
    "one_each": np.bool_,
    "from_ns": np.float64,
    "to_ns": np.float64,
    "longest_gap_ms": np.float64,
    "turns_back": np.bool_,
}
"""Of each call: its arrivals, the tokens they brought, whether each brought one; the first and the last instant of any,
infinite and minus infinite without one; the longest gap, 0 without one; whether an arrival is before an earlier one."""


OF_STREAMS: Final = tuple(f"stream.{name}" for name in _TYPES)
"""The names of their columns."""


def with_streams(calls: pa.Table) -> pa.Table:
    """The calls with a column for what each of their streams comes to."""
    for name, values in _streams(calls).items():
        calls = calls.append_column(f"stream.{name}", pa.array(values))
    return calls


def stream(calls: pa.Table, name: str) -> npt.NDArray[Any]:
    """Such a column, or the same read anew."""
    if f"stream.{name}" in calls.column_names:
        return np.asarray(calls[f"stream.{name}"])
    return _streams(calls)[name]


def _streams(calls: pa.Table) -> dict[str, npt.NDArray[Any]]:
    found = {name: np.zeros(calls.num_rows, kind) for name, kind in _TYPES.items()}
    for rows, own in mapped(_of_some, calls, OF_GAPS):
        for name, values in own.items():
            found[name][rows] = values
    return found


def _of_some(calls: pa.Table) -> dict[str, npt.NDArray[Any]]:
    t_ns, offsets = flat(calls, "arrivals_ns")
    tokens, of_tokens = flat(calls, "arrival_tokens")
    gaps = gaps_ms(t_ns, offsets)
    return {
        "arrivals": np.diff(offsets),
        "tokens": per_request(np.add, tokens, of_tokens),
        "one_each": per_request(np.logical_and, tokens == 1, of_tokens, True),
        "from_ns": per_request(np.minimum, t_ns, offsets, np.inf),
        "to_ns": per_request(np.maximum, t_ns, offsets, -np.inf),
        "longest_gap_ms": np.maximum(per_request(np.maximum, *gaps, 0.0), 0.0),
        "turns_back": per_request(np.minimum, *gaps, 0.0) < 0,
    }


def output_tokens(calls: pa.Table) -> Floats:
    """How many output tokens each call brought, by its arrivals and what was made before the first."""
    return np.asarray(stream(calls, "tokens") + told_early(calls), np.float64)


def arrivals_in(calls: pa.Table, start_ns: int, end_ns: int) -> int:
    """How many arrivals lie between two instants, both included."""
    from_ns, to_ns = stream(calls, "from_ns"), stream(calls, "to_ns")
    whole = (from_ns >= start_ns) & (to_ns <= end_ns)
    crossing = np.flatnonzero(~whole & (from_ns <= end_ns) & (to_ns >= start_ns))

    def of(part: pa.Table) -> int:
        t_ns, _ = flat(part, "arrivals_ns")
        return int(((t_ns >= start_ns) & (t_ns <= end_ns)).sum())

    some = mapped(of, only(calls, OF_GAPS).take(crossing), ["arrivals_ns"])
    return int(stream(calls, "arrivals")[whole].sum()) + sum(found for _, found in some)


def gaps(name: str, calls: pa.Table) -> Pool:
    """The gaps of all calls, of a metric that has many of each call."""
    if name == "itl_ms" and stream(calls, "one_each").all():
        name = "chunk_gap_ms"  # the same, of fewer columns
    return _pool(calls, METRICS[name].values, OF_GAPS if name == "itl_ms" else OF_GAPS[:1])


def lags(calls: pa.Table, unit_ns: float) -> Pool:
    """How late this client was to take each read of these calls."""

    def of(part: pa.Table) -> Sample:
        lags_ns, offsets = flat(part, "lags_ns")
        return Sample(lags_ns / unit_ns, offsets)

    return _pool(calls, of, ("lags_ns",))


def _pool(calls: pa.Table, values: Callable[[pa.Table], Sample], names: tuple[str, ...]) -> Pool:
    def reading(function: Callable[[Sample], T]) -> Iterator[tuple[Ints, T]]:
        return mapped(lambda part: function(values(part)), calls, names)

    return Pool(calls.num_rows, reading)
