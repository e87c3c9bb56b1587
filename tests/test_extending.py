"""What docs/architecture.md says of adding things, done so to a copy of the sources and seen in a run's results."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.truth import server as truth
from bench.truth.server import TruthOptions

# What is compiled already holds for what is not changed.
BEING_WRITTEN = shutil.ignore_patterns("*.pyc.*")
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```diff\n\+\+\+ (\S+)\n(.*?)```", PAGE, re.DOTALL)
TOUR = re.findall(r"^\d+\. \[`(\S+)`\]", PAGE, re.MULTILINE)
LONGEST_TOUR = 2500

compiled = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)


def test_the_tour_is_short() -> None:
    lines = sum(len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in TOUR)
    assert len(TOUR) == 12 and lines < LONGEST_TOUR, f"{lines} lines; leave a file out or make one shorter"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with all that the page adds."""
    folder = tmp_path_factory.mktemp("extended")
    for package in ("bench", "backends", "scenarios", "analysis"):
        shutil.copytree(ROOT / package, folder / package, ignore=BEING_WRITTEN)
    shutil.copy(ROOT / "bench.py", folder)
    for path, diff in SNIPPETS:
        before = "".join(line[1:] for line in diff.splitlines(keepends=True) if not line.startswith("+"))
        after = "".join(line[1:] for line in diff.splitlines(keepends=True))
        source = (folder / path).read_text(encoding="utf-8")
        assert source.count(before) == 1, f"{path} has no longer what docs/architecture.md shows of it: {before!r}"
        (folder / path).write_text(source.replace(before, after), encoding="utf-8")
    return folder


@pytest.mark.slow
@compiled
def test_what_the_page_adds_is_in_every_result(extended: Path) -> None:
    server = truth.launch(TruthOptions())
    try:
        asked = ["--backend", "openai", "--url", server.url, "--model", "truth", "--scenario", "smoke"]
        done = subprocess.run(
            [sys.executable, "bench.py", "run", *asked, "--rate", "200", "--arrivals", "pairs", "--requests", "20",
             "--out", "run"],
            cwd=extended, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    finally:
        server.stop()
    assert done.returncode == 0, done.stderr
    summary = json.loads((extended / "run/summary.json").read_text())
    report = (extended / "run/report.html").read_text()
    requests = pq.read_table(extended / "run/requests.parquet")
    assert summary["metrics"]["decode_ms"]["count"] > 0
    assert "decode" in done.stdout and "Decoding time" in report
    assert "very_few_calls" in {reason["code"] for reason in summary["verdict"]["reasons"]}
    assert "calls are few; ask for more" in done.stdout + done.stderr
    assert "Lengths of the answers." in report
    assert min(requests["text_characters"].to_pylist()) > 0
    due_ns = np.sort(requests["due_ns"].to_numpy())
    assert (due_ns[::2] == due_ns[1::2]).all() and len(set(due_ns.tolist())) == len(due_ns) // 2
