"""Which loads a selftest measures, when it stops, and what it has found by then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from bench.app.selftest.measure import LoadResult, SelftestLoad

Bound = Literal["error", "client", "server", "others"]

LIMIT_MS = 2.0
"""The error at p99 below which a client counts as exact."""

STREAMS_AT_TOKENS_PER_S = (30, 50, 100)
# In a closed loop a client or server that falls behind completes less than was offered.
_REACHED = 0.85
_FULL = 0.9
# If other processes used more of the client's cores than the kernel's ticks can misattribute, they may be the cause.
_OTHERS = 0.05
# Two loads closer than this are not worth another between them.
_NEAR = 1.5
# Starting all streams takes up to a second; starting the processes and decoding the answers takes as long again.
_RAMP_S = 1.0
_AROUND_S = 2.0


@dataclass(frozen=True, slots=True)
class Ladder:
    """Loads of one kind, each `factor` times the one before; `finds_between` adds one between the last two."""

    name: Literal["events", "requests"]
    unit: str
    tokens: int
    ttft_ms: float
    gap_ms: float
    first_streams: int
    most_streams: int
    seconds: float
    least_streams: int = 1
    factor: int = 2
    finds_between: bool = True

    @property
    def answer_s(self) -> float:
        """How long the server takes for one answer."""
        return (self.ttft_ms + (self.tokens - 1) * self.gap_ms) / 1000

    @property
    def limit_s(self) -> float:
        """When a load that should take `seconds` counts as too slow."""
        return 2 * (self.seconds + _RAMP_S)

    @property
    def about_s(self) -> float:
        """How long a load takes, including what is done before and after it."""
        return self.seconds + _RAMP_S + _AROUND_S

    def case(self, streams: int) -> SelftestLoad:
        """The load of so many streams."""
        rounds = max(1, round(self.seconds / self.answer_s))
        return SelftestLoad(self.name, streams, streams * rounds, self.tokens, self.ttft_ms, self.gap_ms)

    def asked_per_s(self, streams: int) -> float:
        """The rate of so many streams if the server's schedule were the only limit."""
        return streams / self.answer_s * (self.tokens if self.name == "events" else 1)

    def per_s(self, result: LoadResult) -> float:
        """The rate that was reached."""
        return result.events_per_s if self.name == "events" else result.requests_per_s


EVENTS = Ladder("events", "token events/s", 80, 50, 10, first_streams=200, most_streams=12_800, seconds=3)
REQUESTS = Ladder("requests", "requests/s", 4, 5, 5, first_streams=32, most_streams=12_800, seconds=2)


def quick(ladder: Ladder) -> Ladder:
    """The same with fewer and shorter loads."""
    return replace(ladder, factor=4, seconds=ladder.seconds / 2, finds_between=False)


class Limit(NamedTuple):
    """The highest measured load that the client saw exactly; 0 for none.

    `bounded_by` is what prevents a higher one: the client's `error`, the `client`'s full cores, the `server`, `others`
    who used the client's cores, or None if none was tried. For the last three the true limit is at least this.
    """

    per_s: float
    bounded_by: Bound | None


def error_ms(result: LoadResult) -> float | None:
    """The client's error under a load: the larger of the p99 of first tokens and of gaps; None if one is unknown."""
    p99s_ms = (result.first_token.p99_ms, result.gap.p99_ms)
    return None if None in p99s_ms else max(p99 for p99 in p99s_ms if p99 is not None)


def is_exact(result: LoadResult) -> bool:
    """Whether the client saw every event, and kept its error below the limit."""
    worst_ms = error_ms(result)
    return worst_ms is not None and worst_ms < LIMIT_MS and not result.lost


def bound(ladder: Ladder, result: LoadResult) -> Bound | None:
    """What kept the load from being reached exactly, None if it was."""
    reached = ladder.per_s(result) >= _REACHED * ladder.asked_per_s(result.case.streams)
    if is_exact(result) and reached:
        return None
    if result.other_fraction > _OTHERS:
        return "others"
    if not is_exact(result):
        return "error"
    return "client" if result.core_fraction > _FULL else "server"


def next_streams(ladder: Ladder, results: Sequence[LoadResult]) -> int | None:
    """The load to measure next: up until one is not exact, or down until one is; None when the limit is known."""
    if not results:
        return ladder.first_streams
    exact = [result.case.streams for result in results if is_exact(result)]
    bounds = {result.case.streams: bound(ladder, result) for result in results}
    failed = [streams for streams, reason in bounds.items() if reason is not None]
    if not exact:
        lower = min(failed) // ladder.factor
        # While others are busy, a lower load would only measure them.
        return lower if bounds[min(failed)] == "error" and lower >= ladder.least_streams else None
    if not failed:
        higher = max(exact) * ladder.factor
        return higher if higher <= ladder.most_streams else None
    low, high = max(exact), min(failed)
    if ladder.finds_between and bounds[high] == "error" and high > _NEAR * low:
        return round(math.sqrt(low * high))
    return None


def limit(ladder: Ladder, results: Sequence[LoadResult]) -> Limit:
    """What the loads of a ladder show together."""
    lowest, best = _lowest_failed(ladder, results), highest_exact(ladder, results)
    return Limit(0.0 if best is None else ladder.per_s(best), None if lowest is None else bound(ladder, lowest))


def highest_exact(ladder: Ladder, results: Sequence[LoadResult]) -> LoadResult | None:
    """The load of the highest rate that the client saw exactly, below any that it did not; None without one."""
    lowest = _lowest_failed(ladder, results)
    below = (each for each in results if lowest is None or each.case.streams <= lowest.case.streams)
    return max(filter(is_exact, below), key=ladder.per_s, default=None)


def _lowest_failed(ladder: Ladder, results: Sequence[LoadResult]) -> LoadResult | None:
    failed = (result for result in results if bound(ladder, result) is not None)
    return min(failed, key=lambda result: result.case.streams, default=None)


def streams_at(events_per_s: float) -> dict[int, int]:
    """How many streams of 30, 50 and 100 tokens/s add up to a rate of token events."""
    return {tokens_per_s: int(events_per_s / tokens_per_s) for tokens_per_s in STREAMS_AT_TOKENS_PER_S}
