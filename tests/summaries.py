"""Runs as their files have them, for tests that change a file's keys; the code itself works on the files' types."""

import copy
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from analysis import summary
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest
from bench.runs.sections import dump, load
from bench.types import AT_ONCE

_NO_LOAD: Final = dict.fromkeys(
    ("concurrency", "rate_per_s", "requests", "duration_s", "warmup_requests", "warmup_s")
) | {"arrivals": "poisson", "max_in_flight": 1, "overload": "wait"}
_ONE_TOKEN: Final = {"kind": "fixed", "low": 1, "high": 1}
_SCENARIO: Final = {
    "name": "chat", "description": "", "prompt_tokens": _ONE_TOKEN, "output_tokens": _ONE_TOKEN,
    "shared_prefix_tokens": 0, "concurrency": 1, "requests": 1, "warmup_requests": 0,
}  # fmt: skip
MANIFEST: Final = {
    "run_id": "id", "created_at": "2026-01-01T00:00:00+00:00", "argv": [], "backend": "llamacpp", "model": "tiny",
    "url": "http://127.0.0.1:8080", "launched": True, "scenario": _SCENARIO, "load": _NO_LOAD, "seed": 1,
    "plan_hash": "0" * 64, "tokenizer": {"source": "server", "exact": True}, "slo": [], "timeout_s": 120.0,
    "stall_timeout_s": 30.0, "workers": 1, "hardware": {"cpu": "a CPU", "cores": 2, "os": "Linux", "gpus": []},
    "server": {"name": "llama.cpp", "version": "b1", "model": "tiny", "context_tokens": None, "metrics_path": None,
               "settings": {}},
    "packages": {}, "git_commit": None, "interrupted": False, "notes": [],
}  # fmt: skip
SUMMARY: Final = {
    "run_id": "id", "backend": "llamacpp", "model": "tiny", "scenario": "chat", "plan_hash": "0" * 64, "seed": 1,
    "verdict": {"status": "valid"}, "window": {}, "metrics": {}, "throughput": {},
    "requests": {"planned": 0, "succeeded": 0, "failed": 0, "dropped": 0, "unfinished": 0},
}  # fmt: skip


def slo_result(met: bool | None) -> dict[str, Any]:
    """An objective's result as summary.json has it."""
    return {
        "objective": "ttft_ms<500", "metric": "ttft_ms", "percentile": None, "unit": "ms", "limit": 500.0, "met": met,
    }  # fmt: skip


def manifest_of(run: Mapping[str, Any]) -> RunManifest:
    """run.json as its type; what a test does not care for is filled in: a load without a rate is a closed loop."""
    found = filled(MANIFEST, run)
    if found["load"]["rate_per_s"] is None and found["load"]["arrivals"] != AT_ONCE:
        found["load"] = {**found["load"], "concurrency": found["load"]["concurrency"] or 1}
    return load(RunManifest, found, "run.json")


def summary_of(found: Mapping[str, Any]) -> RunSummary:
    """summary.json as its type; what a test does not care for is filled in."""
    return load(RunSummary, filled(SUMMARY, found), "summary.json")


def summarize(run: Mapping[str, Any], requests: pa.Table, telemetry: pa.Table | None) -> dict[str, Any]:
    """summary.json of a run; of the last runs each was made once, and is given out as a copy."""
    asked = (id(requests), id(telemetry), repr(run))  # nobody can change a table, and those that are kept keep their id
    if asked not in _summaries:
        made: dict[str, Any] = dump(summary.summarize(manifest_of(run), requests, telemetry))
        _summaries[asked] = (made, requests, telemetry)
        if len(_summaries) > SUMMARIES_KEPT:
            del _summaries[next(iter(_summaries))]
    return copy.deepcopy(_summaries[asked][0])


SUMMARIES_KEPT: Final = 50
_summaries: dict[tuple[int, int, str], tuple[dict[str, Any], pa.Table, pa.Table | None]] = {}


def typed(run: Mapping[str, Any], requests: pa.Table, telemetry: pa.Table | None) -> tuple[RunManifest, RunSummary]:
    """run.json and summary.json of a run as their types."""
    manifest = manifest_of(run)
    return manifest, summary.summarize(manifest, requests, telemetry)


def filled(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and of a base what is not, at any depth."""
    deeper = {
        name: filled(base[name], value)
        for name, value in given.items()
        if isinstance(value, dict) and isinstance(base.get(name), dict)
    }
    return {**base, **given, **deeper}
