"""Equations that hold in every sound run, whatever was measured: each is checked and shown beside the numbers.

To add one, write a function from `Evidence` to its `Terms`, None where this run lacks what they are made of, and list
it in IDENTITIES under its name. EXACT names those with no tolerance at all.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.accounts import lost
from analysis.run.gpu import series
from analysis.run.metrics import NS_PER_MS, column, successful
from analysis.run.rates import growth_of, in_flight
from analysis.run.server_metrics import histogram_mean_ms
from analysis.run.streams import stream
from analysis.run.summary import Identity, RunSummary
from analysis.run.window import Window
from bench.runs.manifest import RunManifest

# The clocks of two processes on one machine agree; the way is parsing, queues of the server's front end, the network.
CLOCK_MS, WAY_MS = 1.0, 50.0
LAW_SHARE, MOST_LAW_SHARE = 0.05, 0.5
LONG_SERVICE = 0.95
EXACT = {"conservation", "no_negative_interval", "token_order"}


class Evidence(NamedTuple):
    """What the identities are checked on; `summary` has the sections of summary.json that are done before."""

    run: RunManifest
    requests: pa.Table
    telemetry: pa.Table | None
    span: Window
    summary: RunSummary


Terms = tuple[float | None, float | None, float | None]
"""What was seen, what was expected of it, and how far apart the two may be; None where this run lacks one of them."""


def check(evidence: Evidence) -> tuple[Identity, ...]:
    """Every identity, held or not. What a lost load process had in hand is missing on our side of most of them."""
    is_whole = not lost(evidence.run)
    return tuple(
        _identity(each.__name__, each(evidence) if is_whole or each.__name__ in EXACT else None) for each in IDENTITIES
    )


def conservation(evidence: Evidence) -> Terms | None:
    """Planned and not cut = succeeded + failed + dropped + unfinished, no call missing and none twice."""
    counts = evidence.summary.requests
    outcomes = counts.succeeded + counts.missed
    twice = evidence.requests.num_rows - len(pc.unique(evidence.requests["seq"]))
    # An interrupted run has planned no more than it tells of, nor has one that lasts for a time.
    in_full = None if evidence.run.interrupted else evidence.run.load.requests
    cut = evidence.run.cut.calls if evidence.run.cut else 0
    return outcomes - twice, counts.planned if in_full is None else in_full - cut, 0


def no_negative_interval(evidence: Evidence) -> Terms | None:
    """No call is sent before it is due, answered before it is sent, or has tokens that arrive before earlier ones."""
    calls = evidence.requests
    due, sent, first_byte, first_token, end = (
        column(calls, f"{name}_ns") for name in ("due", "sent", "first_byte", "first_token", "end")
    )
    # An unknown instant compares false: no interval, so none that is negative.
    wrong = (sent < due) | (first_byte < sent) | (first_token < first_byte) | (end < sent)
    wrong |= stream(calls, "turns_back")
    return int(wrong.sum()), 0, 0


def token_order(evidence: Evidence) -> Terms | None:
    """First token <= last token <= end, in every call."""
    first, last, end = (column(evidence.requests, f"{name}_ns") for name in ("first_token", "last_token", "end"))
    return int(((last < first) | (end < last)).sum()), 0, 0


def littles_law(evidence: Evidence) -> Terms | None:
    """Mean in flight = requests/s x mean service, as reported, to 5% and three standard errors of what edges do.

    Of an open loop in flight are those from when the load had been on for a service that few exceed. The calls that
    only one side of the equation has in full are as good as random. Not asked where they leave more than half open,
    nor where there is no steady state: of a server that falls behind, or a rate that changes.
    """
    rate = evidence.summary.throughput.requests_per_s
    service_ms = evidence.summary.metric("service_ms").mean
    calls = successful(evidence.requests.select(["sent_ns", "end_ns", "error"]))
    span = _with_full_load(evidence, calls)
    if not rate or service_ms is None or span is None:
        return None
    sent, end = column(calls, "sent_ns"), column(calls, "end_ns")
    whole = (sent >= span.start_ns) & (end <= span.end_ns)
    partly_ns = (end - sent)[(end > evidence.span.start_ns) & (sent < span.end_ns) & ~whole]
    seen = in_flight(calls, span)
    of_edges = float(np.sqrt((partly_ns**2).sum())) / (seen * (span.end_ns - span.start_ns)) if seen else 1.0
    share = LAW_SHARE + 3 * of_edges
    return rate * service_ms / 1000, seen, share * seen if share < MOST_LAW_SHARE else None


def _with_full_load(evidence: Evidence, calls: pa.Table) -> Window | None:
    """The part of the window in which as many calls can be in flight as ever will; None without one."""
    span = evidence.span
    if not calls.num_rows or evidence.run.load.course:
        return None
    if not evidence.run.load.is_open or evidence.run.load.is_at_once:
        return span
    found = growth_of(evidence.requests)
    service_ns = column(calls, "end_ns") - column(calls, "sent_ns")
    start_ns = max(span.start_ns, int(column(calls, "sent_ns").min() + np.quantile(service_ns, LONG_SERVICE)))
    if (found is not None and found.is_clear) or start_ns >= span.end_ns:
        return None
    return Window(start_ns, span.end_ns)


def server_in_flight(evidence: Evidence) -> Terms | None:
    """Our mean in flight = the server's own, running and queued: more there is someone else's load."""
    span = evidence.span
    t_ns, running = series(evidence.telemetry, "engine", "running")
    _, queued = series(evidence.telemetry, "engine", "queue")
    inside = span.holds(t_ns)
    if inside.sum() < 10 or len(queued) != len(running):
        return None
    there = (running + queued)[inside]
    ours = in_flight(evidence.requests, span)
    sampling = 3 * there.std(ddof=1) / np.sqrt(len(there))
    return ours, there.mean(), 0.1 * ours + 0.5 + sampling


def server_tokens(evidence: Evidence) -> Terms | None:
    """Output tokens of our calls = what the server's own counter rose by.

    Calls whose tokens are not known (they failed) or that the counter saw only in part widen the tolerance by
    what they asked for at most.
    """
    t_ns, counter = series(evidence.telemetry, "engine", "generation_tokens_total")
    calls = evidence.requests.select(["sent_ns", "end_ns", "output_tokens", "max_tokens", "error"])
    calls = calls.filter(pc.is_valid(calls["sent_ns"]))
    if len(t_ns) < 2:
        return None
    sent, end, tokens = (column(calls, name) for name in ("sent_ns", "end_ns", "output_tokens"))
    unseen = (end < t_ns[0]) | (sent > t_ns[-1])
    certain = (sent >= t_ns[0]) & (end <= t_ns[-1]) & ~np.isnan(tokens) & np.asarray(pc.is_null(calls["error"]))
    expected = float(counter[-1] - counter[0])
    uncertain = column(calls, "max_tokens")[~unseen & ~certain].sum()
    return tokens[certain].sum(), expected, uncertain + 0.01 * expected


def server_first_token(evidence: Evidence) -> Terms | None:
    """Our mean ttft = the server's own, and what the way there and back takes: a client cannot see a token earlier.

    Checked where the server's histogram took in as many calls as we sent.
    """
    server_ms, count = histogram_mean_ms(evidence.telemetry, "server_ttft_s")
    calls = evidence.requests.select(["sent_ns", "first_token_ns"])
    calls = calls.filter(pc.is_valid(calls["first_token_ns"]))
    if server_ms is None or count != calls.num_rows:
        return None
    ours_ms = float((column(calls, "first_token_ns") - column(calls, "sent_ns")).mean() / NS_PER_MS)
    tolerance_ms = CLOCK_MS if ours_ms < server_ms else WAY_MS + server_ms
    return ours_ms, server_ms, tolerance_ms


def delivered_rate(evidence: Evidence) -> Terms | None:
    """Open loop: the rate sent = the rate planned, to 2% or one call."""
    offered, planned = evidence.summary.offered, evidence.summary.requests.planned
    wanted = offered.planned_rps
    tolerance = None if wanted is None else wanted * max(0.02, 1 / planned)
    return offered.achieved_rps, wanted, tolerance


def delivered_dispersion(evidence: Evidence) -> Terms | None:
    """Open loop: the calls sent are as bursty as those planned (index of dispersion)."""
    offered = evidence.summary.offered
    wanted = offered.planned_index_of_dispersion
    tolerance = None if wanted is None else 0.1 + 0.1 * wanted
    return offered.index_of_dispersion, wanted, tolerance


IDENTITIES: tuple[Callable[[Evidence], Terms | None], ...] = (
    conservation,
    no_negative_interval,
    token_order,
    littles_law,
    server_in_flight,
    server_tokens,
    server_first_token,
    delivered_rate,
    delivered_dispersion,
)


def _identity(name: str, terms: Terms | None) -> Identity:
    seen, expected, tolerance = (None if term is None else float(term) for term in terms or (None, None, None))
    known = seen is not None and expected is not None and tolerance is not None
    holds = abs(seen - expected) <= tolerance if known else None  # type: ignore[operator]
    return Identity(name, holds, seen, expected, tolerance)
