"""A run's folder as frames of pandas, for a notebook; pandas is an extra that nothing else here needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from analysis.run import summary as summaries
from analysis.run.derived import with_derived
from analysis.run.metrics import flat
from analysis.run.summary import RunSummary
from bench.runs import folder as files
from bench.runs import manifest
from bench.runs.manifest import RunManifest
from bench.runs.table import read_parquet, read_requests
from bench.types import UserError

if TYPE_CHECKING:
    import pandas as pd

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class RunFrames:
    """A run: run.json and summary.json, whose keys are attributes, and its tables; docs/python.md has their columns.

    What is unknown is missing (NaN, NA or NaT), never 0. `telemetry` is None where nothing was sampled.
    """

    manifest: RunManifest
    summary: RunSummary
    plan: "pd.DataFrame"
    requests: "pd.DataFrame"
    tokens: "pd.DataFrame"
    telemetry: "pd.DataFrame | None"


def load(folder: str | Path) -> RunFrames:
    """Read a run's folder. Raises UserError where it is none, has no results yet, or pandas is not installed."""
    pandas, path = _pandas(), Path(folder)
    run, summary = manifest.read(path), summaries.read(path)
    if missing := [name for name in (files.PLAN, files.REQUESTS) if not (path / name).exists()]:
        raise UserError(f"{path} has no {missing[0]}; make it with: bench.py decode {path}")
    # Counts and stamps are integers, and some are unknown.
    kinds = {pa.int64(): pandas.Int64Dtype(), pa.int32(): pandas.Int32Dtype()}

    def frame(table: pa.Table) -> Any:
        plain = table.select([field.name for field in table.schema if not pa.types.is_list(field.type)])
        return plain.to_pandas(types_mapper=kinds.get)

    requests = with_derived(read_requests(path)).sort_by("seq")
    telemetry = path / files.TELEMETRY
    return RunFrames(
        manifest=run,
        summary=summary,
        plan=frame(read_parquet(path / files.PLAN)),
        requests=frame(requests),
        tokens=frame(_tokens(requests)),
        telemetry=frame(read_parquet(telemetry)) if telemetry.exists() else None,
    )


def _tokens(requests: pa.Table) -> pa.Table:
    """A row for each arrival of output: its call, its place in the answer, when it came, and how many tokens it has."""
    t_ns, offsets = flat(requests, "arrivals_ns")
    counts = np.diff(offsets)
    place = np.arange(len(t_ns)) - np.repeat(offsets[:-1], counts)
    gap_ms = np.diff(t_ns, prepend=0) / NS_PER_MS
    columns = {
        "seq": pa.array(np.repeat(requests["seq"].to_numpy(), counts), pa.int64()),
        "arrival": pa.array(place, pa.int64()),
        "t_ns": pa.array(t_ns, pa.int64()),
        "tokens": pa.array(flat(requests, "arrival_tokens")[0], pa.int64()),
        "gap_ms": pa.array(gap_ms, pa.float64(), mask=place == 0),
    }
    return pa.Table.from_arrays(list(columns.values()), names=list(columns))


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise UserError(
            "analysis.load needs pandas: pip install pandas, or this tool with its extra `notebook`"
        ) from None
    return pandas
