"""vLLM's dialect: OpenAI's with fields of its own."""

from dataclasses import replace
from typing import Any

from backends.dialect import openai, outgoing, structured
from bench.types import Call, HttpRequest, Target


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a streamed chat completion of exactly `max_tokens` tokens, the count so far on every chunk.

    Of `target.options`: `adapter` names the LoRA adapter to ask in place of the model, `thinking` is told to the chat
    template, and `usage` is "final" where a server gives usage only at the end.
    """
    running = {} if target.options.get("usage") == "final" else {"continuous_usage_stats": True}
    lengths = {} if structured.is_formatted(target) else {"ignore_eos": True, "min_tokens": call.max_tokens}
    extra = {**lengths, **openai.streaming(target, **running), **template_fields(target)}
    return openai.chat_request(call, as_asked(target, outgoing.adapter_of(call, target)), extra)


def as_asked(target: Target, adapter: str | None) -> Target:
    """The target under the name that requests go by: to vLLM an adapter is a model like any other."""
    return target if adapter is None else replace(target, model=adapter)


def template_fields(target: Target) -> dict[str, Any]:
    thinking = target.options.get("thinking", "default")
    if thinking == "default":
        return {}
    # Templates know the switch by one of two names (Qwen3 and GLM by the first, DeepSeek V3.1 and Granite by the other)
    # and ignore what they do not know: https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
    return {"chat_template_kwargs": {"enable_thinking": thinking == "on", "thinking": thinking == "on"}}
