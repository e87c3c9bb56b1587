"""The load an open loop offered, beside the load it planned."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import NS_PER_S, column, keep, measured
from analysis.run.sections import OfferedLoad
from analysis.stats.distributions import Floats, index_of_dispersion
from bench.runs.manifest import RunManifest
from bench.types import Load


def offered(run: RunManifest, requests: pa.Table) -> OfferedLoad:
    """Rates and burstiness of the measured calls as wanted, planned and achieved; all None for a closed loop.

    Of sessions those of their first turns: the others come when they can.

    A rate is taken from the first to the last call: of the plan by what was due, of the load by what was sent, over
    the plan's time too where that was longer. The index of dispersion is 0 for constant arrivals, 1 for Poisson; where
    the rate changes on purpose it is of what remains without that.
    """
    load = run.load
    calls = measured(requests.select(["phase", "due_ns", "sent_ns", "turn"]))
    calls = keep(calls, pc.equal(pc.fill_null(calls["turn"], 0), 0))
    due_ns, sent_ns = (ns[~np.isnan(ns)] for ns in (column(calls, "due_ns"), column(calls, "sent_ns")))
    if not load.is_open:
        due_ns, sent_ns = np.empty(0), np.empty(0)
    due_s = _spans_s(due_ns)
    return OfferedLoad(
        wanted_rps=load.rate_per_s,
        planned_rps=_rate_per_s(due_ns, due_s),
        achieved_rps=_rate_per_s(sent_ns, max(due_s, _spans_s(sent_ns))),
        planned_index_of_dispersion=index_of_dispersion(_expected(load, due_ns)),
        index_of_dispersion=index_of_dispersion(_expected(load, sent_ns)),
    )


def _expected(load: Load, t_ns: Floats) -> Floats:
    """How many calls the course has come to at each instant: a clock by which they come as evenly as their process."""
    if not load.course:
        return t_ns
    course = np.array([(part.seconds, part.from_per_s, part.to_per_s) for part in load.course])
    seconds, low, high = course.T
    # By number of requests the course begins as its warm-up is expected to end, of which only the rate is known.
    warmup_s = load.warmup_s or (load.warmup_requests or 0) / (low[0] or 1.0)
    t_s = t_ns / NS_PER_S - warmup_s
    start_s = np.concatenate([[0.0], np.cumsum(seconds)])
    before = np.concatenate([[0.0], np.cumsum(seconds * (low + high) / 2)])
    at = np.clip(np.searchsorted(start_s, t_s, side="right") - 1, 0, len(course) - 1)
    own_s = np.minimum(t_s - start_s[at], seconds[at])
    beyond = np.maximum(t_s - start_s[-1], 0.0) * high[-1]
    return np.asarray(
        before[at] + low[at] * own_s + (high[at] - low[at]) * own_s**2 / (2 * seconds[at]) + beyond, np.float64
    )


def _spans_s(t_ns: Floats) -> float:
    return float(np.ptp(t_ns) / NS_PER_S) if len(t_ns) else 0.0


def _rate_per_s(t_ns: Floats, seconds: float) -> float | None:
    # The first call begins the time that the others fill.
    return max(len(t_ns) - 1, 0) / seconds if seconds else None
