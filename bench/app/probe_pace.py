"""How long the runs of a search for the capacity take, and what is left of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from analysis.capacity.outlook import rates_left
from analysis.capacity.search import Limits, Probe, service_seen_s
from analysis.wording import count
from bench.durations import expected


class ProbePace:
    """How long runs at rates take: as their load, times how much longer than theirs those of this command took."""

    def __init__(self, load_s: Callable[[float, float], float]) -> None:
        self._load_s = load_s  # by (requests/s, seconds of an answer)
        self._took_s, self._loads_s = 0.0, 0.0

    @contextmanager
    def one(self, rate_per_s: float, service_s: float) -> Iterator[None]:
        """Take the time of a run."""
        began_s = time.monotonic()
        yield
        self._took_s += time.monotonic() - began_s
        self._loads_s += self._load_s(rate_per_s, service_s)

    def seconds(self, rates: Sequence[float], service_s: float) -> float:
        """How long runs at these rates take."""
        longer = self._took_s / self._loads_s if self._loads_s else 1.0
        return longer * sum(self._load_s(rate, service_s) for rate in rates)

    def left(self, probes: Sequence[Probe], limits: Limits) -> str:
        """How many runs are left, and how long they take, in words."""
        rates = list(rates_left(probes, limits))
        seconds = self.seconds(rates, service_seen_s(probes, limits.service_s))
        return f"about {count(len(rates), 'run')} left, {expected(seconds)}" if rates else "no run is left"
