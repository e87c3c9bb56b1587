"""Anthropic's Messages API, as implemented by Anthropic, vLLM and llama.cpp's server.

The stream is that of https://platform.claude.com/docs/en/build-with-claude/streaming. A delta is model output only:
pings, empty deltas, signatures and citations do not count. Usage has separate counts for tokens read from the prompt
cache, tokens written to it, and the rest of the prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from backends.dialect import openai, outgoing, pictures, structured
from backends.dialect.answer import Answer, Settles, content_coding, read
from backends.dialect.errors import event_error, named_message
from backends.dialect.forms import by_form
from backends.dialect.outside import count, known_word, word
from bench.types import Body, Call, DeltaKind, Headers, HttpRequest, Image, Message, Reply, Target, Usage, UserError

MESSAGES = "/messages"
KEY_VARIABLE = "ANTHROPIC_API_KEY"
DEFAULT_URL = "https://api.anthropic.com"
OPTIONS = {
    "cache_ttl": ("5m", "1h", "off"),
    "thinking": ("default", "off", "on", "<tokens>"),
    "service_tier": ("default", "auto", "standard_only"),
    "temperature": (outgoing.SERVERS_OWN, "<temperature>"),
    "top_p": (outgoing.SERVERS_OWN, "<share>"),
    "stream": ("on", "off"),
    "extra_body": ("<json>",),
    **structured.CHOICES,
}
THINKING_TYPES = {"off": "disabled", "on": "adaptive", "<tokens>": "enabled"}
MAX_BREAKPOINTS = 4
MOST_RATE_LIMITS = 50
PROMPT_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
LEAST_THINKING_TOKENS = 1024  # the API's smallest budget
# The field of a content block or delta that holds the model's output, and what that is. A redacted thought is its
# cipher; of a tool call the name is output too, and all of it where the call takes no arguments.
OUTPUT: Mapping[str, tuple[str, DeltaKind]] = {
    "text": ("text", "text"),
    "text_delta": ("text", "text"),
    "thinking": ("thinking", "reasoning"),
    "thinking_delta": ("thinking", "reasoning"),
    "redacted_thinking": ("data", "reasoning"),
    "tool_use": ("name", "tool"),
    "server_tool_use": ("name", "tool"),
    "input_json_delta": ("partial_json", "tool"),
}


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a streamed message; UserError if the thinking budget leaves nothing of `max_tokens`.

    `max_tokens` stays the planned length, because thinking is output. No temperature is sent unless the target has one:
    models since Claude 4.7 refuse all sampling parameters, and runs on older models should be comparable with theirs.
    """
    payload: dict[str, Any] = {
        "model": target.model,
        "max_tokens": call.max_tokens,
        **outgoing.sampling(target, default=outgoing.SERVERS_OWN),
        "stream": outgoing.is_streamed(target),
        **prompt_fields(target, call.messages, call.image),
    }
    budget_tokens = payload.get("thinking", {}).get("budget_tokens", 0)
    if budget_tokens and budget_tokens >= call.max_tokens:
        raise UserError(
            f"--thinking {budget_tokens}: must be less than the answer's {call.max_tokens} tokens, which include the "
            "thinking; give more --output-tokens, or less thinking"
        )
    if (tier := option(target, "service_tier")) != "default":
        payload["service_tier"] = tier
    headers = (*outgoing.usual(target), *identity(target))
    return outgoing.post(target, outgoing.api(target, MESSAGES), headers, payload, structured.for_messages(target))


def prompt_fields(target: Target, messages: Sequence[Message], image: Image | None = None) -> dict[str, Any]:
    """The fields that determine how many tokens the prompt has."""
    messages = outgoing.spoken(messages, target)
    turns = [message for message in messages if message.role != "system"]
    chat = openai.chat_messages(turns)
    prompt: dict[str, Any] = {"messages": pictures.beside(chat, image, pictures.for_messages)}
    if system := [{"type": "text", "text": message.text} for message in messages if message.role == "system"]:
        prompt["system"] = _cached(system, option(target, "cache_ttl"))
    if thinking := thinking_field(option(target, "thinking")):
        prompt["thinking"] = thinking
    return prompt


def _cached(blocks: list[dict[str, Any]], ttl: str) -> list[dict[str, Any]]:
    """The system prompt, shared by requests, with a cache breakpoint after each of its last four blocks."""
    if ttl == "off":
        return blocks
    mark = {"cache_control": {"type": "ephemeral", "ttl": ttl}}
    return blocks[:-MAX_BREAKPOINTS] + [block | mark for block in blocks[-MAX_BREAKPOINTS:]]


def thinking_field(choice: str) -> dict[str, Any] | None:
    if choice == "default":
        return None
    if not choice.isdecimal():
        return {"type": THINKING_TYPES[choice]}
    if int(choice) < LEAST_THINKING_TOKENS:
        raise UserError(f"--thinking {choice}: expected at least {LEAST_THINKING_TOKENS} tokens, or off")
    return {"type": THINKING_TYPES["<tokens>"], "budget_tokens": int(choice)}


def option(target: Target, name: str) -> str:
    return target.options.get(name, OPTIONS[name][0])


def identity(target: Target) -> Headers:
    headers = [("anthropic-version", "2023-06-01")]
    if target.api_key:
        headers.append(("x-api-key", target.api_key))
        if target.url != DEFAULT_URL:
            headers.append(("Authorization", f"Bearer {target.api_key}"))  # the only one that vLLM reads
    return tuple(headers)


@dataclass(slots=True)
class _ClaudeAnswer(Answer):
    prompt_counts: dict[str, int] = field(default_factory=dict)
    output_counts: dict[str, int] = field(default_factory=dict)
    usage_settles: Settles = "nothing"
    service_tier: str | None = None


@by_form
def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """What the response says; whatever had arrived before an error is kept. Tokens of each delta are unknown.

    Error codes: http_<status>; overloaded, rate_limited or error_event, an error inside a 200; malformed, not this
    dialect, or counts and reasons that cannot be; cut_stream, neither a stop reason nor message_stop; ended_early, a
    stop reason that is a failure; empty, a whole answer without model output. Events that could not be read are
    counted.
    """
    limits = _rate_limits(headers)
    if status != 200:
        error = f"http_{status}", named_message(body.data)
        return Reply("", [], None, None, error, rate_limits=limits, encoding=content_coding(headers))
    answer = read(_ClaudeAnswer(), body, _take)
    fault = answer.fault(body, "an event of the Messages API", "stop_reason or message_stop")
    usage = _usage(answer.prompt_counts | answer.output_counts)
    found = answer.reply(headers, usage, fault, answer.usage_settles)
    return found._replace(service_tier=answer.service_tier, rate_limits=limits)


def _take(answer: _ClaudeAnswer, event: Any, t_ns: int) -> None:
    """Take in one event. Runs for every token of a run, so the most frequent event is tested first."""
    match event.get("type"):
        case "content_block_delta":
            _take_output(answer, event["delta"], t_ns)
        case "content_block_start":
            _take_output(answer, event["content_block"], t_ns)
        case "message_start":
            _take_message(answer, event["message"], t_ns)
            # The first event counts the whole prompt, but only the output there is when it is sent.
            answer.usage_settles = "prompt" if "input_tokens" in answer.prompt_counts else "nothing"
        case "message":
            answer.done, answer.streamed = True, False
            _take_message(answer, event, t_ns)
            answer.usage_settles = "all"
        case "message_delta":
            answer.end(event["delta"].get("stop_reason"))
            _take_usage(answer, event.get("usage"))
            if "output_tokens" in (event.get("usage") or ()):
                answer.usage_settles = "all"
        case "message_stop":
            answer.done = True
        case str() if "error" not in event:  # content_block_stop, ping, and future events of the API
            pass
        case _:
            if not event["error"]:
                raise KeyError("error")
            answer.error = event_error(event)


def _take_output(answer: _ClaudeAnswer, part: Mapping[str, Any], t_ns: int) -> None:
    name, kind = OUTPUT.get(part["type"], ("", None))
    if kind and (output := part.get(name)):
        answer.arrive(t_ns, kind, output)


def _take_message(answer: _ClaudeAnswer, message: Mapping[str, Any], t_ns: int) -> None:
    for block in message.get("content") or ():
        _take_output(answer, block, t_ns)
    answer.end(message.get("stop_reason"))
    _take_usage(answer, message.get("usage"))


def _take_usage(answer: _ClaudeAnswer, usage: Any) -> None:
    """Take in counts so far; one that is left out or null says nothing.

    Output is counted as it comes, so a smaller count than before is not believed. The prompt's counts are taken
    together, since what was cached is not in `input_tokens`: the last word stands unless it is all zeros. Ollama
    estimates in message_start and counts in message_delta, vLLM takes off there what was cached.
    """
    if not usage:
        return
    prompt = _counts((usage, PROMPT_COUNTS), (usage.get("cache_creation"), ("ephemeral_1h_input_tokens",)))
    if any(prompt.values()) or not answer.prompt_counts:
        answer.prompt_counts |= prompt
    output = _counts((usage, ("output_tokens",)), (usage.get("output_tokens_details"), ("thinking_tokens",)))
    for name, tokens in output.items():
        answer.output_counts[name] = max(tokens, answer.output_counts.get(name, 0))
    answer.service_tier = word(usage.get("service_tier"), "service_tier") or answer.service_tier


def _counts(*places: tuple[Any, Sequence[str]]) -> dict[str, int]:
    found = {name: count(counts, name) for counts, names in places for name in names}
    return {name: tokens for name, tokens in found.items() if tokens is not None}


def _usage(counts: Mapping[str, int]) -> Usage | None:
    """Convert usage: Anthropic's input tokens exclude all cached ones, ours are the whole prompt."""
    if not counts:
        return None
    prompt_tokens = counts.get("input_tokens")
    if prompt_tokens is not None:
        prompt_tokens += counts.get("cache_creation_input_tokens", 0) + counts.get("cache_read_input_tokens", 0)
    return Usage(
        prompt_tokens=prompt_tokens,
        cached_tokens=counts.get("cache_read_input_tokens"),
        cache_write_tokens=counts.get("cache_creation_input_tokens"),
        output_tokens=counts.get("output_tokens"),
        reasoning_tokens=counts.get("thinking_tokens"),
        cache_write_1h_tokens=counts.get("ephemeral_1h_input_tokens"),
    )


def _rate_limits(headers: Mapping[str, str]) -> dict[str, str] | None:
    prefix = "anthropic-ratelimit-"
    named = ((name, value) for name, value in headers.items() if name.startswith(prefix) or name == "retry-after")
    limits = {
        name.removeprefix(prefix): value
        for name, value in islice(named, MOST_RATE_LIMITS)
        if known_word(name) and known_word(value)
    }
    return limits or None
