"""Faults that only a real engine's own books show: the verdict names them, and without the fault it does not."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.types import Target

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
    _, complaint = run.communicate(timeout=120)
    assert run.returncode == 0, complaint
    return {reason["code"] for reason in json.loads((folder / "summary.json").read_bytes())["verdict"]["reasons"]}


def test_somebody_elses_load_shows_in_the_servers_token_counter(started: StartBench, tmp_path: Path) -> None:
    assert "server_tokens" not in codes(started("alone"), tmp_path / "alone")
    two = {name: started(name, "--requests", "60", "--cache", "warm") for name in ("one", "other")}
    said = [codes(run, tmp_path / name) for name, run in two.items()]
    assert any("server_tokens" in found for found in said)


def test_a_cache_that_was_to_be_warm_is_not_until_its_prompts_were_seen(started: StartBench, tmp_path: Path) -> None:
    prompts = ("--cache", "warm", "--seed", "90210", "--prompt-tokens", "300")
    assert "cache_not_warm" in codes(started("first", *prompts), tmp_path / "first")
    assert "cache_not_warm" not in codes(started("second", *prompts), tmp_path / "second")
