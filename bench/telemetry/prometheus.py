"""Read the few series that we chart out of a server's Prometheus text exposition (format 0.0.4)."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import isfinite
from statistics import fmean
from typing import NamedTuple

# A quoted label value may hold spaces, commas, braces and escaped quotes.
_SERIES = re.compile(
    r"""(?P<metric>[\w:]+)
        (?P<labels>\{ (?: [^"}] | "(?:[^"\\]|\\.)*" )* \})?
        [ \t]+ (?P<value>\S+)
        (?: [ \t]+ (?P<timestamp>-?\d{1,15}) )?""",
    re.VERBOSE,
)
_LABEL = re.compile(r'(\w+)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


MOST_LABEL_SETS = 10_000
_LONGEST_LINE = 4096
MOST_VALUE = 1e18  # Limits for byte counters and times in ns; the squares of larger numbers overflow.


class MetricSample(NamedTuple):
    """One line of an exposition; `timestamp_ms` is on the sender's clock, None if it has none."""

    metric: str
    labels: Mapping[str, str]
    value: float
    timestamp_ms: int | None


def samples(text: str, prefixes: tuple[str, ...]) -> Iterator[MetricSample]:
    """The samples whose metric begins with one of these, without NaN, infinity and non-numbers."""
    for line in text.split("\n"):
        # Most of an engine's thousands of lines are irrelevant: reject them before the pattern runs.
        if not line.startswith(prefixes) or len(line) > _LONGEST_LINE or not (series := _SERIES.match(line)):
            continue
        value = _number(series["value"])
        if value is not None:
            stamp = series["timestamp"]
            yield MetricSample(
                series["metric"], _labels(series["labels"]), value, None if stamp is None else int(stamp)
            )


def read_metrics(text: str, metrics: Mapping[str, str]) -> dict[str, float]:
    """The value of each metric in `metrics` (our name -> the server's), one number over all its label sets.

    Label sets (of data-parallel engines, say) are summed; a `*_fraction` is averaged. A histogram or summary gives
    `<name>_sum` and `<name>_count`. Metrics that are missing, NaN, infinite or not numbers are omitted.
    """
    wanted = {metric + part: name + part for name, metric in metrics.items() for part in ("", "_sum", "_count")}
    values: defaultdict[str, list[float]] = defaultdict(list)
    for sample in samples(text, tuple(metrics.values())) if metrics else ():
        name = wanted.get(sample.metric)
        if name and not _is_repeated(sample.labels) and len(values[name]) < MOST_LABEL_SETS:
            values[name].append(sample.value)
    return {name: fmean(each) if name.endswith("_fraction") else sum(each) for name, each in values.items()}


def _is_repeated(labels: Mapping[str, str]) -> bool:
    """Whether a label set must not be summed: a quantile, or a duplicate of another label set.

    SGLang's ranks of tensor and pipeline parallelism each report all requests, and its priorities appear beside their
    sum, whose priority label is empty.
    """
    return (
        "quantile" in labels
        or any(labels.get(rank, "0") not in ("0", "") for rank in ("tp_rank", "pp_rank"))
        or bool(labels.get("priority"))
    )


def _labels(text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    return {name: _ESCAPED.sub(_unescaped, value) for name, value in _LABEL.findall(text)}


def _unescaped(found: "re.Match[str]") -> str:
    return "\n" if found[1] == "n" else found[1]


def _number(text: str) -> float | None:
    """A sample's value; None if it is not a number, or too large to sum."""
    with suppress(ValueError):
        if isfinite(value := float(text)) and abs(value) < MOST_VALUE:
            return value
    return None
