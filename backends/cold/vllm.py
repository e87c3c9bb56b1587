"""What a vLLM server says about itself before the load, how it counts prompts, and how its cache is emptied."""

import json
import re
from dataclasses import replace

from backends.cold import http, openai
from backends.dialect.openai import route
from backends.dialect.outside import known_limit, known_setting, known_word, lenient
from backends.dialect.responses import decode
from backends.dialect.sse import json_values
from backends.dialect.vllm import as_asked, request, template_fields
from bench.process.exchange import HttpAnswer
from bench.types import Body, Call, Message, ServerInfo, Target, UserError

PROBE = Call(0, None, 0, 0, None, (Message("user", "hi"),), 2, 0, None)


def preflight(target: Target) -> ServerInfo:
    """The contents of /version and the model list, and whether usage comes with every chunk of a stream."""
    version = _version(target)
    entries = openai.served_models(target)
    entry = openai.find_model(target, entries)
    adapters = [other["id"] for other in entries if other.get("parent")]
    if (adapter := target.options.get("adapter", "")) and adapter not in adapters:
        raise UserError(
            f"--adapter {adapter!r}: {target.url} serves {', '.join(adapters) or 'no adapters'}; start vLLM with "
            "--enable-lora --lora-modules NAME=PATH"
        )
    # If requests are billed no extra one is sent: the rehearsal's answer shows the same.
    running_usage = "billed" in target.options or _gives_running_usage(replace(target, model=entry["id"]))
    metrics = http.fetch(target, "/metrics")
    return ServerInfo(
        name="vllm",
        version=version,
        model=entry["id"],
        context_tokens=openai.context_tokens(entry),
        metrics_path="/metrics" if metrics.status == 200 else None,
        cache_tokens=_cache_tokens(metrics.data.decode("utf-8", "replace")) if metrics.status == 200 else None,
        settings=known_setting(
            {name: entry[name] for name in ("root", "max_model_len") if name in entry} | {"adapters": adapters}
        ),
        options={} if running_usage else {"usage": "final"},
        notes=()
        if running_usage
        else (
            f"{target.url} gives usage only at the end; each chunk counts as one token, or as its share of the total",
        ),
    )


def _cache_tokens(metrics: str) -> int | None:
    """What the KV cache holds: a number of blocks of some tokens each, from the labels of one metric."""
    info = re.search(r"^vllm:cache_config_info\{(.*)\}", metrics, re.MULTILINE)
    numbers = dict(re.findall(r'(block_size|num_gpu_blocks)="(\d{1,9})"', info[1])) if info else {}
    tokens = int(numbers["block_size"]) * int(numbers["num_gpu_blocks"]) if len(numbers) == 2 else None
    return known_limit({"tokens": tokens}, "tokens")


def _version(target: Target) -> str | None:
    answer = http.fetch(target, "/version")
    said = http.parse(target, "/version", answer) if answer.status in (401, 403) else lenient(answer.data)
    if answer.status == 200 and isinstance(said, dict) and isinstance(said.get("version"), str):
        return known_word(said["version"])
    raise UserError(f"{target.url} is not vLLM (its /version has no version); try --backend openai")


def _gives_running_usage(target: Target) -> bool:
    """Whether every chunk of a short answer has usage; UserError if the server does not answer at all."""
    answer = _ask(target)
    if answer.status != 200:
        # Proxies in front of some servers refuse unknown fields.
        final = replace(target, options={**target.options, "usage": "final"})
        if (plain := _ask(final)).status != 200:
            http.parse(target, route(target), plain)
        return False
    body = Body(answer.data, [len(answer.data)], [0])
    if error := decode(200, {}, body).error:
        raise UserError(f"{target.url} failed a first request of two tokens ({error[1]}); see its log")
    chunks, _ = json_values(body)
    return all(chunk.get("usage") for chunk in chunks if isinstance(chunk, dict) and chunk.get("choices"))


def _ask(target: Target) -> HttpAnswer:
    return http.fetch(target, route(target), json.loads(request(PROBE, target).body), timeout_s=60)


def count_tokens(target: Target, messages: tuple[Message, ...]) -> int | None:
    """The prompt's length, template included: its usage.prompt_tokens."""
    return openai.count_tokens(as_asked(target, target.options.get("adapter")), messages, template_fields(target))


def reset_cache(target: Target) -> bool:
    """Empty the prefix cache: possible in dev mode (VLLM_SERVER_DEV_MODE=1) and while no request runs.

    Old versions answer 200 with nothing; newer ones report whether they succeeded.
    """
    answer = http.fetch(target, "/reset_prefix_cache", {})
    said = lenient(answer.data)
    return answer.status == 200 and not (isinstance(said, dict) and said.get("success") is False)
