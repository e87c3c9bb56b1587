"""Real engines, each started once for all tests: those of `make engines`, and the embedded llama.cpp.

A test is skipped where its engine is not installed. Under BENCH_ENGINES=required, which `make test-engines` sets, it
fails instead: what nobody ran proves nothing.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from backends import BACKENDS
from backends.launch import llamacpp as llamacpp_launch
from backends.launch import vllm as vllm_launch
from bench.server import tinymodel
from bench.server.launch import launch
from bench.server.tinymodel import TinyModel
from bench.telemetry.prometheus import read_metrics
from bench.types import Backend, Body, Call, Launch, Reply, ServeOptions, Target

Ask = Callable[[Backend, Target, Call], Reply]
Counters = Callable[[Target], dict[str, float]]
StartBench = Callable[..., "subprocess.Popen[str]"]

ROOT = Path(__file__).parents[2]
CONTEXT_TOKENS = 4096
ADAPTER_RANK = 8
# float32 and exact attention let engines agree token for token; compiling the model would take half a minute.
VLLM_FLAGS = ("--dtype=float32", "--max-num-seqs=64", "--enforce-eager", "--distributed-executor-backend=uni")
# By default vLLM's processes wait for each other in busy loops: on two cores its streams then come in one piece.
VLLM_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "VLLM_SERVER_DEV_MODE": "1",
}
LLAMACPP_SETTINGS = (
    "flash_attn_type=LLAMA_FLASH_ATTN_TYPE_DISABLED",
    "cache_type_k=GGML_TYPE_F32",
    "cache_type_v=GGML_TYPE_F32",
)


def engine_python(name: str) -> str:
    """The interpreter that an engine of `make engines` is installed in."""
    folder = ROOT / ".engines" / name
    if not (folder / "ready").exists():
        refuse = pytest.fail if os.environ.get("BENCH_ENGINES") == "required" else pytest.skip
        refuse(f"{name} is not installed: make engines")
    return str(folder / "bin" / "python")


def serve_options(*extra_args: str, server: str | None = None, python: str | None = None) -> ServeOptions:
    return ServeOptions(server, 8, CONTEXT_TOKENS, threads=1, extra_args=extra_args, python=python, alias="tiny")


def running(how: Launch, log: Path) -> Iterator[Target]:
    with launch(how, log, ready_timeout_s=900, on_progress=lambda _: None, port=None) as server:
        yield Target(server.url, "tiny")


# --- engines ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The tiny model, as a GGUF file and as a Hugging Face folder of the same weights."""
    return tinymodel.build("tiny", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the tiny model, in PEFT's format: random, so that its answers are others."""
    folder = tmp_path_factory.mktemp("adapter")
    settings = {"peft_type": "LORA", "r": ADAPTER_RANK, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    draws = np.random.default_rng(0)
    tensors = {
        f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight": draws.normal(size=shape)
        for layer in range(tinymodel.SIZES["tiny"])
        for side, shape in (("A", (ADAPTER_RANK, tinymodel.HIDDEN)), ("B", (tinymodel.HIDDEN, ADAPTER_RANK)))
    }
    weights = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    tinymodel._write_safetensors(folder / "adapter_model.safetensors", weights)
    return folder


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """The Python that vLLM is installed in."""
    return engine_python("vllm")


@pytest.fixture(scope="session")
def vllm_server(
    vllm_python: str, tiny: TinyModel, adapter: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    """A vLLM in dev mode that serves `tiny` in float32, and the adapter `poet`."""
    lora = ("--enable-lora", f"--max-lora-rank={ADAPTER_RANK}", "--lora-modules", f"poet={adapter}")
    how = vllm_launch.serve(str(tiny.hf), serve_options(*VLLM_FLAGS, *lora, python=vllm_python))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in VLLM_ENVIRONMENT.items():
            environment.setenv(name, value)
        yield from running(how, tmp_path_factory.mktemp("vllm") / "log")


@pytest.fixture(scope="session")
def llamacpp_server(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The embedded llama.cpp with the same weights, exact attention and a float32 cache."""
    how = llamacpp_launch.serve(str(tiny.gguf), serve_options(*LLAMACPP_SETTINGS))
    yield from running(how, tmp_path_factory.mktemp("llamacpp") / "log")


@pytest.fixture(scope="session")
def llama_cpp_python_server(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """llama-cpp-python's own server with the same weights."""
    options = serve_options(server="llama-cpp-python", python=engine_python("llama-cpp-python"))
    how = llamacpp_launch.serve(str(tiny.gguf), options)
    yield from running(how, tmp_path_factory.mktemp("llama-cpp-python") / "log")


# --- what is done with them -------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ask() -> Ask:
    """`ask(backend, target, call) -> Reply`: one request over the standard library's client, every byte stamped 0."""

    def send(backend: Backend, target: Target, call: Call) -> Reply:
        request = backend.request(call, target)
        sent = urllib.request.Request(target.url + request.path, request.body, dict(request.headers))
        try:
            answer = urllib.request.urlopen(sent, timeout=300)
        except urllib.error.HTTPError as refusal:
            answer = refusal
        with answer:
            data = answer.read()
            return backend.decode(answer.status, dict(answer.headers), Body(data, [len(data)], [0]))

    return send


@pytest.fixture(scope="session")
def vllm_counters() -> Counters:
    """`vllm_counters(target)`: vLLM's counters and histograms, by our names for them."""

    def scrape(target: Target) -> dict[str, float]:
        with urllib.request.urlopen(f"{target.url}/metrics", timeout=300) as response:
            return read_metrics(response.read().decode(), BACKENDS["vllm"].gauges)

    return scrape


@pytest.fixture(scope="session")
def start_bench() -> StartBench:
    """`start_bench("run", …) -> Popen`: the command line as a user starts it, fit to launch vLLM on this machine."""

    def start(*arguments: str | Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "bench.py", *map(str, arguments)]
        pipe, env = subprocess.PIPE, {**os.environ, **VLLM_ENVIRONMENT}
        return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=env)

    return start
