"""How long what is left of several runs takes, by those that this command has made itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class RunPace:
    """Takes the time of runs as they are made; those that were there already say nothing.

    A run takes as long as its load, times how much longer than theirs the runs took that were made; where nobody knows
    how long loads last, all count 1.
    """

    def __init__(self) -> None:
        self._took_s = self._loads_s = 0.0

    @contextmanager
    def one(self, load_s: float = 1.0) -> Iterator[None]:
        """Take the time of a run; of one that raises none is taken."""
        began_s = time.monotonic()
        yield
        self.took(time.monotonic() - began_s, load_s)

    def took(self, seconds: float, load_s: float = 1.0) -> None:
        """Take in how long a run took."""
        self._took_s += seconds
        self._loads_s += load_s

    def seconds(self, loads_s: float) -> float | None:
        """How long runs with such loads, added up, take; None where none was made yet."""
        return loads_s * self._took_s / self._loads_s if self._loads_s else None
