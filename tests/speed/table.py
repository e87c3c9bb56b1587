"""`make bench`: every figure of docs/performance.md, measured here and written there."""

import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.app.machine import hardware
from bench.app.selftest.measure import LoadResult, SelftestLoad, choose_cores, measure
from bench.truth import server as truth
from tests.speed import overload, peers, pipeline
from tests.speed.freezes import frozen

DOCUMENT = Path("docs/performance.md")
TRIES = 3
CORES = choose_cores(workers=1)
# With more lateness of its own at p99 the server is no judge: another guest had its core.
SERVER_LATE_MS = 0.3

LONG = SelftestLoad("600 streams at 100 tokens/s", 600, 1200, 400, 200, 10)
MANY = replace(LONG, name="1,000 streams at 100 tokens/s", streams=1000, requests=2000)
STOPPED = SelftestLoad("64 streams at 50 tokens/s, client frozen 15 ms four times a second", 64, 320, 100, 200, 20)
SHORT = SelftestLoad("4 tokens, first after 5 ms, 256 in flight", 256, 60_000, 4, 5, 5)
FEW = replace(LONG, name="400 streams, two rounds", streams=400, requests=800)
FEW_LONG = replace(FEW, name="400 streams, six rounds", requests=2400)
MEDIUM = replace(LONG, name="380 streams at 100 tokens/s", streams=380, requests=760)
MOST = replace(LONG, name="1,150 streams at 100 tokens/s", streams=1150, requests=2300)
PEER = SelftestLoad("64 streams at 50 tokens/s", 64, 320, 64, 200, 20)


# Measured before this release on the same kind of machine: one core for the client with all its processes, a server of
# the same kind on the other, medians of up to three interleaved runs; None where the client did not reach the load.
PEERS = ("Locust FastHttp by hand", "vLLM bench 0.32", "inference-perf", "AIPerf 0.13", "GuideLLM 0.8.1")
PEERS_P99_MS: dict[SelftestLoad, tuple[str | None, ...]] = {
    MEDIUM: ("54 / 3.4", "38 / 6.2", "75 / 16", "1,120 / 143", "413 / -"),
    LONG: ("295 / 17", "196 / 28", "669 / 96", "1,502 / 284", "1,227 / -"),
    MOST: ("1,670 / 46", "917 / 105", "2,504 / 393", None, None),
}
PEERS_REQUESTS_PER_S = ("5,696", "3,201", "1,344", "732", "216")
PEERS_CPU_S_PER_MILLION = ("22", "28", "29", "46", "51")
PEERS_PEAK_MB = (None, "651", "621", "907", "1,856")
PEERS_FIRST_REQUEST_S = ("0.3", "6.5", "2.9", "5.4", "11.3")


def main() -> None:
    """Measure everything and write the document's generated part."""
    sections = [exactness(), economy(), whole_program(), beside_the_peers(), peer_at_hand()]
    generated = "\n\n".join([machine(), *sections])
    before, begin, rest = DOCUMENT.read_text().partition("<!-- measured -->\n")
    _, end, after = rest.partition("<!-- /measured -->")
    assert begin and end, f"{DOCUMENT} has lost its marks"
    DOCUMENT.write_text(f"{before}{begin}{generated}\n\n{end}{after}")
    print(generated)
    overload.main()
    peers.main()


def judged(case: SelftestLoad) -> LoadResult:
    """Measure until the server was a fit judge, at most three times, and keep the run with the fittest."""
    best = _measure(case)
    for _ in range(TRIES - 1):
        if best.server_late_p99_ms < SERVER_LATE_MS:
            break
        best = min(best, _measure(case), key=lambda result: result.server_late_p99_ms)
    print(case.name, best, file=sys.stderr, flush=True)
    return best


def _measure(case: SelftestLoad) -> LoadResult:
    with frozen(times_per_s=4) if case is STOPPED else nullcontext():
        return measure(case, CORES, stamps="auto")


def machine() -> str:
    """What this was measured on."""
    facts = hardware()
    return (
        f"Measured {time.strftime('%Y-%m-%d')} on {facts.cpu}, {facts.cores} cores shared with other guests, "
        f"Linux {'.'.join(platform.release().split('.')[:2])}; client and server pinned to a core each;\n"
        f"timestamps: {results[LONG].stamps}."
    )


def exactness() -> str:
    """The client against the server's log."""
    head = (
        "| load | events/s | lost | first token p50 / p99 | gap p50 / p99 | aim p99 | lag p99 / max | server late p99 |"
    )
    aims = {LONG: "0.5 / 0.05", MANY: "2 / 2", STOPPED: "- / 0.05", SHORT: "3 / 3"}
    rows = []
    for case, aim in aims.items():
        r = results[case] = judged(case)
        rows.append(
            f"| {case.name} | {r.events_per_s:,.0f} | {r.lost} | {_errors(r.first_token)} | {_errors(r.gap)} | {aim} "
            f"| {r.lag_p99_ms:.2f} / {r.lag_max_ms:.1f} | {r.server_late_p99_ms:.3f} |"
        )
    return _table("### Exactness, ms", head, rows)


def economy() -> str:
    """What the client costs."""
    few, longer = judged(FEW), judged(FEW_LONG)
    long, many, short = results[LONG], results[MANY], results[SHORT]
    rows = [
        _row("CPU-seconds per million token events, load", f"{long.cpu_s_per_million(decoded=False):.1f}", "13", LONG),
        _row("the same with decoding", f"{long.cpu_s_per_million(decoded=True):.1f}", "16", LONG),
        _row("share of the core", f"{many.cpu_fraction:.0%}", "80%", MANY),
        _row("requests per second on one core", f"{short.requests_per_s:,.0f}", "10,000", SHORT),
        _row("share of the core there", f"{short.cpu_fraction:.0%}", "", SHORT),
        _row("peak memory of the load process, MB", f"{few.peak_rss_mb:.0f}", "150", FEW),
        _row("the same after three times as long, MB", f"{longer.peak_rss_mb:.0f}", "no growth", FEW_LONG),
    ]
    return _table("### Cost", "| what | measured | aim | load |", rows)


def whole_program() -> str:
    """Starting up, and from capture to report."""
    decoded = pipeline.measure()
    helps = sorted(_seconds([sys.executable, "bench.py", "--help"]) for _ in range(5))
    first_request_s[:] = [min(_first_request_s() for _ in range(TRIES))]
    rows = [
        f"| `bench.py --help`, median of 5, s | {helps[2]:.2f} | 0.3 |",
        f"| start of the process to first request, s | {first_request_s[0]:.2f} | 2 |",
        f"| {decoded.requests:,} requests × {decoded.tokens} tokens, to report, s | {decoded.wall_s:.0f} | 90 |",
        f"| peak memory of that, largest process, GB | {decoded.peak_rss_mb / 1e3:.1f} | 4 |",
    ]
    return _table("### The program", "| what | measured | aim |", rows)


def beside_the_peers() -> str:
    """This client's figures in one table with those of the others."""
    head = f"| | this client | {' | '.join(PEERS)} |"
    rows = []
    for case, theirs in PEERS_P99_MS.items():
        r = results[case] if case in results else judged(case)
        ours = f"{r.first_token.p99_ms:.3f} / {r.gap.p99_ms:.3f}"
        rows.append(_beside(f"{case.name}: error p99 of first token / gap, ms", ours, theirs))
    long, short = results[LONG], results[SHORT]
    rows += [
        _beside("short answers: requests/s on one core", f"{short.requests_per_s:,.0f}", PEERS_REQUESTS_PER_S),
        _beside("CPU-s per million events", f"{long.cpu_s_per_million(decoded=False):.1f}", PEERS_CPU_S_PER_MILLION),
        _beside("peak memory, MB", f"{long.peak_rss_mb:.0f}", PEERS_PEAK_MB),
        _beside("start to first request, s", f"{first_request_s[0]:.1f}", PEERS_FIRST_REQUEST_S),
    ]
    return _table("### Beside the peers", head, rows)


def _beside(what: str, ours: str, theirs: tuple[str | None, ...]) -> str:
    return f"| {what} | **{ours}** | {' | '.join(figure or '-' for figure in theirs)} |"


def peer_at_hand() -> str:
    """The same load on Locust's own client, in the same minute."""
    ours, theirs = judged(PEER), _fasthttp(PEER)
    rows = [
        f"| {name} | {_errors(first)} | {_errors(gap)} |"
        for name, first, gap in (
            ("this client", ours.first_token, ours.gap),
            ("Locust FastHttpUser, `iter_lines`", theirs.first_token, theirs.gap),
        )
    ]
    return _table(f"### A peer at hand: {PEER.name}, ms", "| client | first token p50 / p99 | gap p50 / p99 |", rows)


def _fasthttp(case: SelftestLoad) -> truth.TruthComparison:
    with tempfile.TemporaryDirectory() as name:
        out, log = Path(name) / "seen.npy", Path(name) / "truth.log"
        options = truth.TruthOptions(ttft_ms=case.ttft_ms, gap_ms=case.gap_ms, tokens=case.tokens)
        with truth.launch(options, cpu=CORES.server, log=log) as server:
            numbers = [str(number) for number in (case.streams, case.requests, case.tokens)]
            subprocess.run(
                [sys.executable, "tests/speed/fasthttp.py", server.url, *numbers, str(out)], check=True, timeout=120
            )
        return truth.compare(truth.read_log(log), *np.load(out))


def _first_request_s() -> float:
    """From the start of the process to the instant the server had read the first request of the load."""
    with tempfile.TemporaryDirectory() as name:
        log, folder = Path(name) / "truth.log", Path(name) / "run"
        with truth.launch(truth.TruthOptions(ttft_ms=5, gap_ms=1, tokens=8), log=log) as server:
            start_ns = time.monotonic_ns()
            arguments = ["run", "--backend", "openai", "--url", server.url, "--model", "truth", "--out", str(folder)]
            subprocess.run(
                [sys.executable, "bench.py", *arguments, "--scenario", "smoke"], stdout=subprocess.DEVNULL, check=False
            )
        return float(truth.read_log(log).request_read_ns.min() - start_ns) / 1e9


def _errors(errors: truth.StampErrors) -> str:
    return f"{errors.p50_ms:.3f} / {errors.p99_ms:.3f}"


def _seconds(command: list[str]) -> float:
    start_s = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start_s


def _row(what: str, value: str, aim: str, case: SelftestLoad) -> str:
    return f"| {what} | {value} | {aim} | {case.name} |"


def _table(title: str, head: str, rows: list[str]) -> str:
    return "\n".join([title, "", head, re.sub(r"[^|]+", "---", head), *rows])


results: dict[SelftestLoad, LoadResult] = {}
first_request_s: list[float] = []

if __name__ == "__main__":
    main()
