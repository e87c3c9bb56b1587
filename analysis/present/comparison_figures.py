"""The figures of a comparison: all sides' distributions one over the other."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.present.charts import Plot, distribution
from analysis.present.document import Section
from analysis.present.figure import Figure
from analysis.present.figures import figure_sections
from analysis.run.metrics import METRICS, measured, successful
from analysis.stats.distributions import LEVELS, Floats, quantile
from analysis.wording import LABELS

OVERLAID: Final = ("ttft_ms", "itl_ms", "tpot_ms", "service_ms", "response_ms")


class Compared(NamedTuple):
    """The values of each metric that is drawn by side, of all runs of a side together, and of how many runs."""

    sides: Mapping[str, Mapping[str, Floats]]
    runs: int


def values_of(requests: Sequence[pa.Table]) -> dict[str, Floats]:
    """What is drawn of the runs of a side: their tables of requests, taken together."""
    calls = [measured(successful(table)) for table in requests]
    return {name: np.concatenate([METRICS[name].values(table).values for table in calls]) for name in OVERLAID}


def sections(sides: Mapping[str, Sequence[pa.Table]]) -> tuple[Section, ...]:
    """The figures of a comparison, from the tables of requests of the runs of each side; the first is the base."""
    values = {name: values_of(requests) for name, requests in sides.items()}
    return figure_sections(FIGURES, Compared(values, sum(map(len, sides.values()))))


def _overlaid(name: str, compared: Compared) -> Figure | None:
    curves = {side: values[name] for side, values in compared.sides.items() if len(values[name])}
    if len(curves) < 2:
        return None
    first = np.sort(next(iter(curves.values())))
    marked = {mark: quantile(first, LEVELS[mark]) for mark in ("p50", "p99")}
    together = "" if compared.runs == len(compared.sides) else (f" All {compared.runs} runs, pooled by side.")
    caption = f"Cumulative, over requests that succeeded; percentiles are marked on {next(iter(curves))}.{together}"
    return distribution(curves, f"{LABELS[name]}, ms", "share of values", caption, marked)


FIGURES: Final[Mapping[str, Plot[Compared]]] = {
    name: Plot("Distributions", LABELS[name], partial(_overlaid, name), wide=False) for name in OVERLAID
}
