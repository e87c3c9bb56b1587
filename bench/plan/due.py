"""When the sessions of a plan are due, in which phase, and which numbers their calls have, before any is sent."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from bench.plan import arrivals as schedule
from bench.plan.source import Source
from bench.types import Load, Phase, RateSegment


def due_ns_of(source: Source, load: Load) -> NDArray[np.int64] | None:
    """When sessions are due, at least as many as the load has."""
    if source.due_ns is not None:
        return source.due_ns
    if not load.is_open:
        return None
    pace = _pace(load)
    if load.requests is not None or load.sessions is not None:
        return schedule.due_ns(load.arrivals, source.seed, pace, sessions_at_most(load))
    end_s = (load.warmup_s or 0.0) + (load.duration_s or 0.0)
    return schedule.due_ns_before(load.arrivals, source.seed, pace, end_s)


def _pace(load: Load) -> schedule.Pace:
    """The rate, or its course with the warm-up before it, at the first rate; what is due at once has none."""
    if not load.course:
        return load.rate_per_s or math.inf
    first_per_s = load.course[0].from_per_s
    warmup_s = load.warmup_s or (load.warmup_requests or load.warmup_sessions or 0) / (first_per_s or 1.0)
    return (RateSegment(warmup_s, first_per_s, first_per_s), *load.course) if warmup_s else load.course


def sessions_at_most(load: Load) -> int:
    """As many sessions as a load without a duration may begin: no more than it has requests."""
    return counted_calls(load) if load.sessions is None else load.sessions + (load.warmup_sessions or 0)


def counted_calls(load: Load) -> int:
    """The requests of a load that counts them, warm-up included."""
    return (load.requests or 0) + (load.warmup_requests or 0)


def phase_of(load: Load, session: int, seq: int, due_ns: int | None) -> Phase | None:
    """By number, or by time in a load with a duration; there a call that is due when another ends has none before."""
    if load.requests is not None:
        return "warmup" if seq < (load.warmup_requests or 0) else "measured"
    if load.sessions is not None:
        return "warmup" if session < (load.warmup_sessions or 0) else "measured"
    if due_ns is None:
        return None
    return "warmup" if due_ns < (load.warmup_s or 0.0) * 1e9 else "measured"


def first_numbers(source: Source, sessions: Iterable[int], calls_max: int | None) -> NDArray[np.int64]:
    """The first numbers of these sessions and the number after the last, of which there are no more than so many."""
    firsts = [0]
    for session in sessions:
        firsts.append(firsts[-1] + source.turns(session))
        if calls_max is not None and firsts[-1] >= calls_max:
            firsts[-1] = calls_max
            break
    return np.array(firsts, np.int64)
