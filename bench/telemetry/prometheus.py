"""Reads the few series we chart out of a server's Prometheus text exposition (format 0.0.4)."""

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
MOST_VALUE = 1e18  # of a counter of bytes, of a time in ns; the squares of larger ones are no numbers


class MetricSample(NamedTuple):
    """One line of an exposition; `timestamp_ms` is what the sender's clock said, None where it left that out."""

    metric: str
    labels: Mapping[str, str]
    value: float
    timestamp_ms: int | None


def samples(text: str, prefixes: tuple[str, ...]) -> Iterator[MetricSample]:
    """The samples whose metric begins with one of these; NaN, infinity and what is no number is left out."""
    for line in text.split("\n"):
        # Most of an engine's thousands of lines are of no interest: reject them before the pattern runs.
        if not line.startswith(prefixes) or len(line) > _LONGEST_LINE or not (series := _SERIES.match(line)):
            continue
        value = _number(series["value"])
        if value is not None:
            stamp = series["timestamp"]
            yield MetricSample(
                series["metric"], _labels(series["labels"]), value, None if stamp is None else int(stamp)
            )


def read_metrics(text: str, metrics: Mapping[str, str]) -> dict[str, float]:
    """Value of each metric named in `metrics` (our name -> the server's), one number over all its label sets.

    Label sets (data-parallel engines, say) are summed; a `*_fraction` is averaged. A histogram or summary gives
    `<name>_sum` and `<name>_count`. What the text lacks, or gives as NaN, infinity or no number, is left out.
    """
    wanted = {metric + part: name + part for name, metric in metrics.items() for part in ("", "_sum", "_count")}
    values: defaultdict[str, list[float]] = defaultdict(list)
    for sample in samples(text, tuple(metrics.values())) if metrics else ():
        name = wanted.get(sample.metric)
        if name and not _is_repeated(sample.labels) and len(values[name]) < MOST_LABEL_SETS:
            values[name].append(sample.value)
    return {name: fmean(each) if name.endswith("_fraction") else sum(each) for name, each in values.items()}


def _is_repeated(labels: Mapping[str, str]) -> bool:
    """Whether a label set is no part of the sum: a quantile, or what another label set says as well.

    SGLang's ranks of tensor and pipeline parallelism each tell of all requests, and its priorities stand beside the
    sum over them, which has an empty one.
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
    """A sample's value; None where it is no number, or none that a sum can be made with."""
    with suppress(ValueError):
        if isfinite(value := float(text)) and abs(value) < MOST_VALUE:
            return value
    return None
