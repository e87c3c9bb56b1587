"""A run of ours in the formats of other tools: vLLM, AIPerf, GuideLLM, and OpenMetrics for a time series database."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from analysis.others import guidellm_export
from analysis.others.aiperf import NAMES as AIPERF_NAMES
from analysis.others.vllm import VLLM
from analysis.run.metrics import METRICS, NS_PER_S, column, flat, is_successful, measured
from analysis.run.sections import MetricSummary
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest

_VLLM_STATISTICS: Final = {"mean": "mean", "median": "p50", "std": "std", "p90": "p90", "p95": "p95", "p99": "p99"}
_STATISTICS: Final = ("mean", "std", "min", "max", "p50", "p90", "p95", "p99")
_RATES: Final = ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "goodput_rps")


def vllm(run: RunManifest, summary: RunSummary, requests: pa.Table) -> str:
    """What `vllm bench serve --save-detailed` writes; its gaps are those between arrivals."""
    calls = measured(requests)
    ok = is_successful(calls).to_numpy()
    served, load = summary.throughput, run.load
    figures = {
        f"{theirs}_{name}_ms": getattr(summary.metric(ours), statistic)
        for name, ours in VLLM.items()
        for theirs, statistic in _VLLM_STATISTICS.items()
    }
    sent_s, first_s, end_s = (column(calls, name) / NS_PER_S for name in ("sent_ns", "first_token_ns", "end_ns"))
    return _json(
        {
            "date": run.created.strftime("%Y%m%d-%H%M%S"),
            "endpoint_type": run.backend,
            "backend": run.backend,
            "label": None,
            "model_id": run.model,
            "tokenizer_id": None,
            "num_prompts": summary.requests.planned,
            "request_rate": "inf" if load.rate_per_s is None else load.rate_per_s,
            "burstiness": 1.0 if load.arrivals == "poisson" else None,
            "max_concurrency": load.concurrency,
            "duration": summary.window.seconds,
            "completed": summary.requests.succeeded,
            "failed": summary.requests.missed,
            "total_input_tokens": _total(calls, "prompt_tokens", ok),
            "total_output_tokens": _total(calls, "output_tokens", ok),
            "request_throughput": served.requests_per_s,
            "request_goodput": served.goodput_rps,
            "output_throughput": served.output_tokens_per_s,
            "total_token_throughput": served.total_tokens_per_s,
            **figures,
            "input_lens": _whole(calls, "prompt_tokens"),
            "output_lens": _whole(calls, "output_tokens"),
            "ttfts": _where(ok, first_s - sent_s),
            "itls": _gaps_s(calls, ok),
            "latencies": _where(ok, end_s - sent_s),
            "start_times": _where(~np.isnan(sent_s), sent_s),
            "generated_texts": [""] * calls.num_rows,
            "errors": ["" if good else str(why) for good, why in zip(ok, calls["error"].to_pylist(), strict=True)],
        }
    )


def aiperf(run: RunManifest, summary: RunSummary, requests: pa.Table) -> str:
    """What AIPerf writes as profile_export_aiperf.json."""
    served = summary.throughput
    single = {
        "request_throughput": ("requests/sec", served.requests_per_s),
        "output_token_throughput": ("tokens/sec", served.output_tokens_per_s),
        "total_token_throughput": ("tokens/sec", served.total_tokens_per_s),
        "goodput": ("requests/sec", served.goodput_rps),
        "request_count": ("requests", summary.requests.succeeded),
        "error_request_count": ("requests", summary.requests.missed),
        "benchmark_duration": ("sec", summary.window.seconds),
    }
    return _json(
        {
            "schema_version": "1.4",
            "aiperf_version": None,
            **{name: {"unit": unit, "avg": value} for name, (unit, value) in single.items() if value is not None},
            **{
                name: _aiperf_metric(METRICS[ours].unit, summary.metric(ours))
                for name, ours in AIPERF_NAMES.items()
                if summary.metric(ours).count
            },
            "input_config": {
                "models": {"items": [{"name": run.model}]},
                "endpoint": {"urls": [run.url], "type": "chat", "streaming": True},
                "datasets": [_aiperf_dataset(run, summary)],
                "phases": [_aiperf_phase(run, summary)],
            },
            "error_summary": [
                {"error_details": {"code": None, "type": each.code, "message": each.message}, "count": each.count}
                for each in summary.failures
            ],
            "start_time": run.created_at,
        }
    )


def guidellm(run: RunManifest, summary: RunSummary, requests: pa.Table) -> str:
    """What GuideLLM writes as benchmarks.json."""
    return _json(guidellm_export.document(run, summary, requests))


def openmetrics(run: RunManifest, summary: RunSummary, requests: pa.Table) -> str:
    """A gauge for each metric, with a sample for each statistic; times in seconds, as the standard requires."""
    labels = f'run_id="{_label(run.run_id)}",backend="{_label(run.backend)}",model="{_label(run.model)}"'
    lines = []
    for name, metric in METRICS.items():
        figures = summary.metric(name)
        said = {each: value for each in _STATISTICS if (value := getattr(figures, each)) is not None}
        if not said:
            continue
        family = f"bench_{name.removesuffix('_ms')}_seconds" if metric.unit == "ms" else f"bench_{name}"
        lines += [f"# TYPE {family} gauge", *([f"# UNIT {family} seconds"] if metric.unit == "ms" else [])]
        scale = 1000.0 if metric.unit == "ms" else 1.0
        lines += [f'{family}{{{labels},statistic="{each}"}} {value / scale!r}' for each, value in said.items()]
    for name in _RATES:
        if (rate := getattr(summary.throughput, name)) is not None:
            lines += [f"# TYPE bench_{name} gauge", f"bench_{name}{{{labels}}} {rate!r}"]
    status = summary.verdict.status
    lines += ["# TYPE bench_verdict gauge", f'bench_verdict{{{labels},status="{status}"}} 1', "# EOF", ""]
    return "\n".join(lines)


EXPORTS: Final[Mapping[str, Callable[[RunManifest, RunSummary, pa.Table], str]]] = {
    "vllm": vllm,
    "aiperf": aiperf,
    "guidellm": guidellm,
    "openmetrics": openmetrics,
}
"""For each format, the function that makes a run's file of it."""


def _aiperf_phase(run: RunManifest, summary: RunSummary) -> dict[str, Any]:
    """How requests were sent, in the tools' own terms; any other load counts as a fixed number in flight."""
    named = {"name": "profiling", "kind": "profiling", "requests": summary.requests.planned}
    if run.load.rate_per_s is not None and run.load.arrivals in ("poisson", "constant"):
        return named | {"type": run.load.arrivals, "rate": run.load.rate_per_s}
    return named | {"type": "concurrency", "concurrency": run.load.concurrency or run.load.max_in_flight}


def _aiperf_dataset(run: RunManifest, summary: RunSummary) -> dict[str, Any]:
    asked = {"isl": run.scenario.prompt_tokens, "osl": run.scenario.output_tokens}
    lengths = {name: {"mean": (each.low + each.high) / 2} for name, each in asked.items()}
    return {"name": run.scenario.name, "type": "synthetic", "entries": summary.requests.planned, "prompts": lengths}


def _aiperf_metric(unit: str, figures: MetricSummary) -> dict[str, Any]:
    said = {"avg" if each == "mean" else each: getattr(figures, each) for each in _STATISTICS}
    return {"unit": unit, **{name: value for name, value in said.items() if value is not None}, "count": figures.count}


def _gaps_s(calls: pa.Table, ok: Any) -> list[list[float]]:
    t_ns, offsets = flat(calls, "arrivals_ns")
    each = [t_ns[low:high] for low, high in pairwise(offsets)]
    return [(np.diff(own) / NS_PER_S).tolist() if good else [] for own, good in zip(each, ok, strict=True)]


def _total(calls: pa.Table, name: str, ok: Any) -> int:
    return int(np.nansum(column(calls, name)[ok]))


def _whole(calls: pa.Table, name: str) -> list[int]:
    return [value or 0 for value in calls[name].to_pylist()]


def _where(known: Any, values: Any) -> list[float]:
    """The values; 0 for missing ones, as in vLLM's file."""
    return [float(value) if good and value == value else 0.0 for good, value in zip(known, values, strict=True)]


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _json(content: Mapping[str, Any]) -> str:
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
