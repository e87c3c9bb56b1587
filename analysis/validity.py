"""Can this measurement be trusted? One function per doubt, each from (run.json, summary so far) to reasons.

To add a check, write the function and list it in CHECKS.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from analysis.identities import EXACT
from analysis.stats import LEVELS, values_needed
from analysis.wording import what_to_do

Json = Mapping[str, Any]

MOST_FAILURES = 0.01
RATE_LIMITED = {"http_429", "rate_limited"}
# What blocks of a cache and the words around a prompt can add to what prompts share.
CACHE_MARGIN = 0.02
WARM_AT_LEAST = 0.5


class Reason(NamedTuple):
    """Why a run is `suspect` or `invalid`: what was seen, against which limit, and what helps."""

    status: Literal["suspect", "invalid"]
    code: str
    message: str
    value: float | None
    limit: float | None


def verdict(run: Json, summary: Json) -> dict[str, Any]:
    """The verdict as summary.json holds it: the worst status of all reasons, the worst first."""
    found = [reason for check in CHECKS for reason in check(run, summary)]
    reasons = sorted(found, key=lambda reason: reason.status != "invalid")
    return {
        "status": reasons[0].status if reasons else "valid",
        "reasons": [
            {"code": reason.code, "message": reason.message, "value": reason.value, "limit": reason.limit}
            for reason in reasons
        ],
    }


def nothing_succeeded(run: Json, summary: Json) -> Iterator[Reason]:
    """No measured call succeeded, so there is nothing to measure."""
    requests = summary["requests"]
    if not requests["succeeded"]:
        most = max(requests["by_error"], key=requests["by_error"].get, default="nothing was sent")
        message = f"none of {requests['planned']} calls succeeded (mostly: {most})"
        yield Reason("invalid", "nothing_succeeded", message, 0, 1)


def failed_calls(run: Json, summary: Json) -> Iterator[Reason]:
    """More than a few calls failed: what happened, in the server's words, and what to do."""
    planned = summary["requests"]["planned"]
    for failure in summary["failures"]:
        share = failure["count"] / planned
        if share > MOST_FAILURES:
            said = f" ({failure['message']})" if failure["message"] else ""
            message = f"{failure['count']} of {planned} calls failed with {failure['code']}{said}"
            yield Reason("suspect", "failed_calls", f"{message}: {what_to_do(failure['code'])}", share, MOST_FAILURES)


def rate_limited(run: Json, summary: Json) -> Iterator[Reason]:
    """The API held the load back, so what was measured is its limit and not its speed."""
    refused = sum(failure["count"] for failure in summary["failures"] if failure["code"] in RATE_LIMITED)
    if refused:
        tightest = next(iter(summary["rate_limits"]), None)
        named = "which one it does not say"
        if tightest is not None:
            named = f"{tightest['name']}: {tightest['remaining_min']:g} of {tightest['limit']:g} were left"
        message = f"the API's rate limit refused {refused} calls ({named}): lower --rate or --concurrency"
        yield Reason("suspect", "rate_limited", message, refused, 0)


def out_of_budget(run: Json, summary: Json) -> Iterator[Reason]:
    """Calls were not sent because they did not fit under the limit."""
    unsent = summary["requests"]["by_error"].get("budget", 0)
    if unsent:
        limit = (run.get("pricing") or {}).get("max_usd")
        message = f"{unsent} calls were not sent, to stay within ${limit}: raise --max-usd, or ask for less"
        yield Reason("suspect", "out_of_budget", message, unsent, 0)


def cache_not_as_meant(run: Json, summary: Json) -> Iterator[Reason]:
    """A run that was to be cold found prompts in the server's cache, or one that was to be warm did not."""
    cache = summary["cache"]
    hit_rate, meant, most = cache["hit_rate"], cache["meant"], cache["cold_at_most"]
    if hit_rate is None:
        return
    if meant == "cold" and most is not None and hit_rate > most + CACHE_MARGIN:
        message = (
            f"{hit_rate:.0%} of prompt tokens came from the server's prefix cache, and prompts have {most:.0%} in "
            "common: the run was not cold; restart the server, or say --cache warm"
        )
        yield Reason("suspect", "cache_not_cold", message, hit_rate, most + CACHE_MARGIN)
    if meant == "warm" and hit_rate < WARM_AT_LEAST:
        message = (
            f"{hit_rate:.0%} of prompt tokens came from the server's prefix cache: the run was not warm; run it "
            "again, the first with a seed fills the cache, or give the server a larger one"
        )
        yield Reason("suspect", "cache_not_warm", message, hit_rate, WARM_AT_LEAST)


def broken_identities(run: Json, summary: Json) -> Iterator[Reason]:
    """An equation that every sound run fulfils does not hold."""
    for identity in summary["identities"]:
        if identity["holds"] is False:
            yield Reason(
                "invalid" if identity["name"] in EXACT else "suspect",
                identity["name"],
                f"{identity['name'].replace('_', ' ')} does not hold: {identity['seen']:g} seen, "
                f"{identity['expected']:g} expected, tolerance {identity['tolerance']:g}",
                identity["seen"],
                identity["expected"],
            )


def few_samples(run: Json, summary: Json) -> Iterator[Reason]:
    """Too few successes for the highest percentile reported."""
    succeeded, needed = summary["requests"]["succeeded"], values_needed(LEVELS["p99"])
    if 0 < succeeded < needed:
        message = f"{succeeded} calls succeeded and a p99 needs {needed}: raise --requests or --duration"
        yield Reason("suspect", "few_samples", message, succeeded, needed)


def undecided_objectives(run: Json, summary: Json) -> Iterator[Reason]:
    """An objective names a percentile that the sample cannot carry."""
    for result in summary["slo"]:
        if result["met"] is None and summary["requests"]["planned"]:
            needed = values_needed(result["percentile"] / 100)
            message = f"{result['objective']} cannot be decided with fewer than {needed} calls: raise --requests"
            yield Reason("suspect", "undecided_objective", message, summary["requests"]["planned"], needed)


def interrupted(run: Json, summary: Json) -> Iterator[Reason]:
    """The run ended before its plan did."""
    if run["interrupted"]:
        message = "the run was interrupted: these are the calls up to then"
        yield Reason(
            "suspect", "interrupted", message, summary["requests"]["succeeded"], summary["requests"]["planned"]
        )


def user_stamps(run: Json, summary: Json) -> Iterator[Reason]:
    """The kernel stamped no arrivals, so the client's own lag is in every latency and unknown."""
    if summary["client"]["stamps"] == "user":
        message = "arrivals were stamped by this process, not by the kernel: its own lag is in every latency"
        yield Reason("suspect", "user_stamps", message, None, None)


CHECKS: tuple[Callable[[Json, Json], Iterator[Reason]], ...] = (
    nothing_succeeded,
    failed_calls,
    rate_limited,
    out_of_budget,
    cache_not_as_meant,
    broken_identities,
    few_samples,
    undecided_objectives,
    interrupted,
    user_stamps,
)
