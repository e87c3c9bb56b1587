"""`bench.py ab` between real servers, each run on one of its own."""

import json
from pathlib import Path

import pytest

from tests.commands import bench

pytestmark = [pytest.mark.slow, pytest.mark.clock]  # of engines it needs the embedded one alone

# Long prompts and short answers, one at a time, so that layers are nearly all of the work.
LOAD = ("--prompt-tokens", "800", "--output-tokens", "8", "--concurrency", "1", "--requests", "10", "--warmup", "1")


def test_a_model_with_eight_times_the_layers_is_worse(tmp_path: Path) -> None:
    bound = ("--decide", "ttft_ms:p50", "--max-pairs", "12")
    done = bench("ab", "--a", "--model tiny", "--b", "--model tiny-16l", *LOAD, *bound, "--out", tmp_path)
    assert done.returncode == 1, done.stderr
    assert "verdict     Worse" in done.stdout
    assert "different model: tiny, then tiny-16l" in done.stdout
    comparison = json.loads((tmp_path / "ab.json").read_bytes())["comparison"]
    first = comparison["changes"][0]
    assert (first["measure"], first["verdict"]) == ("ttft_ms:p50", "worse")
    assert first["change"] > 1
    assert len(comparison["base"]) == len(comparison["candidate"]) <= 12


def test_a_server_that_does_not_start_is_said_with_its_side_and_nothing_goes_on(tmp_path: Path) -> None:
    broken = "--server-arg=no_such_setting=1"
    done = bench("ab", "--b", broken, *LOAD, "--requests", "4", "--out", tmp_path / "out")
    assert done.returncode == 2, done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: b/01: ")
    assert (tmp_path / "out" / "a" / "01" / "summary.json").exists()
