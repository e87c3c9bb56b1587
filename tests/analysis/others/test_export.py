"""A run of ours, written as another tool's file and read again as theirs, says the same."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.others.export import EXPORTS
from analysis.others.formats import results_in
from analysis.others.imported import Imported
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest
from tests.conftest import build_run
from tests.summaries import typed

METRICS = ("ttft_ms", "tpot_ms", "service_ms")
NEEDED = Path(__file__).parents[2] / "fixtures" / "exported" / "guidellm-0.8.1.json"
"""The keys without which GuideLLM's own reader refuses a report: found by leaving out one after the other."""


@pytest.fixture(scope="module")
def run() -> tuple[RunManifest, RunSummary, pa.Table]:
    manifest, requests, telemetry = build_run(requests=120, failed=[20, 90], model='a"b\\c')
    return *typed(manifest, requests, telemetry), requests


def again(form: str, run: tuple[RunManifest, RunSummary, pa.Table], folder: Path) -> Imported:
    file = folder / form
    file.write_text(EXPORTS[form](*run))
    (found,) = results_in(file)
    return found


@pytest.mark.parametrize("form", ["vllm", "aiperf", "guidellm"])
def test_what_is_written_is_read_again_with_the_same_figures(form: str, run: Any, tmp_path: Path) -> None:
    manifest, summary, _ = run
    found = again(form, run, tmp_path)
    assert found.model == manifest.model and found.concurrency == manifest.load.concurrency
    assert (found.requests.succeeded, found.requests.missed) == (118, 2)
    for metric in METRICS:
        for statistic in ("mean", "p50", "p90", "p99"):
            assert getattr(found.metrics[metric], statistic) == pytest.approx(
                getattr(summary.metric(metric), statistic)
            )
    assert found.throughput.requests_per_s == summary.throughput.requests_per_s
    assert found.throughput.output_tokens_per_s == summary.throughput.output_tokens_per_s


@pytest.mark.parametrize("form", ["vllm", "aiperf"])
def test_gaps_between_chunks_are_told_where_the_other_tool_has_them(form: str, run: Any, tmp_path: Path) -> None:
    assert again(form, run, tmp_path).metrics["chunk_gap_ms"].p99 == run[1].metric("chunk_gap_ms").p99


def lacking(needed: Any, found: Any, place: str = "") -> list[str]:
    """The keys that something lacks."""
    if isinstance(needed, list):
        return [key for each in needed for key in lacking(each, found[0], f"{place}[]")]
    if not isinstance(needed, dict):
        return []
    return [
        key
        for name, inner in needed.items()
        for key in (lacking(inner, found[name], f"{place}.{name}") if name in found else [f"{place}.{name}"])
    ]


@pytest.mark.parametrize("arrivals", [None, "poisson", "constant", "gamma:2"])
def test_guidellms_form_has_all_that_its_reader_cannot_do_without(arrivals: str | None, run: Any) -> None:
    manifest, summary, requests = run
    if arrivals is not None:
        load = replace(manifest.load, concurrency=None, rate_per_s=5.0, arrivals=arrivals)
        manifest = replace(manifest, load=load)
    report = json.loads(EXPORTS["guidellm"](manifest, summary, requests))
    needed = json.loads(NEEDED.read_text())
    strategy = dict.fromkeys(["type_", *(["rate"] if arrivals in ("poisson", "constant") else [])])
    needed["benchmarks"][0]["config"]["strategy"] = strategy
    needed["config"]["spec"]["profile"] = {"kind": None}
    assert lacking(needed, report) == []
    (benchmark,) = report["benchmarks"]
    assert benchmark["scheduler_metrics"]["queued_time_avg"] == "nan"


def test_rows_of_guidellms_form_are_ours_and_a_run_of_which_nothing_succeeded_has_figures_of_nothing(
    run: Any, synthetic_run: Any, tmp_path: Path
) -> None:
    found = again("guidellm", run, tmp_path)
    assert (found.calls.num_rows, found.requests.planned) == (120, 120)
    assert found.metrics["prompt_tokens"].mean == run[1].metric("prompt_tokens").mean
    manifest, requests, telemetry = synthetic_run(requests=10, failed=range(10))
    found = again("guidellm", (*typed(manifest, requests, telemetry), requests), tmp_path)
    assert (found.requests.succeeded, found.requests.missed, found.metrics) == (0, 10, {})


def test_rows_of_vllms_form_are_ours(run: Any, tmp_path: Path) -> None:
    _, summary, requests = run
    found = again("vllm", run, tmp_path)
    assert found.calls.num_rows == requests.num_rows
    assert found.metrics["prompt_tokens"].mean == summary.metric("prompt_tokens").mean
    document = json.loads((tmp_path / "vllm").read_text())
    failed = [i for i, error in enumerate(document["errors"]) if error]
    assert len(failed) == 2 and all(document["ttfts"][i] == 0.0 and document["itls"][i] == [] for i in failed)


def test_openmetrics_has_one_family_a_metric_in_seconds_and_an_end(run: Any) -> None:
    _, summary, _ = run
    lines = EXPORTS["openmetrics"](*run).splitlines()
    assert lines[-1] == "# EOF"
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    samples = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r'\w+\{(\w+="([^"\\]|\\.)*",?)+\} [-+.e\d]+', line) for line in samples)
    (p50,) = [line for line in samples if line.startswith("bench_ttft_seconds") and 'statistic="p50"' in line]
    assert float(p50.split()[-1]) * 1000 == pytest.approx(summary.metric("ttft_ms").p50)
    assert 'status="valid"' in "".join(samples) or 'status="suspect"' in "".join(samples)
