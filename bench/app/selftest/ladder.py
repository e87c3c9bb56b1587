"""Which loads a selftest measures, when it stops, and what it has found by then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from bench.app.selftest.measure import LoadResult, SelftestLoad

Bound = Literal["error", "client", "server", "others"]

LIMIT_MS = 2.0
"""The error, at p99, below which a client is taken to be exact."""

STREAMS_AT_TOKENS_PER_S = (30, 50, 100)
# In a closed loop a client or server that is out of time brings less than it was asked for.
_REACHED = 0.85
_FULL = 0.9
# Others who had more of the client's cores than the kernel's ticks can err by may be why a load failed.
_OTHERS = 0.05
# Two loads nearer each other than this are not worth another between them.
_NEAR = 1.5
# Starting all streams takes up to a second; the processes to start and the answers to decode, as long again as that.
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
        """When a load that should take `seconds` is too slow."""
        return 2 * (self.seconds + _RAMP_S)

    @property
    def about_s(self) -> float:
        """How long a load takes with what is done before and after it."""
        return self.seconds + _RAMP_S + _AROUND_S

    def case(self, streams: int) -> SelftestLoad:
        """The load of so many streams."""
        rounds = max(1, round(self.seconds / self.answer_s))
        return SelftestLoad(self.name, streams, streams * rounds, self.tokens, self.ttft_ms, self.gap_ms)

    def asked_per_s(self, streams: int) -> float:
        """The rate of so many streams if nothing but the server's schedule took time."""
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
    """The highest load, of those measured, that kept the client exact; 0 where none did.

    `bounded_by` is why there is none higher: the client's `error`, the `client`'s full cores, the `server`, `others`
    who used the client's cores, or None where none was tried. After the last three it is at least this.
    """

    per_s: float
    bounded_by: Bound | None


def error_ms(result: LoadResult) -> float | None:
    """The client's error under a load: the larger p99 of the first tokens' and the gaps'; None where one is unknown."""
    p99s_ms = (result.first_token.p99_ms, result.gap.p99_ms)
    return None if None in p99s_ms else max(p99 for p99 in p99s_ms if p99 is not None)


def is_exact(result: LoadResult) -> bool:
    """Whether the client saw all there was, and kept its error below the limit."""
    worst_ms = error_ms(result)
    return worst_ms is not None and worst_ms < LIMIT_MS and not result.lost


def bound(ladder: Ladder, result: LoadResult) -> Bound | None:
    """What kept the load from being reached exactly, None when it was."""
    reached = ladder.per_s(result) >= _REACHED * ladder.asked_per_s(result.case.streams)
    if is_exact(result) and reached:
        return None
    if result.other_fraction > _OTHERS:
        return "others"
    if not is_exact(result):
        return "error"
    return "client" if result.core_fraction > _FULL else "server"


def next_streams(ladder: Ladder, results: Sequence[LoadResult]) -> int | None:
    """The load to measure next: up until one is not reached exactly, or down until one is; None when all is known."""
    if not results:
        return ladder.first_streams
    exact = [result.case.streams for result in results if is_exact(result)]
    bounds = {result.case.streams: bound(ladder, result) for result in results}
    failed = [streams for streams, reason in bounds.items() if reason is not None]
    if not exact:
        lower = min(failed) // ladder.factor
        # Among others a lower load would only say how busy they are.
        return lower if bounds[min(failed)] == "error" and lower >= ladder.least_streams else None
    if not failed:
        higher = max(exact) * ladder.factor
        return higher if higher <= ladder.most_streams else None
    low, high = max(exact), min(failed)
    if ladder.finds_between and bounds[high] == "error" and high > _NEAR * low:
        return round(math.sqrt(low * high))
    return None


def limit(ladder: Ladder, results: Sequence[LoadResult]) -> Limit:
    """What the loads of a ladder say together."""
    lowest, best = _lowest_failed(ladder, results), highest_exact(ladder, results)
    return Limit(0.0 if best is None else ladder.per_s(best), None if lowest is None else bound(ladder, lowest))


def highest_exact(ladder: Ladder, results: Sequence[LoadResult]) -> LoadResult | None:
    """The load of the highest rate that kept the client exact, none above one that was not reached; None without."""
    lowest = _lowest_failed(ladder, results)
    below = (each for each in results if lowest is None or each.case.streams <= lowest.case.streams)
    return max(filter(is_exact, below), key=ladder.per_s, default=None)


def _lowest_failed(ladder: Ladder, results: Sequence[LoadResult]) -> LoadResult | None:
    failed = (result for result in results if bound(ladder, result) is not None)
    return min(failed, key=lambda result: result.case.streams, default=None)


def streams_at(events_per_s: float) -> dict[int, int]:
    """How many streams of 30, 50 and 100 tokens/s a rate of token events is."""
    return {tokens_per_s: int(events_per_s / tokens_per_s) for tokens_per_s in STREAMS_AT_TOKENS_PER_S}
