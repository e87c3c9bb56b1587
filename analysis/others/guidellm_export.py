"""A run of ours as GuideLLM's benchmarks.json, version 2, accepted by its own `GenerativeBenchmarksReport`."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.others.guidellm import METRICS as GUIDELLM_METRICS
from analysis.others.guidellm import VERSION
from analysis.run.metrics import METRICS, NS_PER_S, column, is_successful, keep, measured, successful
from analysis.run.summary import RunSummary
from analysis.stats.distributions import Floats
from bench.runs.manifest import RunManifest
from bench.types import Lengths

_LEVELS: Final = {"p001": 0.001, "p01": 0.01, "p05": 0.05, "p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9,
                  "p95": 0.95, "p99": 0.99, "p999": 0.999}  # fmt: skip
UNKNOWN: Final = "nan"
"""A value that their reader accepts as NaN, which JSON itself does not have."""
_NOTHING: Final = {**dict.fromkeys(("mean", "median", "mode", "variance", "std_dev", "min", "max", "total_sum"), 0.0),
                   "count": 0, "percentiles": dict.fromkeys(_LEVELS, 0.0)}  # fmt: skip
"""What they write if nothing was counted."""
_RATES: Final = {
    "requests_per_second": "requests_per_s",
    "output_tokens_per_second": "output_tokens_per_s",
    "tokens_per_second": "total_tokens_per_s",
}
# Required by their report but not measured by ours: scheduler delays, counts of words and of media.
_DELAYS: Final = ("queued_time_avg", "resolve_start_delay_avg", "resolve_targeted_start_delay_avg",
                  "request_start_delay_avg", "resolve_end_delay_avg", "resolve_time_avg", "finalized_delay_avg",
                  "processed_delay_avg")  # fmt: skip
_EMPTY: Final = ("request_concurrency", "request_streaming_iterations_count", "total_token_count",
                 "time_per_output_token_ms", "time_to_last_round_trip_ms", "avg_round_trip_time_ms",
                 "prompt_tokens_per_second", "output_tokens_per_iteration", "iter_tokens_per_iteration")  # fmt: skip
_KINDS: Final = ("input", "input_per_second", "input_concurrency", "output", "output_per_second", "output_concurrency",
                 "total", "total_per_second", "total_concurrency")  # fmt: skip
# Their name for a time, and our column.
_TIMINGS: Final = {
    "targeted_start": "due_ns",
    "request_start": "sent_ns",
    "first_token_iteration": "first_token_ns",
    "first_output_token_iteration": "first_text_ns",
    "last_token_iteration": "last_token_ns",
    "request_end": "end_ns",
}
_MEDIA: Final = {
    "image": ("tokens", "images", "pixels", "bytes"),
    "video": ("tokens", "frames", "seconds", "bytes"),
    "audio": ("tokens", "samples", "seconds", "bytes"),
    "tool_call": ("tokens", "mixed_tokens", "count"),
}


def document(run: RunManifest, summary: RunSummary, requests: pa.Table) -> dict[str, Any]:
    """The report: one benchmark, its figures, and a row for each measured request."""
    # Times are on the wall clock, as exactly as run.json has the run's start.
    zero_s = run.created.timestamp()
    start_s = zero_s + (summary.window.start_s or 0.0)
    end_s = zero_s + float(np.nanmax(column(measured(requests), "end_ns"), initial=0.0)) / NS_PER_S
    backend = {"kind": "openai_http", "target": run.url, "model": run.model}
    return {
        "type_": "generative_benchmarks_report",
        "metadata": {"version": VERSION, "guidellm_version": "", "python_version": "", "platform": run.hardware.os},
        "config": {"spec": {"backend": backend, "profile": _profile(run), "data": [_data(run)]}},
        "benchmarks": [
            {
                "type_": "generative_benchmark",
                "config": {
                    "run_id": run.run_id,
                    "run_index": 0,
                    "strategy": _strategy(run),
                    "constraints": {},
                    "profile": _profile(run),
                    "requests": {},
                    "backend": backend,
                    "environment": {},
                },
                "scheduler_state": {"start_time": start_s, "end_time": end_s},
                "scheduler_metrics": _scheduled(summary, start_s, end_s),
                "metrics": _metrics(summary, requests),
                "requests": _requests(requests, zero_s),
                "start_time": start_s,
                "end_time": end_s,
                "duration": summary.window.seconds,
            }
        ],
    }


def _strategy(run: RunManifest) -> dict[str, Any]:
    """How requests were sent, in their terms; any other load counts as "throughput", all at once."""
    load = run.load
    if load.concurrency is not None:
        return {"type_": "concurrent", "streams": load.concurrency}
    if load.rate_per_s is not None and load.arrivals in ("poisson", "constant"):
        return {"type_": load.arrivals, "rate": load.rate_per_s, "max_concurrency": load.max_in_flight}
    return {"type_": "throughput", "max_concurrency": load.max_in_flight}


def _profile(run: RunManifest) -> dict[str, Any]:
    strategy = _strategy(run)
    if strategy["type_"] == "concurrent":
        return {"kind": "concurrent", "streams": [strategy["streams"]]}
    if "rate" in strategy:
        return {"kind": strategy["type_"], "rate": [strategy["rate"]]}
    return {"kind": "throughput", "max_concurrency": run.load.max_in_flight}


def _data(run: RunManifest) -> dict[str, Any]:
    def mean(lengths: Lengths) -> int:
        return max(1, round((lengths.low + lengths.high) / 2))

    asked = run.scenario
    return {"kind": "synthetic_text", "prompt_tokens": mean(asked.prompt_tokens),
            "output_tokens": mean(asked.output_tokens)}  # fmt: skip


def _scheduled(summary: RunSummary, start_s: float, end_s: float) -> dict[str, Any]:
    made = summary.requests
    late_ms, took_ms = summary.metric("lateness_ms").mean, summary.metric("service_ms").mean
    return {
        "start_time": start_s,
        "request_start_time": start_s,
        "measure_start_time": start_s,
        "measure_end_time": end_s,
        "request_end_time": end_s,
        "end_time": end_s,
        "requests_made": {"successful": made.succeeded, "errored": made.missed, "total": made.planned},
        **dict.fromkeys(_DELAYS, UNKNOWN),
        "request_targeted_start_delay_avg": UNKNOWN if late_ms is None else late_ms / 1000,
        "request_time_avg": UNKNOWN if took_ms is None else took_ms / 1000,
    }


def _metrics(summary: RunSummary, requests: pa.Table) -> dict[str, Any]:
    """Figures of the successful requests; the failed ones have none."""
    made, calls = summary.requests, measured(successful(requests))
    found = {
        theirs: _of_status(_distribution(METRICS[ours].values(calls).values / scale))
        for theirs, ours, scale in GUIDELLM_METRICS
    }
    rates = {
        theirs: _of_status(_distribution(np.array([rate])))  # over the whole window, and so a single value
        for theirs, ours in _RATES.items()
        if (rate := getattr(summary.throughput, ours)) is not None
    }
    return {
        "request_totals": {
            "successful": made.succeeded,
            "errored": made.missed,
            "incomplete": 0,
            "total": made.planned,
        },
        **{name: _of_status(None) for name in (*_EMPTY, *_RATES)},
        **found,
        **rates,
        "text": {unit: {kind: _of_status(None) for kind in _KINDS} for unit in ("tokens", "words", "characters")},
        **{kind: {unit: dict.fromkeys(_KINDS) for unit in units} for kind, units in _MEDIA.items()},
        "slo_attainment": summary.throughput.slo_attainment,
        "request_goodput": summary.throughput.goodput_rps,
    }


def _of_status(figures: Mapping[str, Any] | None) -> dict[str, Any]:
    """Figures of the successful requests, repeated as those of all, because failed ones have no figures here."""
    statuses = {"successful": figures, "errored": None, "incomplete": None, "total": figures}
    return {status: each or _NOTHING for status, each in statuses.items()}


def _distribution(values: Floats) -> dict[str, Any] | None:
    if not len(values):
        return None
    seen, times = np.unique(values, return_counts=True)
    std = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "mode": float(seen[times.argmax()]),
        "variance": std**2,
        "std_dev": std,
        "min": float(values.min()),
        "max": float(values.max()),
        "count": len(values),
        "total_sum": float(values.sum()),
        "percentiles": {name: float(np.quantile(values, level)) for name, level in _LEVELS.items()},
    }


def _requests(requests: pa.Table, zero_s: float) -> dict[str, Any]:
    calls = measured(requests)
    ok = is_successful(calls)
    return {
        "successful": _rows(keep(calls, ok), zero_s, "completed"),
        "errored": _rows(keep(calls, pc.invert(ok)), zero_s, "errored"),
        "incomplete": [],
    }


def _rows(calls: pa.Table, zero_s: float, status: str) -> list[dict[str, Any]]:
    rows = []
    for row in calls.select(["seq", "prompt_tokens", "output_tokens", "error", *_TIMINGS.values()]).to_pylist():
        own = {"request_id": str(row["seq"])}
        tokens = {name: row[name] for name in ("prompt_tokens", "output_tokens")}
        timings = {
            theirs: None if row[ours] is None else zero_s + row[ours] / NS_PER_S for theirs, ours in _TIMINGS.items()
        }
        rows.append(
            {
                "type_": "generative_request_stats",
                **own,
                "info": {**own, "status": status, "timings": timings, "error": row["error"]},
                "input_metrics": {"text_tokens": row["prompt_tokens"]},
                "output_metrics": {"text_tokens": row["output_tokens"]},
                "request_start_time": timings["request_start"],
                "request_end_time": timings["request_end"],
                **tokens,
            }
        )
    return rows
