"""A run of ours, written as another tool's file and read again as theirs, says the same."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.others.export import EXPORTS
from analysis.others.formats import results_in
from analysis.others.imported import Imported
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest
from tests.summaries import typed

METRICS = ("ttft_ms", "tpot_ms", "chunk_gap_ms", "service_ms")


@pytest.fixture
def run(synthetic_run: Any) -> tuple[RunManifest, RunSummary, pa.Table]:
    manifest, requests, telemetry = synthetic_run(requests=120, failed=[20, 90], model='a"b\\c')
    return *typed(manifest, requests, telemetry), requests


def again(form: str, run: tuple[RunManifest, RunSummary, pa.Table], folder: Path) -> Imported:
    file = folder / form
    file.write_text(EXPORTS[form](*run))
    (found,) = results_in(file)
    return found


@pytest.mark.parametrize("form", ["vllm", "aiperf"])
def test_what_is_written_is_read_again_with_the_same_figures(form: str, run: Any, tmp_path: Path) -> None:
    manifest, summary, _ = run
    found = again(form, run, tmp_path)
    assert found.model == manifest.model and found.concurrency == manifest.load.concurrency
    assert (found.requests.succeeded, found.requests.missed) == (118, 2)
    for metric in METRICS:
        for statistic in ("mean", "p50", "p90", "p99"):
            assert getattr(found.metrics[metric], statistic) == getattr(summary.metric(metric), statistic)
    assert found.throughput.requests_per_s == summary.throughput.requests_per_s
    assert found.throughput.output_tokens_per_s == summary.throughput.output_tokens_per_s


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
