"""How exact the client is by its stamps while it has more to do than it can: the table of docs/exactness.md.

    PYTHONPATH=. python tests/speed/overload.py [STREAMS ...]

Every load is offered in turns: stamps of reads, packets, packets with late reading; client and ring on one core. With
STREAMS only those are, without the client that is stopped.
"""

import sys

from bench.app.options import Stamps
from bench.app.selftest.measure import LoadResult, SelftestLoad, choose_cores, measure
from tests.speed.freezes import frozen

STREAMS = {64: 20.0, 600: 10.0, 1000: 10.0, 3000: 20.0}
WAYS: dict[str, tuple[Stamps, bool]] = {
    "kernel, of reads": ("kernel", False),
    "packets": ("packets", False),
    "packets, late reading": ("packets", True),
}
STOPS = (("15 ms four times a second", 4.0, 0.015), ("300 ms each second", 1.0, 0.3))
HEAD = (
    "| load | stamps | events/s | first token p50 / p99, ms | gap p50 / p99, ms | core | CPU-s per million events | "
    "unstamped | server late p99, ms |\n" + "|---" * 9 + "|"
)


def main(chosen: tuple[int, ...] = ()) -> None:
    """Measure and print."""
    print(HEAD, flush=True)
    for streams in chosen or STREAMS:
        gap_ms = STREAMS.get(streams, 10.0)
        case = SelftestLoad(f"{streams:,} × {1000 / gap_ms:g}/s", streams, 2 * streams, 128, 200, gap_ms)
        for name, (stamps, late) in WAYS.items():
            print(_row(case.name, name, measure(case, choose_cores(1), stamps=stamps, late_reads=late)), flush=True)
    for what, times_per_s, freeze_s in () if chosen else STOPS:
        still = SelftestLoad(f"64 × 50/s, stopped {what}", 64, 320, 128, 200, 20)
        for name, (stamps, late) in WAYS.items():
            with frozen(times_per_s, freeze_s):
                result = measure(still, choose_cores(1), stamps=stamps, late_reads=late)
            print(_row(still.name, name, result), flush=True)


def _row(load: str, stamps: str, r: LoadResult) -> str:
    first, gap = (
        "-" if e.p50_ms is None or e.p99_ms is None else f"{e.p50_ms:.3f} / {e.p99_ms:.3f}"
        for e in (r.first_token, r.gap)
    )
    return (
        f"| {load} | {stamps} | {r.events_per_s:,.0f} | {first} | {gap} | {r.cpu_fraction:.0%} "
        f"| {r.cpu_s_per_million(decoded=False):.1f} | {r.unstamped} | {r.server_late_p99_ms:.2f} |"
    )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])))
