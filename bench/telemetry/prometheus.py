"""Reads the few series we chart out of a server's Prometheus text exposition (format 0.0.4)."""

import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from statistics import fmean

# A quoted label value may hold spaces, commas, braces and escaped quotes.
_SERIES = re.compile(
    r"""(?P<metric>[\w:]+)
        (?P<labels>\{ (?: [^"}] | "(?:[^"\\]|\\.)*" )* \})?
        [ \t]+ (?P<value>\S+)""",
    re.VERBOSE,
)


MOST_LABEL_SETS = 10_000
_LONGEST_LINE = 4096
MOST_VALUE = 1e18  # of a counter of bytes, of a time in ns; the squares of larger ones are no numbers


def read_metrics(text: str, metrics: Mapping[str, str]) -> dict[str, float]:
    """Value of each metric named in `metrics` (our name -> the server's), one number over all its label sets.

    Label sets (data-parallel engines, say) are summed; a `*_fraction` is averaged. A histogram or summary gives
    `<name>_sum` and `<name>_count`. What the text lacks, or gives as NaN, infinity or no number, is left out.
    """
    wanted = {metric + part: name + part for name, metric in metrics.items() for part in ("", "_sum", "_count")}
    prefixes = tuple(metrics.values())
    values: defaultdict[str, list[float]] = defaultdict(list)
    for line in text.split("\n"):
        # Most of an engine's thousands of lines are of no interest: reject them before the pattern runs.
        if not line.startswith(prefixes) or len(line) > _LONGEST_LINE or not (series := _SERIES.match(line)):
            continue
        name = wanted.get(series["metric"])
        is_quantile = 'quantile="' in (series["labels"] or "")
        value = _number(series["value"])
        if name and not is_quantile and value is not None and len(values[name]) < MOST_LABEL_SETS:
            values[name].append(value)
    return {name: fmean(each) if name.endswith("_fraction") else sum(each) for name, each in values.items()}


def _number(text: str) -> float | None:
    """A sample's value; None where it is no number, or none that a sum can be made with."""
    with suppress(ValueError):
        if isfinite(value := float(text)) and abs(value) < MOST_VALUE:
            return value
    return None
