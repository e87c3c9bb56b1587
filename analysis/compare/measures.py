"""What is compared between two runs: one number of summary.json each, which way is better, and what change matters."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from analysis.run.metrics import METRICS
from analysis.run.sections import Throughput
from analysis.run.summary import RunSummary
from analysis.stats.changes import Direction
from bench.numeric import read
from bench.suggest import did_you_mean
from bench.types import UserError

TYPICAL, TAIL, POINTS = 0.05, 0.10, 0.01
_SYNTAX = re.compile(r"\s*(?P<name>[\w:]+)\s*=(?P<value>.+)")


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a run. `threshold` is the least change that matters: relative, or in points of a share.

    `statistic` is None for what is no percentile of a metric.
    """

    metric: str
    statistic: Literal["p50", "p99"] | None
    unit: str
    better: Direction
    threshold: float

    @property
    def name(self) -> str:
        """What the command line and the files call it: `ttft_ms:p99`."""
        return self.metric if self.statistic is None else f"{self.metric}:{self.statistic}"

    @property
    def is_share(self) -> bool:
        """Whether a change of it is a difference; that of all others is a ratio."""
        return self.unit == "share"


OF_THROUGHPUT: Final[Mapping[str, Callable[[Throughput], float | None]]] = {
    "requests_per_s": lambda served: served.requests_per_s,
    "output_tokens_per_s": lambda served: served.output_tokens_per_s,
    "goodput_rps": lambda served: served.goodput_rps,
}


def _latency(metric: str, statistic: Literal["p50", "p99"]) -> Measure:
    threshold = TAIL if statistic == "p99" else TYPICAL
    return Measure(metric, statistic, METRICS[metric].unit, METRICS[metric].better, threshold)


MEASURES: Final = {
    measure.name: measure
    for measure in (
        _latency("ttft_ms", "p50"),
        _latency("ttft_ms", "p99"),
        _latency("itl_ms", "p50"),
        _latency("itl_ms", "p99"),
        _latency("tpot_ms", "p50"),
        _latency("service_ms", "p50"),
        _latency("service_ms", "p99"),
        _latency("response_ms", "p99"),
        Measure("requests_per_s", None, "1/s", "higher", TYPICAL),
        Measure("output_tokens_per_s", None, "1/s", "higher", TYPICAL),
        Measure("goodput_rps", None, "1/s", "higher", TYPICAL),
        Measure("error_share", None, "share", "lower", POINTS),
        Measure("usd_per_request", None, "$", "lower", TYPICAL),
    )
}


def value(measure: Measure, summary: RunSummary) -> float | None:
    """The measure in one run's summary, None where unknown."""
    if measure.statistic == "p50":
        return summary.metric(measure.metric).p50
    if measure.statistic == "p99":
        return summary.metric(measure.metric).p99
    if measure.metric == "error_share":
        requests = summary.requests
        return requests.missed / requests.planned if requests.planned else None
    if measure.metric == "usd_per_request":
        return summary.cost.usd_per_request if summary.cost else None
    return OF_THROUGHPUT[measure.metric](summary.throughput)


def thresholds(texts: Iterable[str]) -> dict[str, float]:
    """The least change that matters by name of measure, with what `--threshold` says of some; raises UserError."""
    known = {name: measure.threshold for name, measure in MEASURES.items()}
    return known | dict(map(_threshold, texts))


def _threshold(text: str) -> tuple[str, float]:
    found = _SYNTAX.fullmatch(text)
    share = read(found["value"]) if found else None
    if found is None or share is None or share < 0:
        raise UserError(f"--threshold {text!r}: expected MEASURE=PERCENT, as in ttft_ms:p99=5%")
    if found["name"] not in MEASURES:
        near = did_you_mean(found["name"], MEASURES) or f"; expected one of {', '.join(MEASURES)}"
        raise UserError(f"--threshold {text!r}: {found['name']} is not compared{near}")
    if share >= 1:
        raise UserError(f"--threshold {text!r}: expected less than 100%, such as 5% or 0.05")
    return found["name"], float(share)
