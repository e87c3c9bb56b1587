"""Can this measurement be trusted? The verdict on a run, from all the doubts about it.

A check is a function from (run.json, summary so far) to reasons. To add one, write it in the module of
`analysis/doubts` that fits, list it in that module's CHECKS, and explain it in docs/validity.md.
"""

from typing import Any

from analysis.checks import answers, client, outcome, server, surroundings
from analysis.checks.reason import Json

CHECKS = (*outcome.CHECKS, *client.CHECKS, *server.CHECKS, *answers.CHECKS, *surroundings.CHECKS)


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
