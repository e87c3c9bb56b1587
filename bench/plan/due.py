"""When the sessions of a plan are due, before any is sent."""

import math

import numpy as np
from numpy.typing import NDArray

from bench.plan import arrivals as schedule
from bench.plan.source import Source
from bench.types import Load, Stretch


def due_ns_of(source: Source, load: Load) -> NDArray[np.int64] | None:
    """When sessions are due, at least as many as the load has."""
    if source.due_ns is not None:
        return source.due_ns
    if not load.is_open:
        return None
    pace = _pace(load)
    count = counted_calls(load) if load.requests is not None else load.sessions
    if count is not None:
        return schedule.due_ns(load.arrivals, source.seed, pace, count + (load.warmup_sessions or 0))
    end_s = (load.warmup_s or 0.0) + (load.duration_s or 0.0)
    return schedule.due_ns_before(load.arrivals, source.seed, pace, end_s)


def _pace(load: Load) -> schedule.Pace:
    """The rate, or its course with the warm-up before it, at the first rate; what is due at once has none."""
    if not load.course:
        return load.rate_per_s or math.inf
    first_per_s = load.course[0].from_per_s
    warmup_s = load.warmup_s or (load.warmup_requests or load.warmup_sessions or 0) / (first_per_s or 1.0)
    return (Stretch(warmup_s, first_per_s, first_per_s), *load.course) if warmup_s else load.course


def counted_calls(load: Load) -> int:
    return (load.requests or 0) + (load.warmup_requests or 0)
