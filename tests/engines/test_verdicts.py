"""Faults that only a real engine's own books show: the verdict names them, and without the fault it does not."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import BACKENDS
from bench.types import Backend, Call, Message, Reply, Target
from tests.commands import bench

pytestmark = pytest.mark.engine

StartBench = Callable[..., "subprocess.Popen[str]"]
Asked = Callable[..., tuple[str | Path, ...]]


@pytest.fixture
def asked(vllm_server: Target, tmp_path: Path) -> Asked:
    """`asked(name, …)`: the arguments of a run against vLLM into the folder of that name."""

    def arguments(name: str, *load: str) -> tuple[str | Path, ...]:
        server = ("--backend", "vllm", "--url", vllm_server.url, "--model", "tiny")
        return ("run", *server, "--scenario", "smoke", "--requests", "40", *load, "--out", tmp_path / name)

    return arguments


def codes(done: "subprocess.CompletedProcess[str]", folder: Path) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {reason["code"] for reason in json.loads((folder / "summary.json").read_bytes())["verdict"]["reasons"]}


def test_somebody_elses_load_shows_in_the_servers_token_counter(
    asked: Asked,
    start_bench: StartBench,
    vllm_server: Target,
    ask: Callable[[Backend, Target, Call], Reply],
    tmp_path: Path,
) -> None:
    assert "server_tokens" not in codes(bench(*asked("alone")), tmp_path / "alone")
    run, others = start_bench(*asked("beside")), 0
    while run.poll() is None:
        words = (Message("user", "tell me about the sun"),)
        assert ask(BACKENDS["vllm"], vllm_server, Call(others, None, others, 0, None, words, 64, 1, None)).error is None
        others += 1
    assert others
    said = run.communicate()
    assert "server_tokens" in codes(subprocess.CompletedProcess(run.args, run.returncode, *said), tmp_path / "beside")


def test_a_cache_that_was_to_be_warm_is_not_until_its_prompts_were_seen(asked: Asked, tmp_path: Path) -> None:
    prompts = ("--cache", "warm", "--seed", "90210", "--prompt-tokens", "300")
    assert "cache_not_warm" in codes(bench(*asked("first", *prompts)), tmp_path / "first")
    assert "cache_not_warm" not in codes(bench(*asked("second", *prompts)), tmp_path / "second")
