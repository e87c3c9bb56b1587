"""One page of each kind, of a usual run, and the largest report that a run can make."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

import numpy as np
import pyarrow as pa

from analysis.capacity.search import Capacity
from analysis.compare.comparison import Run, compare
from analysis.compare.measures import thresholds
from analysis.present import (
    breakeven_page,
    capacity_figures,
    comparison_figures,
    of_capacity,
    of_comparison,
    of_repeats,
    repeats_figures,
    report,
    to_html,
)
from analysis.present.of_capacity import CapacityResult, LoadPoint
from analysis.repeats import summarize as over_runs
from tests.analysis.comparisons import build_comparison
from tests.analysis.sides import build_one
from tests.conftest import build_run
from tests.summaries import typed

SAMPLES_PER_S: Final = 20


def usual_report() -> str:
    """200 requests on one GPU."""
    run, requests, telemetry = build_run(warmup=8, failed=[20], slo=["ttft_ms:p99<500"])
    return report.render(*typed(run, requests, telemetry), requests, telemetry)


def large_report() -> str:
    """20,000 requests, and ten minutes of eight GPUs sampled twenty times a second."""
    run, requests, _ = build_run(requests=20_000, tokens=4, concurrency=256, failed=range(0, 10_000, 2), gpus=8)
    telemetry = sampled(gpus=8, seconds=600)
    return report.render(*typed(run, requests, telemetry), requests, telemetry)


def sampled(gpus: int, seconds: int) -> pa.Table:
    """telemetry.parquet with every series of every GPU, no two values alike."""
    rng = np.random.default_rng(2)
    n = seconds * SAMPLES_PER_S
    names = ("util_pct", "memory_used_bytes", "power_w", "sm_clock_mhz")
    series = [(f"gpu{gpu}", name) for gpu in range(gpus) for name in names]
    return pa.table({
        "t_ns": np.tile(np.linspace(0, seconds * 1e9, n).astype(np.int64), len(series)),
        "source": [source for source, _ in series for _ in range(n)],
        "name": [name for _, name in series for _ in range(n)],
        "value": rng.random(n * len(series)) * 100,
    })  # fmt: skip


def break_even() -> str:
    """One replica against three APIs."""
    return breakeven_page.render(build_comparison())


def one_figure() -> str:
    """The staircase of one replica and the lines of three APIs."""
    return breakeven_page.figure_pages(build_comparison())["cost"]


def capacity() -> str:
    """Five runs at four rates."""
    runs = (
        LoadPoint(1.0, "met", 0.99, 0.99, 120.0, 310.0),
        LoadPoint(2.0, "met", 1.98, 1.9, 160.0, 480.0),
        LoadPoint(2.0, "met", 1.97, 1.89, 166.0, None),
        LoadPoint(2.5, "missed", 2.4, 1.85, 190.0, 700.0),
        LoadPoint(4.0, "saturated", 2.6, 0.9, 2400.0, 9000.0),
    )
    found = CapacityResult(runs, Capacity(2.0, 1.0, 2.5, "saturated above it"), Decimal("0.36"))
    figures = capacity_figures.sections(found)
    objectives = ["ttft_ms:p99<500"]
    return to_html.render(of_capacity.document(found, of="tiny on llamacpp", objectives=objectives, figures=figures))


def comparison() -> str:
    """Two runs of 1,000 requests each."""
    rng = np.random.default_rng(4)
    (base, before), (candidate, after) = build_one("before", rng), build_one("after", rng, slower=1.5)
    found = compare([base], [candidate], thresholds([]), (before, after))
    return to_html.render(
        of_comparison.document(found, comparison_figures.sections({"base": [before], "candidate": [after]}))
    )


def repeats() -> str:
    """Five runs."""
    runs = []
    for number, ttft_ms in enumerate((80.0, 90.0, 85.0, 100.0, 95.0), 1):
        run, requests, _ = build_run(requests=120, ttft_ms=ttft_ms)
        runs.append(Run(f"{number:02}", *typed(run, requests, None)))
    found = over_runs(runs, 5, keep_server=False)
    return to_html.render(of_repeats.document(found, runs, repeats_figures.sections(found, runs)))


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "report": usual_report,
    "largest report": large_report,
    "break-even": break_even,
    "one figure": one_figure,
    "capacity": capacity,
    "comparison": comparison,
    "repeats": repeats,
}
