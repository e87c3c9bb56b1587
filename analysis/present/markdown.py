"""A run in a few lines of markdown, for the comment that a CI job leaves."""

import re
from collections.abc import Mapping
from typing import Any, Final

from analysis import wording
from analysis.present.tables import throughput
from analysis.run.metrics import METRICS
from analysis.wording import number
from bench.process.printable import printable

SHOWN: Final = ("ttft_ms", "tpot_ms", "itl_ms", "service_ms")
STATISTICS: Final = ("mean", "p50", "p90", "p99", "count")


def markdown(run: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The verdict, what was found, and a table of the main metrics, from run.json and summary.json."""
    return "\n".join(
        [
            f"### {plain(run['model'])} on {plain(run['backend'])}, scenario {plain(run['scenario']['name'])}",
            "",
            f"**{plain(wording.verdict(run, summary))}** {plain(wording.found(summary))}",
            "",
            *(f"- `{reason['code']}`: {plain(reason['message'])}" for reason in summary["verdict"]["reasons"]),
            *([""] if summary["verdict"]["reasons"] else []),
            _row("", *STATISTICS),
            _row("---", *("---:" for _ in STATISTICS)),
            *(_metric(summary, name) for name in SHOWN),
            "",
            *(f"- {plain(name)}: {plain(value)}" for name, value in throughput(summary)),
            "",
            f"Load: {plain(wording.load(run['load']))}. Seed {run['seed']}, plan `{run['plan_hash'][:12]}`.",
            "",
        ]
    )


def _metric(summary: Mapping[str, Any], name: str) -> str:
    values = (number(wording.metric(summary, name, statistic)) for statistic in STATISTICS)
    return _row(f"{wording.LABELS[name]}, {METRICS[name].unit}", *values)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def plain(text: str) -> str:
    """Text from outside, with what markdown or HTML would act on made literal and on one line."""
    return re.sub(r"([\\`*_\[\]<>|#@!~&])", r"\\\1", " ".join(printable(text).split()))
