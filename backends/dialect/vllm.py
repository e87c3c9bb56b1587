"""vLLM's dialect: OpenAI's with fields of its own."""

from dataclasses import replace
from typing import Any

from backends.dialect import openai, outgoing, structured
from bench.types import Call, HttpRequest, Target


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a streamed chat completion of exactly `max_tokens` tokens, with the count so far on every chunk.

    Keys of `target.options`: `adapter` names the LoRA adapter to request instead of the model, `thinking` is passed to
    the chat template, and `usage` is "final" if the server gives usage only at the end.
    """
    running = {} if target.options.get("usage") == "final" else {"continuous_usage_stats": True}
    lengths = {} if structured.is_formatted(target) else {"ignore_eos": True, "min_tokens": call.max_tokens}
    extra = {**lengths, **openai.streaming(target, **running), **template_fields(target)}
    return openai.chat_request(call, as_asked(target, outgoing.adapter_of(call, target)), extra)


def as_asked(target: Target, adapter: str | None) -> Target:
    """The target under the name for requests: for vLLM an adapter is a model like any other."""
    return target if adapter is None else replace(target, model=adapter)


def template_fields(target: Target) -> dict[str, Any]:
    thinking = target.options.get("thinking", "default")
    if thinking == "default":
        return {}
    # Templates use one of two names for the switch (Qwen3 and GLM the first, DeepSeek V3.1 and Granite the other)
    # and ignore the one they do not know: https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
    return {"chat_template_kwargs": {"enable_thinking": thinking == "on", "thinking": thinking == "on"}}
