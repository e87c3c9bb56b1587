"""Which load processes have accounted for their calls: of what a killed one had in hand nobody knows anything."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def lost(run: Mapping[str, Any]) -> int:
    """How many load processes left no closing account, as far as the run's captures were looked at."""
    if "clients" not in run:
        return 0
    closed = sum(client.get("wall_s") is not None for client in run["clients"])
    return max(0, int(run["workers"]) - closed)


def told_of(run: Mapping[str, Any], requests: pa.Table) -> pa.Table:
    """The calls that somebody tells of: where a process was lost, what was not sent may have been its own."""
    return requests.filter(pc.is_valid(requests["sent_ns"])) if lost(run) else requests
