"""Machines that are made up: what a selftest would measure on them."""

from dataclasses import dataclass

from bench.app.selftest.ladder import Ladder
from bench.app.selftest.measure import LoadResult
from bench.truth.server import StampErrors


@dataclass(frozen=True)
class Machine:
    """The client is exact up to so many streams; it and the server can do so many of the ladder's units a second."""

    exact_up_to: float = float("inf")
    client_up_to: float = float("inf")
    server_up_to: float = float("inf")
    others: float = 0.0

    def measure(self, ladder: Ladder, streams: int) -> LoadResult:
        asked = 0.97 * ladder.asked_per_s(streams)
        reached = min(asked, self.client_up_to, self.server_up_to)
        p99_ms = 0.01 if streams <= self.exact_up_to else 5.0
        busy = 1.0 if reached == self.client_up_to else 0.3
        return result(ladder, streams, reached, p99_ms, busy, self.others)


def result(
    ladder: Ladder,
    streams: int,
    per_s: float | None = None,
    p99_ms: float = 0.01,
    busy: float = 0.3,
    others: float = 0.0,
) -> LoadResult:
    """One load, exact and as asked unless told otherwise."""
    per_s = ladder.asked_per_s(streams) if per_s is None else per_s
    events_per_s = per_s if ladder.name == "events" else per_s * ladder.tokens
    return LoadResult(
        case=ladder.case(streams),
        events_per_s=events_per_s,
        requests_per_s=events_per_s / ladder.tokens,
        first_token=StampErrors(1_000, 0.002, 0.008, 0.02),
        gap=StampErrors(100_000, 0.001, p99_ms, 9.0),
        cpu_fraction=busy,
        core_fraction=min(1.0, busy + others),
        other_fraction=others,
        events=300_000,
        lost=0,
        lag_p99_ms=0.5,
        lag_max_ms=4.0,
        sent_late_p99_ms=0.1,
        server_late_p99_ms=0.1,
        cpu_s=2.0,
        decode_cpu_s=1.0,
        peak_rss_mb=100.0,
    )
