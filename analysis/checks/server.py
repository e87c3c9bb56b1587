"""Findings on what the server did: its cache, values that cannot be, streams that stood still, a load too high."""

from collections.abc import Iterator

from analysis.checks.finding import Check, Finding
from analysis.run.sections import Steadiness
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest

# What blocks of a cache and the words around a prompt can add to what prompts share.
CACHE_MARGIN = 0.02
WARM_AT_LEAST = 0.5
# A round trip over loopback to a server that runs no model takes 0.02 to 0.05 ms.
LEAST_TTFT_MS = 0.02
MOST_UNREAD = 0.01
# Chosen by simulation (docs/validity.md): both must be passed.
TREND_P = 0.001
MOST_TTFT_CHANGE = 0.25
MOST_BACKLOG, LEAST_BACKLOG_CALLS = 0.1, 5.0


def cache_not_as_meant(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """A run that was to be cold found prompts in the server's cache, or one that was to be warm did not."""
    cache = summary.cache
    hit_rate, meant, most = cache.hit_rate, cache.meant, cache.cold_at_most
    if hit_rate is None:
        return
    if meant == "cold" and most is not None and hit_rate > most + CACHE_MARGIN:
        message = (
            f"{hit_rate:.0%} of prompt tokens came from the server's prefix cache, but prompts share only {most:.0%}: "
            "the run was not cold; restart the server, or say --cache warm"
        )
        yield Finding("suspect", "cache_not_cold", message, hit_rate, most + CACHE_MARGIN)
    if meant == "warm" and hit_rate < WARM_AT_LEAST:
        message = (
            f"{hit_rate:.0%} of prompt tokens came from the server's prefix cache: the run was not warm; run it "
            "again (the first with a seed fills the cache), or give the server a larger cache"
        )
        yield Finding("suspect", "cache_not_warm", message, hit_rate, WARM_AT_LEAST)


def impossible_values(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """A value that no server can produce, so the server, a proxy or a clock is not what it seems."""
    ttft_ms = summary.metric("ttft_ms").min
    if ttft_ms is not None and ttft_ms < LEAST_TTFT_MS:
        message = (
            f"a first token after {ttft_ms:.3g} ms, sooner than a round trip takes: the clock was set during the run, "
            "or what answers at --url does not run a model"
        )
        yield Finding("invalid", "impossible_ttft", message, ttft_ms, LEAST_TTFT_MS)
    hit_rate = summary.cache.hit_rate
    if hit_rate is not None and summary.cache.source == "usage" and hit_rate > 1:
        message = f"usage has {hit_rate:.3g} times as many cached prompt tokens as prompt tokens: costs are wrong; "
        yield Finding("invalid", "impossible_usage", message + "check --backend against the server", hit_rate, 1)


def stalled_streams(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """An answer stood still in its middle: percentiles hide it, whoever read it did not miss it."""
    stalls = summary.stalls
    if stalls.answers and stalls.longest_ms is not None and stalls.limit_ms is not None:
        message = (
            f"{stalls.answers} of {summary.requests.planned} answers stalled after their first token "
            f"(longest: request {stalls.seq}, {stalls.longest_ms / 1000:.3g} s without output; limit "
            f"{stalls.limit_ms / 1000:.3g} s): see its log for that time (preemption, a full cache), "
            "or what a proxy at --url does"
        )
        yield Finding("suspect", "stalled_stream", message, stalls.longest_ms, stalls.limit_ms)


def waits_for_acknowledgement(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The server holds its first token back until this client acknowledges (Nagle's algorithm), and it does so late."""
    found = run.nagle
    if found and found.message and not run.quick_ack:
        yield Finding(
            "suspect",
            "nagle",
            found.message,
            found.delayed.first_token_ms,
            found.quick.first_token_ms,
        )


def events_unread(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Parts of answers could not be read and were passed over; there may have been output in them."""
    unread, planned = summary.oddities.unread, summary.requests.planned
    share = unread.calls / planned if planned else 0.0
    if share > MOST_UNREAD:
        message = (
            f"{unread.events:,} events in {unread.calls:,} of {planned:,} requests could not be read and were "
            f"passed over (such as {unread.example}): tokens may be missing; check --backend, and what stands "
            "before the server"
        )
        yield Finding("suspect", "events_unread", message, share, MOST_UNREAD)


def compressed_stream(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Answers came compressed, though that was not asked for: a compressor lets tokens out when it sees fit."""
    codings, planned = summary.oddities.compressed, summary.requests.planned
    share = sum(codings.values()) / planned if planned else 0.0
    if share > MOST_UNREAD:
        message = (
            f"{sum(codings.values()):,} of {planned:,} answers came compressed ({', '.join(codings)}) though nobody "
            "asked for that: tokens wait in the compressor, so the gaps are its own; turn it off for text/event-stream "
            "in the server or the proxy before it"
        )
        yield Finding("suspect", "compressed_stream", message, share, MOST_UNREAD)


def not_steady(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """What was measured changed while it was measured, so it depends on how long that was."""
    steady = summary.steadiness
    growth, growth_p = steady.backlog_growth, steady.backlog_trend_p
    if growth is not None and growth_p is not None and growth_p < TREND_P:
        limit = max(LEAST_BACKLOG_CALLS, MOST_BACKLOG * summary.requests.planned)
        if growth > limit:
            message = (
                f"requests under way or waiting grew by {growth:.3g} from the first request to the last: the server "
                "cannot keep up with this load, and latencies are as long as the run; lower --rate (`capacity` finds "
                "it)"
            )
            yield Finding("suspect", "backlog_grows", message, growth, limit)
            return
    change, change_p = steady.ttft_change, steady.ttft_trend_p
    if change is not None and change_p is not None and change_p < TREND_P and abs(change) > MOST_TTFT_CHANGE:
        way = "rose" if change > 0 else "fell"
        message = (
            f"ttft_ms {way} by {abs(change):.0%} of its median over the run: not a steady state; {_if_cut(steady)}"
            "raise --warmup and --duration, or lower the load"
        )
        yield Finding("suspect", "ttft_drifts", message, change, MOST_TTFT_CHANGE)


def _if_cut(steady: Steadiness) -> str:
    found = steady.proposed
    return f"--window steady cuts the first {found.cut_calls:,} requests, " if found else ""


CHECKS: tuple[Check, ...] = (
    cache_not_as_meant,
    impossible_values,
    stalled_streams,
    waits_for_acknowledgement,
    events_unread,
    compressed_stream,
    not_steady,
)
