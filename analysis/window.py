"""The measured window: the stretch of a run in which its throughput is counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.metrics import NS_PER_S, measured

_INSTANTS = ["phase", "sent_ns", "last_token_ns", "end_ns"]


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_ns` to `end_ns` since the run's start; `includes_drain` when it lasts to the end of the last call."""

    start_ns: int
    end_ns: int
    includes_drain: bool = False

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / NS_PER_S

    def holds(self, t_ns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which instants lie in it, both ends included: a window often ends with the very event that counts."""
        return (t_ns >= self.start_ns) & (t_ns <= self.end_ns)


def window(run: Mapping[str, Any], requests: pa.Table) -> Window:
    """A run's measured window.

    With a duration it is what was planned, cut short where an interrupted run has nothing more. With a number of
    requests it lasts from the first measured call sent to the last; where fewer than half of them have ended by then
    (in a closed loop, fewer than two for each slot) it lasts to the end of the last. With no call sent it is empty.
    What was cut at the start (`run["cut"]`) is none of it, and the calls of that time are warm-up in `requests`.
    """
    load, calls = run["load"], measured(requests.select(_INSTANTS))
    first_sent_ns = pc.min(calls["sent_ns"]).as_py()
    if load["duration_s"] is not None:
        follows_requests = load["warmup_requests"] and first_sent_ns is not None
        cut_s = _cut_s(run)
        start_ns = first_sent_ns if follows_requests else round(((load["warmup_s"] or 0) + cut_s) * NS_PER_S)
        end_ns = start_ns + round((load["duration_s"] - cut_s) * NS_PER_S)
        if run["interrupted"]:
            end_ns = max(start_ns, min(end_ns, last_ns(requests)))
        return Window(start_ns, end_ns)
    if first_sent_ns is None:
        return Window(last_ns(requests), last_ns(requests))
    last_sent_ns = pc.max(calls["sent_ns"]).as_py()
    ended = pc.sum(pc.less_equal(calls["end_ns"], last_sent_ns)).as_py() or 0
    if 2 * ended < pc.count(calls["sent_ns"]).as_py():
        return Window(first_sent_ns, last_ns(calls), includes_drain=True)
    return Window(first_sent_ns, last_sent_ns)


def _cut_s(run: Mapping[str, Any]) -> float:
    seconds: float = (run.get("cut") or {"s": 0.0})["s"]
    return seconds


def last_ns(calls: pa.Table) -> int:
    """The last instant known of any of these calls, 0 without one."""
    return max(pc.max(calls[name]).as_py() or 0 for name in ("sent_ns", "last_token_ns", "end_ns"))


def phases(run: Mapping[str, Any], requests: pa.Table, span: Window) -> list[dict[str, Any]]:
    """Warm-up, measured and drain as {name, start_s, end_s}, those that there were."""
    warms_up = run["load"]["warmup_s"] or run["load"]["warmup_requests"] or _cut_s(run)
    spans = [
        ("warmup", 0 if warms_up else span.start_ns, span.start_ns),
        ("measured", span.start_ns, span.end_ns),
        ("drain", span.end_ns, last_ns(requests)),
    ]
    return [
        {"name": name, "start_s": start_ns / NS_PER_S, "end_s": end_ns / NS_PER_S}
        for name, start_ns, end_ns in spans
        if end_ns > start_ns
    ]
