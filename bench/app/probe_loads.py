"""What the runs of a capacity search offer: a rate of requests, whether they come singly or in sessions."""

import math
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from analysis.capacity.probing import Bound
from analysis.capacity.search import calls_needed, requests_for
from analysis.run.metrics import NS_PER_S, column
from bench.app.planning import plan_of_run
from bench.plan.resolve import resolve_load
from bench.runs import manifest
from bench.runs.table import read_requests
from bench.types import Load, Scenario

_LEAST_REQUESTS: Final = 100
# The plan of this many sessions tells what a rate of requests is made of.
_PLANNED_SESSIONS: Final = 1000
# Sessions overlap: the full rate of turns is reached once the first sessions have ended.
_RAMP_SESSIONS: Final = 1.5


class Shape(NamedTuple):
    """What a rate of requests is made of: mean turns per session, mean pause between them, and each class's share."""

    turns: float
    pause_s: float
    shares: Mapping[str | None, float]

    def session_s(self, service_s: float) -> float:
        """How long a session lasts on average."""
        return self.turns * service_s + (self.turns - 1) * self.pause_s

    def requests_for(self, bound: Bound, spent: int = 0) -> int:
        """The requests needed to be sure of a bound on a share, if only one class counts, after some are discarded."""
        calls = calls_needed([bound.share]) + spent
        return math.ceil(calls / self.shares.get(bound.klass, 1 / _PLANNED_SESSIONS))


class ProbeLoads(NamedTuple):
    """What a run at a rate of requests offers, and how long that takes, by how long an answer takes.

    `spent` is how many of each bound's first calls are not yet steady; empty for none.
    """

    scenario: Scenario
    shape: Shape
    bounds: tuple[Bound, ...]
    asked: int | None
    arrivals: str
    max_in_flight: int
    spent: tuple[int, ...] = ()

    def requests(self, rate_per_s: float, service_s: float) -> int:
        """How many requests it has."""
        spent = self.spent or (0,) * len(self.bounds)
        least = max(_LEAST_REQUESTS, *map(self.shape.requests_for, self.bounds, spent))
        return self.asked or requests_for(rate_per_s, least, self.shape.turns * service_s)

    def load(self, rate_per_s: float, service_s: float) -> Load:
        """Requests at the rate, or sessions that produce it."""
        requests, turns = self.requests(rate_per_s, service_s), self.shape.turns
        how: dict[str, Any] = {"rate": rate_per_s, "requests": requests}
        if turns > 1:
            how = {"rate": rate_per_s / turns, "duration": f"{requests / rate_per_s:.3f}s"}
            how["warmup"] = f"{self._ramp_s(service_s):.3f}s"
        return resolve_load(self.scenario, arrivals=self.arrivals, max_in_flight=self.max_in_flight, **how)

    def seconds(self, rate_per_s: float, service_s: float) -> float:
        """From its first request to its last answer."""
        offered_s = self.requests(rate_per_s, service_s) / rate_per_s
        return self._ramp_s(service_s) + offered_s + self.shape.session_s(service_s)

    def _ramp_s(self, service_s: float) -> float:
        return _RAMP_SESSIONS * self.shape.session_s(service_s) if self.shape.turns > 1 else 0.0


def shape_of(scenario: Scenario, closed_loop: Path) -> Shape:
    """The shape of a scenario's load, from the run that offered it in a closed loop."""
    if not scenario.has_sessions and not scenario.classes:
        return Shape(1.0, 0.0, {None: 1.0})
    return _shape_of(closed_loop)


@cache
def _shape_of(folder: Path) -> Shape:
    """The shape from the plan of a run without end."""
    source, counts = plan_of_run(folder, manifest.read(folder)).source, Counter[str | None]()
    for session in range(_PLANNED_SESSIONS):
        counts[source.call(session, 0).klass] += source.turns(session)
    calls = sum(counts.values())
    shares = {klass: count / calls for klass, count in counts.items()}
    pauses_s = column(read_requests(folder), "pause_ns") / NS_PER_S
    pause_s = float(np.nan_to_num(np.nanmean(pauses_s))) if np.isfinite(pauses_s).any() else 0.0
    return Shape(calls / _PLANNED_SESSIONS, pause_s, {**shares, None: 1.0})
