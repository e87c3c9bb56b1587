"""The backend that docs/backends.md adds, added just so to a copy of the sources, on a real llama.cpp server."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from backends.launch import llamacpp as llamacpp_launch
from bench.server import tinymodel
from bench.server.launch import launch
from bench.types import ServeOptions

# What is compiled already holds for what is not changed.
BEING_WRITTEN = shutil.ignore_patterns("*.pyc.*")
ROOT = Path(__file__).parents[2]
MODULE = re.search(
    r"<!-- tested -->\n```python\n(.*?)```", (ROOT / "docs/backends.md").read_text(encoding="utf-8"), re.DOTALL
)
assert MODULE is not None
SOURCE = MODULE[1]


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """The sources with the module and its line in the dict."""
    for package in ("bench", "backends", "scenarios", "analysis"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=BEING_WRITTEN)
    shutil.copy(ROOT / "bench.py", tmp_path)
    (tmp_path / "backends/completion.py").write_text(SOURCE, encoding="utf-8")
    registry = tmp_path / "backends/__init__.py"
    line = '    "completion": "backends.completion",\n'
    registry.write_text(registry.read_text().replace("_MODULES = {\n", "_MODULES = {\n" + line))
    return tmp_path


def test_a_backend_takes_less_than_a_hundred_lines() -> None:
    assert len(SOURCE.splitlines()) < 100


@pytest.mark.slow
def test_the_added_backend_measures_a_real_server(extended: Path) -> None:
    how = llamacpp_launch.serve(str(tinymodel.model_path("tiny", "gguf")), ServeOptions(None, 4, 1024, 1, ()))
    with launch(how, extended / "log", ready_timeout_s=300, on_progress=lambda _: None, port=None) as server:
        asked = [
            "--backend",
            "completion",
            "--url",
            server.url,
            "--model",
            "tiny",
            "--scenario",
            "smoke",
            "--requests",
            "16",
        ]
        done = subprocess.run(
            [sys.executable, "bench.py", "run", *asked, "--concurrency", "2", "--out", "run", "--quiet"],
            cwd=extended, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads((extended / "run/summary.json").read_text())
    assert summary["requests"]["succeeded"] == summary["requests"]["planned"] > 0
    requests = pq.read_table(extended / "run/requests.parquet")
    assert requests["output_tokens"].to_pylist() == requests["max_tokens"].to_pylist()
    assert requests["prompt_tokens"].to_pylist() == requests["prompt_tokens_wanted"].to_pylist()
    assert set(requests["token_source"].to_pylist()) == {"per-chunk usage"}
    held = {identity["name"]: identity["holds"] for identity in summary["identities"]}
    assert held["server_tokens"] is not False
