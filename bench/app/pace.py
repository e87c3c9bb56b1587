"""Estimate how long the remaining runs take, from those that this command has made."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class RunPace:
    """Measures runs as they are made; runs that were there already do not count.

    The estimate is a run's load times the ratio of run time to load time so far; if loads are of unknown duration, each
    counts as 1.
    """

    def __init__(self) -> None:
        self._took_s = self._loads_s = 0.0

    @contextmanager
    def one(self, load_s: float = 1.0) -> Iterator[None]:
        """Time a run; one that raises is not counted."""
        began_s = time.monotonic()
        yield
        self.took(time.monotonic() - began_s, load_s)

    def took(self, seconds: float, load_s: float = 1.0) -> None:
        """Count a run that took this long."""
        self._took_s += seconds
        self._loads_s += load_s

    def seconds(self, loads_s: float) -> float | None:
        """How long runs with these loads, added up, take; None before the first."""
        return loads_s * self._took_s / self._loads_s if self._loads_s else None
