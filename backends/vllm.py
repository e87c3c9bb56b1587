"""vLLM: the OpenAI dialect with fields of its own, on a server that `vllm serve` launches or that runs already.

The server is described in https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, its metrics in
https://docs.vllm.ai/en/latest/usage/metrics.html.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends import _post, openai
from backends._adapting import adapt
from backends._json import lenient
from backends.cold import asking as _cold
from backends.sse import json_values
from bench.types import Backend, Body, Call, HttpRequest, Launch, Message, ServeOptions, ServerInfo, Target, UserError

ROOT = Path(__file__).resolve().parent.parent
MODULE = "vllm.entrypoints.openai.api_server"
READY_TIMEOUT_S = 1800.0  # weights are downloaded and kernels compiled before the server answers
# Of weights that are not quantized; others say themselves how they are. By default vLLM makes 16 bits of 32.
QUANTIZATION_FLAGS = {
    "fp8": ["--quantization", "fp8"],
    "bf16": ["--dtype", "bfloat16"],
    "fp16": ["--dtype", "float16"],
    "fp32": ["--dtype", "float32"],
}
PROBE = Call(0, None, 0, 0, None, (Message("user", "hi"),), 2, 0, None)
# vLLM tells its makers of its use unless told not to; with whom a benchmark talks is for its user to say.
PRIVATE = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a streamed chat completion of exactly `max_tokens` tokens, the count so far on every chunk.

    Of `target.options`: `adapter` names the LoRA adapter to ask in place of the model, `thinking` is told to the chat
    template, and `usage` is "final" where a server gives usage only at the end.
    """
    usage = {"include_usage": True}
    if target.options.get("usage") != "final":
        usage["continuous_usage_stats"] = True
    lengths = {"ignore_eos": True, "min_tokens": call.max_tokens}
    return openai.chat_request(call, _asked(target), {**lengths, "stream_options": usage, **_template_fields(target)})


def _asked(target: Target) -> Target:
    """The target under the name that requests go by: to vLLM an adapter is a model like any other."""
    return replace(target, model=target.options.get("adapter") or target.model)


def _template_fields(target: Target) -> dict[str, Any]:
    thinking = target.options.get("thinking", "default")
    if thinking == "default":
        return {}
    # Templates know the switch by one of two names (Qwen3 and GLM by the first, DeepSeek V3.1 and Granite by the other)
    # and ignore what they do not know: https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
    return {"chat_template_kwargs": {"enable_thinking": thinking == "on", "thinking": thinking == "on"}}


# --- the cold path ----------------------------------------------------------------------------------------------


def preflight(target: Target) -> ServerInfo:
    """What /version and the model list say, and whether usage comes with every chunk of a stream."""
    version = _version(target)
    entries = openai.served_models(target)
    entry = openai.find_model(target, entries)
    adapters = [other["id"] for other in entries if other.get("parent")]
    if (adapter := target.options.get("adapter", "")) and adapter not in adapters:
        raise UserError(
            f"--adapter {adapter!r}: {target.url} serves {', '.join(adapters) or 'no adapters'}; "
            "vLLM serves those it is started with (--enable-lora --lora-modules NAME=PATH)"
        )
    # A first answer is not asked for where it would be billed: the rehearsal's tells as much.
    running_usage = "billed" in target.options or _gives_running_usage(replace(target, model=entry["id"]))
    metrics = _cold.fetch(target, "/metrics")
    return ServerInfo(
        name="vllm",
        version=version,
        model=entry["id"],
        context_tokens=openai.context_tokens(entry),
        metrics_path="/metrics" if metrics.status == 200 else None,
        cache_tokens=_cache_tokens(metrics.data.decode("utf-8", "replace")) if metrics.status == 200 else None,
        settings={name: entry[name] for name in ("root", "max_model_len") if name in entry} | {"adapters": adapters},
        options={} if running_usage else {"usage": "final"},
        notes=()
        if running_usage
        else (
            f"{target.url} gives usage only at the end: a chunk counts as one token, or as its share of those that "
            "usage names",
        ),
    )


def _cache_tokens(metrics: str) -> int | None:
    """What the KV cache holds: blocks of so many tokens, which stand in the labels of one metric."""
    info = re.search(r"^vllm:cache_config_info\{(.*)\}", metrics, re.MULTILINE)
    numbers = dict(re.findall(r'(block_size|num_gpu_blocks)="(\d{1,9})"', info[1])) if info else {}
    return int(numbers["block_size"]) * int(numbers["num_gpu_blocks"]) if len(numbers) == 2 else None


def _version(target: Target) -> str:
    answer = _cold.fetch(target, "/version")
    said = _cold.parse(target, "/version", answer) if answer.status in (401, 403) else lenient(answer.data)
    if answer.status == 200 and isinstance(said, dict) and isinstance(said.get("version"), str):
        return str(said["version"])
    raise UserError(f"{target.url} is not vLLM: its /version names none; try --backend openai")


def _gives_running_usage(target: Target) -> bool:
    """Whether every chunk of a short answer has usage; a UserError when the server will not answer at all."""
    answer = _ask(target)
    if answer.status != 200:
        # What stands before some servers refuses fields that it does not know.
        final = replace(target, options={**target.options, "usage": "final"})
        if (plain := _ask(final)).status != 200:
            _cold.parse(target, _post.api(target, openai.COMPLETIONS), plain)
        return False
    body = Body(answer.data, [len(answer.data)], [0])
    if error := openai.decode(200, {}, body).error:
        raise UserError(f"{target.url} failed at a first request of two tokens ({error[1]}); its log may say why")
    chunks, _ = json_values(body)
    return all(chunk.get("usage") for chunk in chunks if isinstance(chunk, dict) and chunk.get("choices"))


def _ask(target: Target) -> _cold.Answer:
    path = _post.api(target, openai.COMPLETIONS)
    return _cold.fetch(target, path, json.loads(request(PROBE, target).body), timeout_s=60)


def count_tokens(target: Target, messages: tuple[Message, ...]) -> int | None:
    """The prompt's length, template included, as usage.prompt_tokens will have it."""
    return openai.count_tokens(_asked(target), messages, _template_fields(target))


def reset_cache(target: Target) -> bool:
    """Empty the prefix cache: possible in dev mode (VLLM_SERVER_DEV_MODE=1) and while no request runs.

    Old versions answer 200 with nothing, newer ones say in the answer whether they could.
    """
    answer = _cold.fetch(target, "/reset_prefix_cache", {})
    said = lenient(answer.data)
    return answer.status == 200 and not (isinstance(said, dict) and said.get("success") is False)


# --- launching --------------------------------------------------------------------------------------------------


def serve(model: str, options: ServeOptions) -> Launch:
    """How to launch vLLM for a Hugging Face folder or repository.

    It is started by `options.command`, or `options.python`, or the `vllm` on PATH, or that of `make engines`.
    """
    if options.server:
        raise UserError(f"--server {options.server!r} is not for vllm; give --server-python PATH or --server-cmd WORDS")
    if options.command and options.python:
        raise UserError("--server-cmd says all of how to start the server; leave out --server-python")
    try:
        folder = Path(model).expanduser()
    except RuntimeError:  # no such user, or one without a home
        raise UserError(f"--model {model!r}: whose home that is is not known; give the whole path") from None
    if not folder.is_dir() and (folder.exists() or model.startswith((".", "/", "~"))):
        raise UserError(
            f"--model {model!r}: no such folder; vllm loads a Hugging Face folder, or a repository ORG/NAME"
        )
    is_local = folder.is_dir()
    flags = ["--host", "127.0.0.1", "--port", "{port}"]
    flags += ["--served-model-name", options.alias or (folder.resolve().name if is_local else model)]
    flags += QUANTIZATION_FLAGS.get(options.quantization or "", [])
    flags += ["--max-model-len", str(options.context_tokens)]
    flags += ["--enable-prompt-tokens-details"]  # usage then says how much of a prompt the prefix cache had
    argv = (*_program(str(folder) if is_local else model, options), *flags, *options.extra_args)
    env = PRIVATE | ({"HF_HUB_OFFLINE": "1"} if is_local else {})
    return Launch(argv, env, "/health", "vllm", READY_TIMEOUT_S)


def _program(model: str, options: ServeOptions) -> tuple[str, ...]:
    if options.command:
        return (*options.command, model)
    if options.python:
        return (options.python, "-m", MODULE, "--model", model)
    if program := shutil.which("vllm"):
        return (program, "serve", model)
    own = ROOT / ".engines" / "vllm" / "bin" / "python"
    if own.exists():
        return (str(own), "-m", MODULE, "--model", model)
    raise UserError(
        "no vllm on PATH: install it (pip install vllm; without a GPU: make engines), or point to it by "
        "--server-python or --server-cmd, or give --url of one that runs"
    )


BACKEND = Backend(
    name="vllm",
    description="vLLM: launched by `vllm serve`, or one that runs already",
    request=request,
    decode=openai.decode,
    preflight=preflight,
    count_tokens=count_tokens,
    serve=serve,
    adapt=adapt,
    weights="hf",
    options={"thinking": ("default", "off", "on"), "adapter": ("<name>",)},
    reset_cache=reset_cache,
    gauges={
        "queue": "vllm:num_requests_waiting",
        "running": "vllm:num_requests_running",
        "kv_use_fraction": "vllm:kv_cache_usage_perc",
        "generation_tokens_total": "vllm:generation_tokens_total",
        "prompt_tokens_total": "vllm:prompt_tokens_total",
        "prefix_cache_queries_total": "vllm:prefix_cache_queries_total",
        "prefix_cache_hits_total": "vllm:prefix_cache_hits_total",
        "preemptions_total": "vllm:num_preemptions_total",
        "server_ttft_s": "vllm:time_to_first_token_seconds",
        "server_itl_s": "vllm:inter_token_latency_seconds",
        "server_e2e_s": "vllm:e2e_request_latency_seconds",
        "server_queue_s": "vllm:request_queue_time_seconds",
    },
)
