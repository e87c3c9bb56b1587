"""The figures of a comparison: both sides' distributions one over the other."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa

from analysis.compare.comparison import Comparison
from analysis.present.charts import Plot, distribution
from analysis.present.document import Section
from analysis.present.figures import figure_sections
from analysis.run.metrics import METRICS, measured, successful
from analysis.stats.distributions import LEVELS, Floats, quantile
from analysis.wording import LABELS

OVERLAID: Final = ("ttft_ms", "itl_ms", "tpot_ms", "service_ms", "response_ms")


class Compared(NamedTuple):
    """The values of each metric that is drawn, by name, of all runs of a side together, and of how many runs."""

    base: Mapping[str, Floats]
    candidate: Mapping[str, Floats]
    runs: int


def values_of(requests: Sequence[pa.Table]) -> dict[str, Floats]:
    """What is drawn of the runs of a side: their tables of requests, taken together."""
    calls = [measured(successful(table)) for table in requests]
    return {name: np.concatenate([METRICS[name].values(table).values for table in calls]) for name in OVERLAID}


def sections(comparison: Comparison, base: Sequence[pa.Table], candidate: Sequence[pa.Table]) -> tuple[Section, ...]:
    """The figures of a comparison, from the tables of requests of its runs."""
    runs = len(comparison.base) + len(comparison.candidate)
    return figure_sections(FIGURES, Compared(values_of(base), values_of(candidate), runs))


def _overlaid(name: str, compared: Compared) -> go.Figure | None:
    curves = {"base": compared.base[name], "candidate": compared.candidate[name]}
    base = np.sort(curves["base"])
    marked = {mark: quantile(base, LEVELS[mark]) for mark in ("p50", "p99")}
    together = "" if compared.runs == 2 else f" All {compared.runs} runs, those of a side taken together."
    caption = f"The share of values at or below each, of requests that succeeded; marked is the base.{together}"
    return distribution(curves, f"{LABELS[name]}, ms", "share of values", caption, marked)


FIGURES: Final[Mapping[str, Plot[Compared]]] = {
    name: Plot("Distributions", LABELS[name], partial(_overlaid, name), wide=False) for name in OVERLAID
}
