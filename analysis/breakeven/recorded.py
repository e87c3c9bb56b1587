"""What is recorded of a month's traffic: when requests came, which shared a prefix, and how busy its hours are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.money.numbers import Number, at_least_zero, exact
from analysis.stats.distributions import Floats, Ints
from bench.types import UserError


class Trace(NamedTuple):
    """Arrival times in seconds, in the file's order, and a number for each request's prefix where the file tells."""

    arrivals_s: Floats
    prefixes: Ints | None


def trace(arrivals_ns: Sequence[int], prefixes: Sequence[int | None]) -> Trace:
    """Of requests as a file tells them; where one has no prefix to name, nothing is known of any."""
    arrivals_s = np.array(arrivals_ns, np.float64) / 1e9
    known = [prefix for prefix in prefixes if prefix is not None]
    return Trace(arrivals_s, np.array(known, np.int64) if len(known) == len(arrivals_ns) else None)


def weights(text: str, flag: str = "--profile") -> list[Number]:
    """Numbers separated by blanks, commas or lines. UserError for what is none, and for negative ones."""
    found: list[Number] = []
    for word in text.replace(",", " ").split():
        try:
            found.append(exact(float(word)))
        except (ValueError, OverflowError):
            raise UserError(f"{flag}: expected numbers such as 3 or 0.5, got {word!r}") from None
        at_least_zero(f"{flag}: weight", found[-1])
    return found
