"""How requests spread over the hours: from a peak, from a profile of the week, or from recorded arrivals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.money.numbers import HOURS_PER_MONTH, SECONDS_PER_HOUR, Number, at_least_zero, exact
from analysis.stats.distributions import Floats, Ints
from bench.types import UserError

HOURS_PER_DAY: Final = 24
HOURS_PER_WEEK: Final = 168


class Level(NamedTuple):
    """A share of the month's hours in which traffic is `load` times its mean."""

    load: Fraction
    hours_share: Fraction


@dataclass(frozen=True, slots=True)
class Traffic:
    """How requests spread over the hours, as levels from the lowest load to the highest; their mean load is 1.

    `by_hour` is False where only the peak is known: everything then comes at the peak or not at all, which is the
    shape that one number describes, but not one to scale replicas by.
    """

    levels: tuple[Level, ...]
    by_hour: bool

    @property
    def peak(self) -> Fraction:
        """Peak over mean."""
        return self.levels[-1].load


def steady(peak_to_mean: Number = 1) -> Traffic:
    """Traffic of which only the ratio of its busiest hour to its mean is known."""
    if not math.isfinite(peak_to_mean) or peak_to_mean < 1:
        raise UserError(f"--peak-to-mean {peak_to_mean}: expected 1 or more, the busiest hour over the mean hour")
    # All of the traffic at p times its mean fills 1/p of the hours.
    peak = exact(peak_to_mean)
    quiet = (Level(Fraction(0), 1 - 1 / peak),) if peak > 1 else ()
    return Traffic((*quiet, Level(peak, 1 / peak)), by_hour=False)


STEADY: Final = steady()


def weekly(weights: Sequence[Number]) -> Traffic:
    """Traffic that repeats every week or day: a weight for each hour, in any unit."""
    return Traffic(_levels([exact(weight) for weight in checked(weights)]), by_hour=True)


def checked(weights: Sequence[Number], flag: str = "--traffic-profile") -> Sequence[Number]:
    """Give the weights of hours back. Raises UserError for those of neither a day nor a week, or without traffic."""
    if len(weights) not in (HOURS_PER_DAY, HOURS_PER_WEEK):
        raise UserError(
            f"{flag} has {len(weights)} weights: expected {HOURS_PER_WEEK}, one for each hour of a week, "
            f"or {HOURS_PER_DAY} of a day"
        )
    for weight in weights:
        at_least_zero(f"{flag}: weight", weight)
    if not any(weights):
        raise UserError(f"{flag} has no traffic: expected at least one weight above 0")
    return weights


def observed(arrivals_s: npt.ArrayLike) -> tuple[int, Traffic]:
    """Requests per month and their hours, from recorded arrival times in seconds; an unfinished last hour is left out.

    The trace stands for the month: one that holds less than a week knows nothing of the days it lacks.
    """
    t_s = np.asarray(arrivals_s, np.float64)
    hours = int(np.ptp(t_s) // SECONDS_PER_HOUR) if len(t_s) else 0
    if hours < 1:
        raise UserError("--traffic holds less than an hour: expected arrival times in seconds over an hour or more")
    hour = ((t_s - t_s.min()) // SECONDS_PER_HOUR).astype(np.int64)
    counts = np.bincount(hour[hour < hours], minlength=hours).tolist()
    return round(Fraction(sum(counts) * HOURS_PER_MONTH, hours)), Traffic(_levels(counts), by_hour=True)


def _levels(weights: Sequence[Fraction | int]) -> tuple[Level, ...]:
    mean, hours = Fraction(sum(weights), len(weights)), len(weights)
    return tuple(Level(weight / mean, Fraction(weights.count(weight), hours)) for weight in sorted(set(weights)))


# --- as files have it -------------------------------------------------------------------------------------------


class Trace(NamedTuple):
    """Arrival times in seconds, in the file's order, and a number for each request's prefix where the file tells."""

    arrivals_s: Floats
    prefixes: Ints | None


def trace(arrivals_ns: Sequence[int], prefixes: Sequence[int | None]) -> Trace:
    """A trace from a file's requests; where one names no prefix, none is known."""
    arrivals_s = np.array(arrivals_ns, np.float64) / 1e9
    known = [prefix for prefix in prefixes if prefix is not None]
    return Trace(arrivals_s, np.array(known, np.int64) if len(known) == len(arrivals_ns) else None)


def weights(text: str, flag: str = "--traffic-profile") -> list[Number]:
    """Numbers separated by blanks, commas or lines. UserError for what is none, and for negative ones."""
    found: list[Number] = []
    for word in text.replace(",", " ").split():
        try:
            found.append(exact(float(word)))
        except (ValueError, OverflowError):
            raise UserError(f"{flag}: expected numbers such as 3 or 0.5, got {word!r}") from None
        at_least_zero(f"{flag}: weight", found[-1])
    return found
