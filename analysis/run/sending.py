"""When calls were sent against when they were due, apart from the waits that are not the client's fault."""

from typing import Any

import numpy as np
import pyarrow as pa

from analysis.run.accounts import told_of
from analysis.run.metrics import NS_PER_MS, column
from analysis.run.sections import Sending, Tail
from analysis.run.window import last_ns
from analysis.stats.distributions import Floats, at_position
from analysis.stats.pool import Ordered
from bench.runs.manifest import RunManifest

NOT_FOR_A_SEAT = ("dropped", "budget")


def sending(run: RunManifest, requests: pa.Table) -> Sending:
    """How late this client sent its measured calls, and what share of them first had to wait for a slot.

    `late_ms` (p50, p99, max) is sent − due, without the time to open a connection, over the calls that found a slot
    free. `waited_share` is of the calls due in an open loop; None in a closed loop, where a free slot makes a call due.
    """
    requests = told_of(run, requests)
    calls = requests.select(["seq", "worker", "phase", "due_ns", "sent_ns", "end_ns", "connect_ns", "error"])
    due_ns, sent_ns = column(calls, "due_ns"), column(calls, "sent_ns")
    # What an interrupted run never came to neither waited nor was late.
    reached = due_ns <= last_ns(requests)
    own = np.array([phase == "measured" for phase in calls["phase"].to_pylist()], np.bool_) & reached
    waited = np.zeros(calls.num_rows, np.bool_)
    if run.load.is_open:
        waited = _waited(calls, due_ns, reached, max(1, run.load.max_in_flight // run.workers))
    late_ns = sent_ns - due_ns - np.nan_to_num(column(calls, "connect_ns"))
    late_ns = late_ns[own & ~waited & ~np.isnan(late_ns)]
    open_loop = run.load.is_open and own.any()
    return Sending(tail_of(Ordered.of(late_ns)), float(waited[own].mean()) if open_loop else None)


def tail_of(ordered_ns: Ordered) -> Tail:
    """Median, tail and maximum of some nanoseconds."""
    if not len(ordered_ns):
        return Tail()
    places = [(len(ordered_ns) - 1) * level for level in (0.5, 0.99, 1.0)]
    ordered_ns.fetch(places)
    return Tail(*(at_position(ordered_ns, place) / NS_PER_MS for place in places))


def _waited(calls: pa.Table, due_ns: Floats, reached: Any, slots: int) -> Any:
    """Which calls fell due while their worker had as many in flight or waiting as it has slots."""
    # Of calls that fell due at one instant, those before it in the plan are before it in line.
    order = np.lexsort((column(calls, "seq"), due_ns))
    unsent = np.isin(np.array(calls["error"].to_pylist(), object), NOT_FOR_A_SEAT)
    end_ns = np.nan_to_num(column(calls, "end_ns"), nan=np.inf)
    worker = np.nan_to_num(column(calls, "worker"))
    waited = np.zeros(len(due_ns), np.bool_)
    for number in np.unique(worker):
        rows = order[((worker == number) & ~unsent & reached)[order]]
        under_way = np.arange(len(rows)) - np.searchsorted(np.sort(end_ns[rows]), due_ns[rows], side="right")
        waited[rows] = under_way >= slots
    return waited
