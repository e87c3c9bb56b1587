"""How long what is left of several runs may take, by those that this command has made itself."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.durations import expected


class RunPace:
    """Takes the time of runs as they are made; those that were there already say nothing."""

    def __init__(self) -> None:
        self._took_s: list[float] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take the time of a run; of one that raises none is taken."""
        began_s = time.monotonic()
        yield
        self._took_s.append(time.monotonic() - began_s)

    def left(self, runs: int) -> str:
        """`, about 4 min`, for so many more; nothing where none was made yet, or none is left."""
        if not self._took_s or not runs:
            return ""
        return f", about {expected(runs * sum(self._took_s) / len(self._took_s))}"
