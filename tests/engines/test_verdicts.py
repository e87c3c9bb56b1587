"""Faults that only a real engine's own books show: the verdict names them, and without the fault it does not."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import BACKENDS
from bench.types import Backend, Call, Message, Reply, Target

pytestmark = pytest.mark.engine

StartBench = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started(start_bench: StartBench, vllm_server: Target, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """`started(name, …) -> Popen` of a run against vLLM into the folder of that name."""

    def start(name: str, *load: str) -> "subprocess.Popen[str]":
        server = ("--backend", "vllm", "--url", vllm_server.url, "--model", "tiny")
        return start_bench("run", *server, "--scenario", "smoke", *load, "--out", tmp_path / name)

    return start


def codes(run: "subprocess.Popen[str]", folder: Path) -> set[str]:
    _, complaint = run.communicate(timeout=900)
    assert run.returncode == 0, complaint
    return {reason["code"] for reason in json.loads((folder / "summary.json").read_bytes())["verdict"]["reasons"]}


def test_somebody_elses_load_shows_in_the_servers_token_counter(
    started: StartBench, vllm_server: Target, ask: Callable[[Backend, Target, Call], Reply], tmp_path: Path
) -> None:
    assert "server_tokens" not in codes(started("alone"), tmp_path / "alone")
    run, others = started("beside"), 0
    while run.poll() is None:
        words = (Message("user", "tell me about the sun"),)
        assert ask(BACKENDS["vllm"], vllm_server, Call(others, None, others, 0, None, words, 64, 1, None)).error is None
        others += 1
    assert others
    assert "server_tokens" in codes(run, tmp_path / "beside")


def test_a_cache_that_was_to_be_warm_is_not_until_its_prompts_were_seen(started: StartBench, tmp_path: Path) -> None:
    prompts = ("--cache", "warm", "--seed", "90210", "--prompt-tokens", "300")
    assert "cache_not_warm" in codes(started("first", *prompts), tmp_path / "first")
    assert "cache_not_warm" not in codes(started("second", *prompts), tmp_path / "second")
