"""Can this measurement be trusted? The verdict on a run, from all checks of it.

A check is a function from (run.json, the summary so far) to reasons. To add one, write it in the module of
`analysis/checks` that fits, list it in that module's CHECKS, and explain it in docs/validity.md.
"""

from analysis.checks import answers, client, outcome, server, surroundings
from analysis.run.summary import RunSummary, RunVerdict
from bench.runs.manifest import RunManifest

CHECKS = (*outcome.CHECKS, *client.CHECKS, *server.CHECKS, *answers.CHECKS, *surroundings.CHECKS)


def verdict(run: RunManifest, summary: RunSummary) -> RunVerdict:
    """The worst status of all reasons, the worst reasons first."""
    found = [reason for check in CHECKS for reason in check(run, summary)]
    reasons = sorted(found, key=lambda reason: reason.status != "invalid")
    return RunVerdict(reasons[0].status if reasons else "valid", tuple(reason.written for reason in reasons))
