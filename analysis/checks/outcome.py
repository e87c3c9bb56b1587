"""Findings on what became of the calls: failures, limits that held the load back, samples too small."""

from collections.abc import Iterator

from analysis.checks.finding import Check, Finding
from analysis.checks.identities import EXACT
from analysis.run import slo
from analysis.run.summary import RunSummary
from analysis.stats.distributions import LEVELS, values_needed
from analysis.wording import count, dollars
from bench.errors import DEARER, INTERRUPTED, NOT_REACHED, RATE_LIMITED, stop_reason, what_to_do
from bench.runs.manifest import RunManifest

MOST_FAILURES = 0.01
MOST_BACKOFF = 0.05
_OUR_FAULT = "a bug in this tool: keep the folder and report it"
_SOMEBODY_ELSE = "give the run a server that nobody else uses (without --url it launches one)"
_HELD_BACK = "lower --rate, raise --max-in-flight where requests waited for it, else raise --workers"
REMEDIES = {
    **dict.fromkeys(EXACT, _OUR_FAULT),
    "littles_law": "raise --duration or --requests; if that does not help, a bug in this tool",
    "server_in_flight": _SOMEBODY_ELSE,
    "server_tokens": _SOMEBODY_ELSE,
    "server_first_token": "look for a proxy in --url, a slow network, or too little CPU for the server's front end",
    "delivered_rate": _HELD_BACK,
    "delivered_dispersion": _HELD_BACK,
}


def nothing_succeeded(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """No measured call succeeded, so there is nothing to measure."""
    requests = summary.requests
    if not requests.succeeded:
        codes = ", ".join(f"{calls:,} {code}" for code, calls in requests.by_error.items())
        message = f"none of {count(requests.planned, 'request')} succeeded ({codes})"
        if not requests.planned:
            message = "no request was measured: the run ended before its first, or had none to send after its warm-up"
        yield Finding("invalid", "nothing_succeeded", message, 0, 1)


def mostly_failed(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """More calls failed than succeeded, and no objective on errors allows that: the rest is no measurement."""
    requests = summary.requests
    ended = requests.failed + requests.succeeded
    if slo.mostly_failed(requests, summary.slo):
        message = (
            f"{requests.failed:,} of {ended:,} requests failed: the rest does not show how this load is served, so "
            "no rates are given; lower the load, or allow failures by --slo 'error_share<NN%'"
        )
        yield Finding("invalid", "mostly_failed", message, requests.failed / ended, 0.5)


def failed_calls(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """More than a few calls failed: what happened, in the server's words, and what to do."""
    planned = summary.requests.planned - summary.requests.by_error.get(NOT_REACHED, 0)
    for failure in summary.failures:
        share = failure.count / planned
        if share > MOST_FAILURES:
            detail = f" ({failure.message})" if failure.message else ""
            message = f"{failure.count} of {planned} requests failed with {failure.code}{detail}"
            yield Finding("suspect", "failed_calls", f"{message}: {what_to_do(failure.code)}", share, MOST_FAILURES)


def rate_limited(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The API held the load back, so what was measured is its limit and not its speed."""
    refused = sum(failure.count for failure in summary.failures if failure.code in RATE_LIMITED)
    if refused:
        tightest = next(iter(summary.rate_limits), None)
        named = "it does not say which"
        if tightest is not None:
            named = f"{tightest.name}: {tightest.remaining_min:g} of {tightest.limit:g} were left"
        message = f"the API's rate limit refused {count(refused, 'request')} ({named}): lower --rate or --concurrency"
        yield Finding("suspect", "rate_limited", message, refused, 0)


def backed_off(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Slots of a closed loop waited after refusals, so that the load was not the one that was asked for."""
    backoff, slots = summary.backoff, run.load.concurrency
    if backoff.share is not None and backoff.share > MOST_BACKOFF:
        message = (
            f"slots waited {backoff.share:.0%} of their time after {backoff.waits} refusals, so fewer than "
            f"{slots} requests were in flight: lower --concurrency to what the server takes, or raise its limit"
        )
        yield Finding("suspect", "backed_off", message, backoff.share, MOST_BACKOFF)


def out_of_budget(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Calls were not sent because they did not fit under the limit."""
    unsent = summary.requests.by_error.get("budget", 0)
    if unsent:
        message = f"{unsent} requests were not sent, as they did not fit under --max-usd{_account(run)}"
        yield Finding("suspect", "out_of_budget", f"{message}: raise it, or ask for less", unsent, 0)


def dearer_than_worst(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Answers cost more than the worst that was reckoned with, so the limit could not be promised."""
    dearer_usd = run.spending.dearer_usd if run.spending else None
    if dearer_usd:
        message = (
            f"answers cost {dollars(dearer_usd)} more than their worst case, by the server's own count{_account(run)}: "
            f"the load was stopped; {stop_reason(DEARER).remedy}"
        )
        yield Finding("suspect", "dearer_than_worst", message, float(dearer_usd), 0)


def _account(run: RunManifest) -> str:
    spending = run.spending
    if not spending:
        return ""
    return f" ({dollars(spending.spent_usd)} of {dollars(spending.cap_usd)} spent)"


def broken_identities(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """An equation that every sound run fulfils does not hold."""
    for identity in summary.identities:
        if identity.holds is False:
            name = identity.name
            yield Finding(
                "invalid" if name in EXACT else "suspect",
                name,
                f"{name.replace('_', ' ')} does not hold: {identity.seen:g} seen, "
                f"{identity.expected:g} expected, tolerance {identity.tolerance:g}; {REMEDIES[name]}",
                identity.seen,
                identity.expected,
            )


def few_samples(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Too few successes for the highest percentile reported."""
    succeeded, needed = summary.requests.succeeded, values_needed(LEVELS["p99"])
    if 0 < succeeded < needed:
        message = f"{count(succeeded, 'request')} succeeded and a p99 needs {needed}: raise --requests or --duration"
        yield Finding("suspect", "few_samples", message, succeeded, needed)


def undecided_objectives(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """An objective names a percentile that the sample cannot carry, or is taken otherwise than seen: --inconclusive."""
    for result in summary.slo:
        is_open = result.met is None or slo.is_failed(result, run.inconclusive) is result.met
        if is_open and result.percentile is not None and summary.requests.planned:
            more = result.more_requests
            needed = None if more is None else summary.requests.planned + more
            remedy = "ask for a lower percentile"
            if more is not None:
                remedy = f"{count(more, 'more request')} would decide it: --requests {needed}"
            message = f"{result.objective} cannot be decided by {count(summary.requests.planned, 'request')}; {remedy}"
            yield Finding("suspect", "undecided_objective", message, summary.requests.planned, needed)


def interrupted(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The run ended before its plan did."""
    if run.interrupted:
        remedy = stop_reason(run.stopped or INTERRUPTED).remedy
        message = f"the run was interrupted: results cover the time up to then; {remedy}"
        yield Finding("suspect", "interrupted", message, summary.requests.succeeded, summary.requests.planned)


CHECKS: tuple[Check, ...] = (
    nothing_succeeded,
    mostly_failed,
    failed_calls,
    rate_limited,
    backed_off,
    out_of_budget,
    dearer_than_worst,
    broken_identities,
    few_samples,
    undecided_objectives,
    interrupted,
)
