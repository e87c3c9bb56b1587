"""Findings on this client: did it send when it was to, look in time, and keep what it saw?"""

from collections.abc import Iterator

from analysis.checks.finding import Check, Finding
from analysis.run.accounts import lost
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest

# Of a healthy client that shares two cores with the engine: p99 of lateness 3 to 5 ms, in a closed loop up to 9.
LATE_OPEN_MS, LATE_CLOSED_MS = 10.0, 20.0
LATE_SHARE = 0.05
# A client that keeps up with 85,000 arrivals a second lags by 0.8 ms at p99, one frozen for 15 ms at a time by 14.
LAG_P99_MS, LAG_MAX_MS = 10.0, 250.0
# The engine beside it on two cores: 0.8 to 2.2%, and p99 of the gaps is the engine's. Starved: 5% and more.
MOST_COALESCED = 0.05
# With 86% of a core this client was still exact (docs/performance.md).
CPU_LIMIT = 0.9
# Where the server or others ended the selftest, nobody knows what the client can do.
CLIENTS_OWN_LIMITS = ("error", "client")
MOST_WAITED = 0.01
# More answers than that could move a p99.
MOST_UNSTAMPED = 0.001


def late_sends(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The slowest 1% of calls left later than the plan wants, though a slot was free: not quite the load asked for."""
    late_ms = summary.sending.late_ms.p99
    planned_rps, service_ms = summary.offered.planned_rps, summary.metric("service_ms").p50
    if late_ms is None or run.load.is_at_once:  # nobody sends many calls in one instant
        return
    if not run.load.is_open:
        limit_ms = max(LATE_CLOSED_MS, LATE_SHARE * (service_ms or 0))
    else:
        limit_ms = max(LATE_OPEN_MS, LATE_SHARE * 1000 / planned_rps if planned_rps else 0)
    if late_ms > limit_ms:
        message = (
            f"requests were sent up to {late_ms:.3g} ms after they were due (p99), with a slot free (limit "
            f"{limit_ms:.3g} ms): this client was busy; give it a core of its own, raise --workers, or lower the load"
        )
        yield Finding("suspect", "late_sends", message, late_ms, limit_ms)


def client_lag(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """This client was slow to look: arrivals have the kernel's stamps all the same, its next sends were late."""
    lag_ms = summary.client.lag_ms
    if summary.client.stamps == "packets":
        yield from _late_looks(run, summary)
        return
    for statistic, late_ms, limit_ms in ("p99", lag_ms.p99, LAG_P99_MS), ("max", lag_ms.max, LAG_MAX_MS):
        if late_ms is not None and late_ms > limit_ms:
            message = (
                f"this client read data up to {late_ms:.3g} ms late ({statistic}; limit {limit_ms:g} ms): "
                "give it a core of its own, raise --workers, or lower --rate or --concurrency"
            )
            yield Finding("suspect", "client_lag", message, late_ms, limit_ms)
            return


def _late_looks(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """With packet stamps a late look blurs nothing, but a closed loop's next call waits for it."""
    late_ms, service_ms = summary.client.lag_ms.p99, summary.metric("service_ms").p50
    if run.load.rate_per_s is not None or late_ms is None or service_ms is None:
        return
    limit_ms = max(LAG_P99_MS, LATE_SHARE * service_ms)
    if late_ms > limit_ms:
        message = (
            f"this client read data up to {late_ms:.3g} ms late (p99; limit {limit_ms:.3g} ms): timestamps are "
            "still exact, but the next requests of this closed loop were late; give it its own core or raise --workers"
        )
        yield Finding("suspect", "client_lag", message, late_ms, limit_ms)


def lost_packets(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Of some answers the packet ring missed a packet: they have the stamps of reads, which others do not have."""
    packets = summary.client.packets
    if packets is None or not packets.answers:
        return
    share = packets.unstamped / packets.answers
    if share > MOST_UNSTAMPED:
        message = (
            f"{packets.unstamped:,} of {packets.answers:,} answers are timestamped by read, not by packet: "
            f"{packets.dropped:,} of {packets.seen:,} packets were dropped; give the client more CPU, "
            "or compare with --stamps kernel"
        )
        yield Finding("suspect", "lost_packets", message, share, MOST_UNSTAMPED)


def coalesced_reads(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Many reads took in several arrivals, which then share the later stamp, and this client's lag explains it."""
    client, gap_ms = summary.client, summary.metric("chunk_gap_ms").mean
    lag_ms = client.lag_ms.p99
    if not client.reads or lag_ms is None or gap_ms is None:
        return
    share = (client.coalesced_reads or 0) / client.reads
    # A server that sends two events at once is not this client's fault, nor are their stamps wrong.
    if share > MOST_COALESCED and lag_ms > gap_ms / 2:
        message = (
            f"{share:.0%} of reads brought several arrivals, which share one timestamp: token gaps are blurred; give "
            "the client its own core, raise --workers, or lower the load"
        )
        yield Finding("suspect", "coalesced_reads", message, share, MOST_COALESCED)


def client_cpu(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """A load process had its core for itself and wanted more: the pace may be the client's and not the server's."""
    in_window = (summary.host.client_busy_cores or 0) / run.workers
    share = max(summary.client.cpu_fraction or 0, in_window)
    if share > CPU_LIMIT:
        closed = not run.load.is_open
        what = "set the pace of this closed loop" if closed else "kept the load from being sent in time"
        message = f"a load process used {share:.0%} of a core: the client, not the server, may have {what}; "
        yield Finding("suspect", "client_cpu", message + "raise --workers", share, CPU_LIMIT)


def beyond_selftest(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """More load than this machine's selftest found the client to be exact at, where that limit was the client's own."""
    kept = run.selftest
    if kept is None:
        return
    client, requests_per_s = summary.client, summary.throughput.requests_per_s
    for limit, unit, per_s in (
        (kept.events, "token events/s", client.token_events_per_s),
        (kept.requests, "requests/s", requests_per_s),
    ):
        if per_s is not None and per_s > limit.limit_per_s and limit.bounded_by in CLIENTS_OWN_LIMITS:
            message = (
                f"{per_s:,.0f} {unit} exceed the {limit.limit_per_s:,.0f} up to which the selftest of "
                f"{kept.measured_at[:10]} found this machine's client to be exact: raise --workers, take a larger "
                "machine, or measure again with bench.py selftest if this one was busy then"
            )
            yield Finding("suspect", "beyond_selftest", message, per_s, limit.limit_per_s)


def waited_for_seats(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Open loop: calls waited here because as many as may be were in flight; the server never saw the whole load."""
    share, most = summary.sending.waited_share, run.load.max_in_flight
    if share is not None and share > MOST_WAITED and not run.load.is_at_once:
        message = (
            f"{share:.0%} of requests waited in this client, because {most} were in flight: response_ms includes that "
            "wait, ttft_ms does not; raise --max-in-flight, or lower --rate to what the server can take"
        )
        yield Finding("suspect", "waited_for_seats", message, share, MOST_WAITED)


def user_stamps(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The kernel stamped no arrivals, so the client's own lag is in every latency and unknown."""
    if summary.client.stamps == "user":
        message = "arrivals were timestamped by this process, not by the kernel: its lag is part of every latency"
        yield Finding("suspect", "user_stamps", message, None, None)


def lost_workers(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """A load process left no account of itself: it was killed, and what it had in flight is missing."""
    gone = lost(run)
    if gone:
        message = (
            f"{gone} of {run.workers} load processes ended without closing their capture: "
            "their requests in flight are missing, mostly long ones; find out what killed them (memory?), and run "
            "again"
        )
        yield Finding("suspect", "lost_workers", message, run.workers - gone, run.workers)


def torn_capture(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """A capture ends in the middle of a call."""
    torn_bytes = run.capture_torn_bytes or 0
    if torn_bytes:
        message = (
            f"{torn_bytes} bytes at the end of a capture belong to a request that was only partly written: a load "
            "process was killed or the disk was full; make sure that --out has room, and run again"
        )
        yield Finding("suspect", "torn_capture", message, torn_bytes, 0)


CHECKS: tuple[Check, ...] = (
    late_sends,
    client_lag,
    lost_packets,
    coalesced_reads,
    client_cpu,
    beyond_selftest,
    waited_for_seats,
    user_stamps,
    lost_workers,
    torn_capture,
)
