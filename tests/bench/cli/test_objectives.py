"""The exit code of `run --slo`, for every metric that an objective can bound."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.run import summary as summaries
from analysis.run.metrics import POOLED
from analysis.run.summary import RunSummary
from analysis.summary import summarize
from analysis.wording import LATENCIES
from bench.app.results import code_of_summary
from bench.runs import manifest
from bench.runs.table import read_requests
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


BOUNDS = {
    "p50<60s": (set(), (0, 0, 0)),
    "p50<0.0001": (ABSENT, (1, 1, 1)),
    "p90<60s": ({*POOLED, *ABSENT}, (1, 0, 1)),
    "p85<60s": (POOLED, (0, 0, 1)),
}
"""Of each: for which metrics not, and the codes by what is done with what is not certain: nothing said, pass, fail."""


def asked(bound: str) -> tuple[str, ...]:
    return tuple(f"{metric}:{bound}" for metric in LATENCIES if metric not in BOUNDS[bound][0])


def codes_of(summary: RunSummary) -> dict[str, tuple[int, ...]]:
    """The codes of each objective by itself."""
    # A client that others on its machine kept waiting is not believed, whatever it has seen.
    believed = replace(summary, verdict=replace(summary.verdict, status="suspect"))
    return {
        each.objective: tuple(
            code_of_summary(replace(believed, slo=(each,), inconclusive=choice)) for choice in (None, "pass", "fail")
        )
        for each in summary.slo
        if not each.objective.endswith("(goodput)")
    }


@pytest.fixture(scope="module")
def out(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an objective for every metric, none of which is certain."""
    folder = tmp_path_factory.mktemp("objectives") / "run"
    flags = [flag for objective in asked("p85<60s") for flag in ("--slo", objective)]
    done = bench(*ASKED, "--url", url, "--out", folder, *flags, "--goodput", "ttft:0.0001")
    status = summaries.read(folder).verdict.status
    assert done.returncode == (3 if status == "invalid" else BOUNDS["p85<60s"][1][2]), done.stderr
    return folder


@pytest.mark.parametrize("bound", BOUNDS, ids=["met", "missed", "missed as seen", "met as seen"])
def test_every_metric_decides_the_exit_code_by_what_is_certain_of_it(bound: str, out: Path) -> None:
    run = manifest.read(out)
    summary = summarize(replace(run, slo=asked(bound)), read_requests(out), None)
    assert summary.requests.by_error == {"http_503": 2}
    assert codes_of(summary) == dict.fromkeys(asked(bound), BOUNDS[bound][1])
    if bound == "p85<60s":
        assert codes_of(summaries.read(out)) == codes_of(summary)
