"""The measured window: the stretch of a run in which the load was whole, so that what was served in it is a rate."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import NS_PER_S, column, is_text, keep, measured
from analysis.run.sections import PhaseSpan
from bench.runs.manifest import RunManifest

_INSTANTS = ["phase", "sent_ns", "last_token_ns", "end_ns"]
# A closed loop is full once so many of its first answers have ended: by then its slots are no longer in step with the
# start. The last of them may take many times as long, and would leave nothing of a short run.
FIRST_ENDED: Final = 0.9
FEW_SLOTS: Final = 10
LONGER: Final = "raise --requests or --duration"


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_ns` to `end_ns` since the run's start; `why` says why no rate can be told of it, None where one can.

    It is then the planned window, over which client and hardware were still watched.
    """

    start_ns: int
    end_ns: int
    why: str | None = None

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / NS_PER_S

    def holds(self, t_ns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which instants lie in it, both ends included."""
        return (t_ns >= self.start_ns) & (t_ns <= self.end_ns)


def window(run: RunManifest, requests: pa.Table) -> Window:
    """A run's measured window: of what was planned, the part with the whole load.

    A closed loop's begins when nine tenths of the calls that came first have ended (all, with fewer than ten slots).
    An interrupted run's ends when the first call was sent that never ended.
    """
    span = planned(run, requests)
    start_ns, end_ns = span.start_ns, span.end_ns
    sent_ns, ended_ns = _in_order_of_sending(requests)
    open_ns = sent_ns[np.isinf(ended_ns)]
    # From there on a slot was taken up by a call of which nothing more is known, and the load was no longer whole.
    if run.interrupted and len(open_ns):
        end_ns = min(end_ns, int(open_ns[0]))
    slots = run.load.concurrency
    full_ns = _full_ns(ended_ns[:slots]) if slots else None
    if full_ns is not None:
        start_ns = int(max(start_ns, min(full_ns, end_ns)))
    if not span.seconds or start_ns < end_ns:
        return Window(start_ns, end_ns)
    if full_ns is None:
        return Window(span.start_ns, span.end_ns, "interrupted while its first requests were under way: run again")
    return Window(span.start_ns, span.end_ns, f"the load ended before its first {slots} answers had: {LONGER}")


def _in_order_of_sending(requests: pa.Table) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """When each call was sent and when it ended, infinity for one that never did."""
    sent = keep(requests.select(["sent_ns", "end_ns", "error"]), pc.is_valid(requests["sent_ns"]))
    never = np.asarray(pc.fill_null(is_text(sent["error"], "unfinished"), False))
    sent_ns, ended_ns = column(sent, "sent_ns"), column(sent, "end_ns")
    order = np.argsort(sent_ns, kind="stable")
    return sent_ns[order], np.where(never | np.isnan(ended_ns), np.inf, ended_ns)[order]


def _full_ns(first_ended_ns: npt.NDArray[np.float64]) -> float | None:
    if not len(first_ended_ns):
        return None
    count = len(first_ended_ns)
    return float(np.sort(first_ended_ns)[count - 1 if count < FEW_SLOTS else math.ceil(FIRST_ENDED * count) - 1])


def planned(run: RunManifest, requests: pa.Table) -> Window:
    """The window that was planned, whether or not the load was whole in it.

    With a duration it is that time, cut short where an interrupted run has nothing more. With a number of requests it
    lasts from the first measured call sent to the last, or to the end of the last where all were due at once: how long
    it took is what such a load is for. With no call sent it is empty. What was cut at the start
    (`run.cut`) is none of it, and the calls of that time are warm-up in `requests`.
    """
    load, calls = run.load, measured(requests.select(_INSTANTS))
    first_sent_ns = pc.min(calls["sent_ns"]).as_py()
    if load.duration_s is not None:
        follows_requests = load.warmup_requests and first_sent_ns is not None
        cut_s = _cut_s(run)
        start_ns = first_sent_ns if follows_requests else round(((load.warmup_s or 0) + cut_s) * NS_PER_S)
        end_ns = start_ns + round((load.duration_s - cut_s) * NS_PER_S)
        if run.interrupted:
            end_ns = max(start_ns, min(end_ns, last_ns(requests)))
        return Window(start_ns, end_ns)
    if first_sent_ns is None:
        return Window(last_ns(requests), last_ns(requests))
    if load.is_at_once:
        return Window(first_sent_ns, last_ns(calls))
    return Window(first_sent_ns, pc.max(calls["sent_ns"]).as_py())


def _cut_s(run: RunManifest) -> float:
    return run.cut.s if run.cut else 0.0


def last_ns(calls: pa.Table) -> int:
    """The last instant known of any of these calls, 0 without one."""
    return max(pc.max(calls[name]).as_py() or 0 for name in ("sent_ns", "last_token_ns", "end_ns"))


def phases(run: RunManifest, requests: pa.Table, span: Window) -> tuple[PhaseSpan, ...]:
    warms_up = run.load.warmup_s or run.load.warmup_requests or _cut_s(run)
    spans = [
        ("warmup", 0 if warms_up else span.start_ns, span.start_ns),
        ("measured", span.start_ns, span.end_ns),
        ("drain", span.end_ns, last_ns(requests)),
    ]
    return tuple(
        PhaseSpan(name, start_ns / NS_PER_S, end_ns / NS_PER_S) for name, start_ns, end_ns in spans if end_ns > start_ns
    )
