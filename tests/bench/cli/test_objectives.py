"""The exit code of `run --slo`, for every metric that an objective can bound."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.run.metrics import POOLED
from analysis.wording import LATENCIES
from bench.app import summarise
from bench.app.results import code_of_summary
from bench.truth.server import TruthOptions, launch
from tests.commands import bench

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)

ASKED = [
    *("run", "--backend", "openai", "--model", "truth", "--requests", "16", "--warmup", "0", "--backoff", "off"),
    *("--concurrency", "16", "--prompt-tokens", "40", "--output-tokens", "3", "--quiet", "--inconclusive", "fail"),
]
ABSENT = {"connect_ms", "retrieval_ms", "rag_response_ms"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that refuses two of 16 requests: of a p85 and a p90 neither is certain."""
    with launch(TruthOptions(ttft_ms=20, gap_ms=10, tokens=3, faults="status:503/8")) as server:
        yield server.url


@pytest.mark.parametrize(
    ("bound", "without", "codes"),
    [
        ("p50<60s", set(), (0, 0, 0)),
        ("p50<0.0001", ABSENT, (1, 1, 1)),
        ("p90<60s", {*POOLED, *ABSENT}, (1, 0, 1)),
        ("p85<60s", {*POOLED}, (0, 0, 1)),
    ],
    ids=["met", "missed", "missed as seen", "met as seen"],
)
def test_every_metric_decides_the_exit_code_by_what_is_certain_of_it(
    bound: str, without: set[str], codes: tuple[int, int, int], url: str, tmp_path: Path
) -> None:
    asked = [f"{metric}:{bound}" for metric in LATENCIES if metric not in without]
    out = tmp_path / "run"
    flags = [flag for objective in asked for flag in ("--slo", objective)]
    done = bench(*ASKED, "--url", url, "--out", out, *flags, "--goodput", "ttft:0.0001")
    summary = summarise(out)
    assert summary.requests.by_error == {"http_503": 2}
    # A client that others on its machine kept waiting is not believed, whatever it has seen.
    believed = replace(summary, verdict=replace(summary.verdict, status="suspect"))
    assert done.returncode == (3 if summary.verdict.status == "invalid" else codes[2]), done.stderr
    found = {
        each.objective: tuple(
            code_of_summary(replace(believed, slo=(each,), inconclusive=choice)) for choice in (None, "pass", "fail")
        )
        for each in summary.slo
        if not each.objective.endswith("(goodput)")
    }
    assert found == dict.fromkeys(asked, codes)
