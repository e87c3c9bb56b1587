"""`bench.py sweep` of three real servers: killed twice and gone on with; a search for the capacity among its cells."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.server.tinymodel import TinyModel
from bench.types import Target
from tests.commands import bench

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
WORKLOAD = {"scenario": "smoke", "slo": ["ttft_ms:p90<60000"]}
SHORT = {"requests": 4, "prompt-tokens": 32, "output-tokens": 8}
DONE_BEFORE_KILLS = (2, 7)
GIVEN_UP_S = 240


def written(path: Path, **study: Any) -> Path:
    path.write_text(yaml.safe_dump({"workload": WORKLOAD, **study}))
    return path


def summaries(folder: Path) -> dict[str, int]:
    """When the results of each cell that has some were written."""
    return {str(one.relative_to(folder)): one.stat().st_mtime_ns for one in folder.glob("*/*/summary.json")}


def killed_after(command: list[str], folder: Path, wanted: int) -> dict[str, int]:
    """Run the command until so many cells are done, kill it and all that it started, and give what is done."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, process_group=0)
    given_up = time.monotonic() + GIVEN_UP_S
    while len(summaries(folder)) < wanted and process.poll() is None and time.monotonic() < given_up:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return summaries(folder)


def test_three_engines_killed_twice_have_every_cell_once_and_one_that_cannot_start_costs_only_its_own(
    llama_cpp_python_server: Target, vllm_server: Target, tiny: TinyModel, tmp_path: Path
) -> None:
    of_servers = {"llama-cpp-python": ("llamacpp", llama_cpp_python_server), "vLLM": ("vllm", vllm_server)}
    study = written(
        tmp_path / "study.yaml",
        contenders=[
            {"name": "embedded", "backend": "llamacpp", "model": str(tiny.gguf)},
            *({"name": name, "backend": backend, "url": server.url, "model": server.model}
              for name, (backend, server) in of_servers.items()),
            {"name": "broken", "backend": "llamacpp", "model": str(tmp_path / "nowhere.gguf")},
        ],
        loads=[{"concurrency": n, **SHORT} for n in (1, 3)],
        repeats=2,
    )  # fmt: skip
    folder = tmp_path / "out"
    command = [sys.executable, "bench.py", "sweep", str(study), "--out", str(folder), "--quiet"]
    before = dict[str, int]()
    for wanted in DONE_BEFORE_KILLS:
        after = killed_after(command, folder, wanted)
        assert len(after) >= wanted and before.items() <= after.items()
        before = after
    last = bench("sweep", study, "--out", folder, "--quiet")
    assert last.returncode in (1, 2, 3), last.stderr
    assert before.items() <= summaries(folder).items()

    found = json.loads((folder / "study.json").read_bytes())
    cells = {each["name"]: [load["runs"] for load in each["loads"]] for each in found["contenders"]}
    assert {name: list(map(len, loads)) for name, loads in cells.items()} == {
        "embedded": [2] * 2, "llama-cpp-python": [2] * 2, "vLLM": [2] * 2, "broken": [0] * 2,
    }  # fmt: skip
    runs = [run["folder"] for loads in cells.values() for load in loads for run in load]
    assert sorted(f"{run}/summary.json" for run in runs) == sorted(summaries(folder))
    assert all("nowhere.gguf" in load["problem"] for load in found["contenders"][-1]["loads"])
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert page.endswith("</html>") and all(f'href="{run}/report.html"' in page for run in runs if run.endswith("-01"))


def test_a_search_for_the_capacity_is_a_cell_of_a_sweep(tiny: TinyModel, tmp_path: Path) -> None:
    search = {"precision": "50%", "requests": 20, "up-to": "4"}
    study = written(
        tmp_path / "study.yaml",
        contenders=[{"name": "embedded", "backend": "llamacpp", "model": str(tiny.gguf), "usd-per-hour": 0.5}],
        loads=[{"capacity": search, "prompt-tokens": 32, "output-tokens": 8}],
        **{"requests-per-month": 1_000_000},
    )
    folder = tmp_path / "out"
    done = bench("sweep", study, "--out", folder, "--quiet")
    assert done.returncode in (0, 3), done.stderr
    found = json.loads((folder / "study.json").read_bytes())
    capacity = found["contenders"][0]["capacity"]
    assert capacity["rate_per_s"] > 0
    assert (folder / capacity["page"]).exists()
    assert found["breakeven"]["sides"][0]["capacity_rps"] > 0
    assert found["answer"].startswith("At 1,000,000 requests a month embedded costs $")
