"""Can this measurement be trusted? One function per doubt, each from (run.json, summary so far) to reasons.

To add a check, write the function and list it in CHECKS.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from analysis.identities import EXACT
from analysis.stats import LEVELS, values_needed

Json = Mapping[str, Any]


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
        yield Reason(
            "invalid", "nothing_succeeded", f"none of {requests['planned']} calls succeeded (mostly: {most})", 0, 1
        )


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
    broken_identities,
    few_samples,
    undecided_objectives,
    interrupted,
    user_stamps,
)
