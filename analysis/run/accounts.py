"""Which load processes have accounted for their calls: of what a killed one had in hand nobody knows anything."""

import pyarrow as pa
import pyarrow.compute as pc

from bench.runs.manifest import RunManifest


def lost(run: RunManifest) -> int:
    """How many load processes left no closing account, as far as the run's captures were looked at."""
    if run.clients is None:
        return 0
    closed = sum(client.wall_s is not None for client in run.clients)
    return max(0, run.workers - closed)


def told_of(run: RunManifest, requests: pa.Table) -> pa.Table:
    """The calls that are accounted for: where a process was lost, what was not sent may have been its own."""
    return requests.filter(pc.is_valid(requests["sent_ns"])) if lost(run) else requests
