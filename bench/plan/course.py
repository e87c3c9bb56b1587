"""How the rate of an open loop changes over its measured time: ramps, steps, spikes, the hours of a day or a week.

    1..10:5m                 a ramp: from 1 to 10 requests/s within five minutes
    2:1m,10:1m               a step
    2:1m,20:10s,2:1m         a spike

A course is fitted to the load before anything is planned, so that it ends where the measured part is expected to end.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from bench.types import Course, RateSegment


def requests_in(course: Course) -> float:
    """How many requests are expected over the whole of it."""
    return math.fsum(_requests(stretch) for stretch in course)


def seconds_of(course: Course) -> float:
    """How long it is."""
    return math.fsum(stretch.seconds for stretch in course)


def highest(course: Course) -> float:
    """Its highest rate."""
    return max(max(stretch.from_per_s, stretch.to_per_s) for stretch in course)


def is_even(course: Course) -> bool:
    """Whether it is one rate from start to end."""
    return len({rate for stretch in course for rate in (stretch.from_per_s, stretch.to_per_s)}) == 1


def of_weights(weights: Sequence[float], seconds: float, mean_per_s: float) -> Course:
    """Stretches of equal length, each as busy as its weight says, of this mean rate over all."""
    scale = mean_per_s * len(weights) / math.fsum(weights)
    rates = [weight * scale for weight in weights]
    edges = [seconds * i / len(weights) for i in range(len(weights) + 1)]
    return tuple(
        RateSegment(end - start, rate, rate) for (start, end), rate in zip(pairwise(edges), rates, strict=True)
    )


def lasting(course: Course, seconds: float) -> Course:
    """Cut it to this length, or let its last rate go on until then."""
    left, fitted = seconds, list[RateSegment]()
    for stretch in course:
        share = min(1.0, left / stretch.seconds)
        fitted.append(_first(stretch, share))
        left -= stretch.seconds
        if left <= 0:
            return tuple(fitted)
    return (*fitted, RateSegment(left, course[-1].to_per_s, course[-1].to_per_s))


def until(course: Course, requests: int) -> Course | None:
    """Cut it where so many are expected to have come, or let its last rate go on; None where they never come."""
    left, fitted = float(requests), list[RateSegment]()
    for stretch in course:
        if (own := _requests(stretch)) >= left:
            a, b, seconds = stretch.from_per_s, stretch.to_per_s, stretch.seconds
            reached = 2 * left / (a + math.sqrt(max(a * a + 2 * (b - a) * left / seconds, 0.0)))
            cut = _first(stretch, min(1.0, reached / seconds))
            # By chance fewer come than are expected, and the last then come at the last rate.
            return (*fitted, cut) if cut.to_per_s else None
        fitted.append(stretch)
        left -= own
    last = course[-1].to_per_s
    return (*fitted, RateSegment(left / last, last, last)) if last else None


def _first(stretch: RateSegment, share: float) -> RateSegment:
    """The first part of it."""
    if share == 1:
        return stretch
    step = (stretch.to_per_s - stretch.from_per_s) * share
    return RateSegment(stretch.seconds * share, stretch.from_per_s, stretch.from_per_s + step)


def _requests(stretch: RateSegment) -> float:
    return stretch.seconds * (stretch.from_per_s + stretch.to_per_s) / 2
