"""One HTML file that says what was asked, what was found and whether to believe it."""

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from analysis import wording
from analysis.present import pages, tables
from analysis.present.plots import FIGURES, Data
from analysis.run.metrics import METRICS
from analysis.stats.distributions import LEVELS, values_needed
from analysis.wording import DASH, interval, number, percent

STATISTICS: Final = ("mean", *LEVELS, "count")
METHOD: Final = (
    "Every metric is over the measured requests that succeeded, those that ended after the window included. Warm-up "
    "requests are not. Throughput counts what completed and what arrived inside the window, whichever request it "
    "belongs to. No outlier is removed.",
    "Percentiles interpolate linearly between raw values. Intervals assume no distribution: they hold the true value "
    "in 95 of 100 such runs. Where a request has many values (its token gaps), they count requests, not values.",
)
STAMPS: Final = {
    "kernel": "Arrivals carry the kernel's own receive time of each segment, not the time this client came to read it; "
    "the difference, the client's lag, is reported. Clocks are monotonic.",
    "user": "Arrivals carry the time this client read them, because the kernel gave no receive times here: any delay "
    "of the client's own is part of the latencies and is not known. Clocks are monotonic.",
}


def render(run: Mapping[str, Any], summary: Mapping[str, Any], requests: pa.Table, telemetry: pa.Table | None) -> str:
    """The report of a run as one self-contained HTML page, from run.json, summary.json and the two tables."""
    return pages.render(
        "report.html",
        **_frame(run, summary),
        **_results(summary),
        sections=pages.sections(FIGURES, Data(requests, telemetry, summary)),
        errors=tables.errors(requests),
        sent=tables.sent(run),
        environment=tables.environment(run),
        configuration=list(tables.flatten(run)),
        notes=run["notes"],
        method=[*filter(None, [STAMPS.get(summary["client"]["stamps"])]), *METHOD],
        identities=[tables.identity(identity) for identity in summary["identities"]],
        definitions=[_named(name) for name in METRICS],
    )


def _frame(run: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": f"{run['model']} on {run['backend']}, scenario {run['scenario']['name']}",
        "created_at": run["created_at"],
        "run_id": run["run_id"],
        "verdict": summary["verdict"],
        "verdict_text": wording.verdict(run, summary),
        "asked": wording.asked(run),
        "found": wording.found(summary),
        "steady": wording.steady_window(summary),
    }


# --- results ----------------------------------------------------------------------------------------------------


def _results(summary: Mapping[str, Any]) -> dict[str, Any]:
    shown = [name for name in METRICS if summary["metrics"].get(name, {}).get("count")]
    lacking = [name for name in LEVELS if any(summary["metrics"][metric][name] is None for metric in shown)]
    return {
        "tiles": _tiles(summary),
        "statistics": STATISTICS,
        "metrics": [_named(name) | {"cells": _cells(summary["metrics"][name])} for name in shown],
        "too_few": _too_few(lacking),
        "throughput": tables.throughput(summary),
        "cost": tables.cost(summary["cost"]),
        "objectives": [tables.objective(objective) for objective in summary["slo"]],
        "gpus": [tables.gpu(gpu) for gpu in summary["gpu"]],
    }


def _tiles(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    p50, p99 = (wording.metric(summary, "ttft_ms", name) for name in ("p50", "p99"))
    throughput, failures, planned = summary["throughput"], wording.failures(summary), summary["requests"]["planned"]
    unknown = "too short a run" if throughput.get("rates_unknown") else ""
    rows = [
        ("Time to first token, median", number(p50), "ms", _interval_note(summary, "p50")),
        ("Time to first token, p99", number(p99), "ms", _interval_note(summary, "p99")),
        ("Speed for one user", number(wording.tokens_per_s_per_user(summary)), "tokens/s", "median"),
        ("Output, all users", number(throughput["output_tokens_per_s"]), "tokens/s", unknown),
        ("Requests completed", number(throughput["requests_per_s"]), "per second", unknown),
        ("Failed", number(failures), f"of {number(planned)}", percent(failures / planned) if planned else ""),
    ]
    return [{"label": label, "value": value, "unit": unit, "note": note} for label, value, unit, note in rows]


def _interval_note(summary: Mapping[str, Any], name: str) -> str:
    if wording.metric(summary, "ttft_ms", name) is None:
        return "too few requests"
    metric = summary["metrics"]["ttft_ms"]
    if bounds := interval(metric["ci95"][name]):
        return f"95% CI {bounds}" + (" (a longer run narrows it)" if metric["why"] else "")
    return "no interval: too short a run"


def _named(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return {
        "name": name,
        "label": wording.LABELS.get(name, name),
        "unit": metric.unit,
        "definition": metric.definition,
    }


def _cells(metric: Mapping[str, Any]) -> list[dict[str, str | None]]:
    cells = []
    for name in STATISTICS:
        bounds = interval(metric["ci95"].get(name))
        why = _too_few([name]) if metric[name] is None and name in LEVELS else metric["why"]
        cells.append({"value": number(metric[name]), "interval": bounds, "why": why})
    return cells


def _too_few(lacking: list[str]) -> str | None:
    if not lacking:
        return None
    wants = ", ".join(f"{name} wants {values_needed(LEVELS[name]):,}" for name in lacking)
    return f"{DASH} where a metric has too few values for the percentile: {wants}."
