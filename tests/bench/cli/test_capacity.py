"""The search for capacity, as a user starts it, on a real llama.cpp server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends import llamacpp
from bench import tinymodel
from bench.launch import launch
from bench.types import ServeOptions

ROOT = Path(__file__).parents[3]
QUICK = ["--scenario", "smoke", "--requests", "30", "--precision", "90%", "--repeats", "1", "--concurrency", "8"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    how = llamacpp.serve(str(tinymodel.model_path("tiny", "gguf")), ServeOptions(None, 8, 1024, 1, ()))
    log = tmp_path_factory.mktemp("server") / "log"
    with launch(how, log, ready_timeout_s=60, on_progress=lambda _: None, port=None) as server:
        yield server.url


def search(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "bench.py", "capacity", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def found(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "capacity.json").read_text())
    return content


def test_the_answer_lies_between_a_rate_that_met_the_objective_and_one_that_did_not(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    asked: list[str | Path] = ["--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<200", *QUICK, "--out", folder]
    done = search(*asked)
    assert (done.returncode, done.stderr) == (0, "")
    content = found(folder)
    outcomes = {probe["rate_per_s"]: probe["outcome"] for probe in content["probes"]}
    capacity, high = content["capacity"]["rate_per_s"], content["capacity"]["high_per_s"]
    assert outcomes[capacity] == "met"
    assert outcomes[high] in ("missed", "saturated")
    assert capacity < high <= 1.9 * capacity
    assert {path.name for path in folder.glob("rate-*")} == {probe["folder"] for probe in content["probes"]}
    assert f"capacity  {capacity:g} requests/s" in done.stdout
    page = folder / "capacity.html"
    assert str(page) in "".join(done.stdout.split("\n"))
    assert f"Capacity: {capacity:g} requests/s" in page.read_text()

    # The same again finds all its runs there, and one with another objective is not mixed with it.
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}
    again = search(*asked)
    assert (again.returncode, found(folder)) == (0, content)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")} == before
    other = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<100", *QUICK, "--out", folder)
    assert (other.returncode, other.stderr.splitlines()[-1]) == (
        2,
        f"error: --out {folder}: holds a search with other slo; choose another",
    )


@pytest.mark.slow
def test_an_objective_that_no_rate_meets_is_a_capacity_of_none(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    quick = [*QUICK, "--output-tokens", "4", "--prompt-tokens", "30", "--requests", "5"]
    done = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<0.01", *quick, "--out", folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert found(folder)["capacity"]["rate_per_s"] == 0
    assert "capacity  none: no rate down to" in done.stdout

    # A run that is wrong ends the search; what was left of one that was interrupted is kept beside the new one.
    by_rate = sorted(folder.glob("rate-*/summary.json"), key=lambda path: float(path.parent.name.split("-")[1]))
    cut_short, *_, wrong = by_rate
    content = json.loads(wrong.read_text())
    wrong.write_text(json.dumps(content | {"verdict": {"status": "invalid", "reasons": []}}))
    cut_short.unlink()
    again = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<0.01", *quick, "--out", folder)
    assert (again.returncode, again.stderr) == (3, "")
    assert f"{wrong.parent.name} is not to be trusted; remove its folder to run it again" in again.stdout
    wrong.write_text(json.dumps(content))
    again = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<0.01", *quick, "--out", folder)
    assert again.returncode == 1
    assert cut_short.exists()
    assert (folder / f"interrupted-1-{cut_short.parent.name}" / "run.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--slo: capacity is the rate at which objectives are met; give one, such as 'ttft_ms:p99<500'"),
        (["--slo", "ttft_ms<5", "--precision", "wide"], "--precision: expected a share between 0 and 1, such as 5%"),
        (["--slo", "ttft_ms<5", "--attainment", "2"], "--attainment: expected a share between 0 and 1, such as 5%"),
        (["--slo", "ttft_ms<5", "--repeats", "0"], "--repeats: must be from 1 to 20, got 0"),
    ],
)
def test_a_wrong_search_is_one_line(arguments: list[str], said: str) -> None:
    done = search(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert len(done.stderr.splitlines()) == 1
