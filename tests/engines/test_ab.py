"""`bench.py ab` between real servers, each run on one of its own."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.engine

StartBench = Callable[..., "subprocess.Popen[str]"]
# Long prompts and short answers, one at a time, so that layers are nearly all of the work.
LOAD = ("--prompt-tokens", "800", "--output-tokens", "8", "--concurrency", "1", "--requests", "20", "--warmup", "2")
DEADLINE_S = 900  # ends what hangs; a slow machine takes its time


@pytest.mark.alone  # a pair that other load disturbs decides nothing
def test_a_model_with_eight_times_the_layers_is_worse(start_bench: StartBench, tmp_path: Path) -> None:
    bound = ("--decide", "ttft_ms:p50", "--max-pairs", "12")
    with start_bench(
        "ab", "--a", "--model tiny", "--b", "--model tiny-16l", *LOAD, *bound, "--out", tmp_path
    ) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1, err
    assert "verdict     Worse" in out
    assert "different model: tiny, then tiny-16l" in out
    comparison = json.loads((tmp_path / "ab.json").read_bytes())["comparison"]
    first = comparison["changes"][0]
    assert (first["measure"], first["verdict"]) == ("ttft_ms:p50", "worse")
    assert first["change"] > 1
    assert len(comparison["base"]) == len(comparison["candidate"]) <= 12


def test_a_server_that_does_not_start_is_said_with_its_side_and_nothing_goes_on(
    start_bench: StartBench, tmp_path: Path
) -> None:
    broken = "--server-arg=no_such_setting=1"
    with start_bench("ab", "--b", broken, *LOAD, "--requests", "4", "--out", tmp_path / "out") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 2, out
    assert err.splitlines()[-1].startswith("error: b/01: ")
    assert (tmp_path / "out" / "a" / "01" / "summary.json").exists()
