"""Answers that stood still in their middle."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import NS_PER_MS, column, is_text, keep, measured
from analysis.run.sections import Stalls
from analysis.run.streams import stream

# An engine's longest step, with a whole chunk of somebody's prompt in it, takes some ten times as long as its usual
# one. What takes a hundred times as long is no step.
LEAST_STALL_MS, USUAL_GAPS = 1000.0, 100.0


def stalls(requests: pa.Table, usual_gap_ms: float | None) -> Stalls:
    """How many measured answers stood still for more than `limit_ms` after their first token, and for how long.

    `usual_gap_ms` is the run's median gap between arrivals. A call that was given up for its silence (`stall`) counts
    whatever the limit, unless it waited for its first token: that is a queue. `longest_ms` and `seq` tell of the
    longest gap of all, also where it is none to speak of; None without one.
    """
    begun = measured(keep(requests, pc.is_valid(requests["first_token_ns"])))
    given_up = np.asarray(pc.fill_null(is_text(begun["error"], "stall"), False))
    silence_ms = (column(begun, "end_ns") - column(begun, "last_token_ns")) / NS_PER_MS
    given_up &= ~np.isnan(silence_ms)
    longest_ms = np.where(given_up, silence_ms, 0.0)
    longest_ms = np.maximum(longest_ms, stream(begun, "longest_gap_ms"))
    limit_ms = max(LEAST_STALL_MS, USUAL_GAPS * (usual_gap_ms or 0))
    most = int(longest_ms.argmax()) if longest_ms.any() else None
    return Stalls(
        limit_ms=limit_ms,
        answers=int((given_up | (longest_ms > limit_ms)).sum()),
        longest_ms=None if most is None else float(longest_ms[most]),
        seq=None if most is None else begun["seq"][most].as_py(),
    )
