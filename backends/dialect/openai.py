"""OpenAI's chat completions and older completions, as OpenAI, vLLM, SGLang, Ollama, llama.cpp and many others speak
them; requests also of the Responses API, whose answers `responses` reads.

The stream is that of https://platform.openai.com/docs/api-reference/chat-streaming. A delta is model output only:
role-only chunks, empty or null content and chunks without choices do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from backends.dialect import outgoing, pictures, structured, usages
from backends.dialect.answer import Answer, Settles, content_coding, read
from backends.dialect.errors import body_message, event_error, is_error
from backends.dialect.outside import UnsoundValue, count, shown
from backends.dialect.sse import DONE, is_document
from bench.deltas import Deltas
from bench.types import (
    Body,
    Call,
    DeltaKind,
    HttpRequest,
    Image,
    Message,
    Reply,
    Target,
)

CHAT, RESPONSES = "chat", "responses"
ROUTES = {CHAT: "/chat/completions", "completions": "/completions", RESPONSES: "/responses"}
CHOICES = {**outgoing.CHOICES, **structured.CHOICES, "route": tuple(ROUTES)}
THOUGHTS = ("thinking", "reasoning")
IN_A_BLOCK = ("parts", "content", "text", "value", "refusal", "summary", *THOUGHTS)
# Reasoning fields beside the content: DeepSeek and many others; OpenRouter and MiniMax; GitHub; LiteLLM.
REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "reasoning_text", "thinking_blocks")


def request(call: Call, target: Target) -> HttpRequest:
    """The call for the target's route: streamed, with usage, greedy and seeded unless the target says otherwise."""
    return chat_request(call, target, {})


def chat_request(call: Call, target: Target, extra: Mapping[str, Any]) -> HttpRequest:
    """The same for a server of this dialect that understands the `extra` fields."""
    by_responses = target.options.get("route") == RESPONSES
    payload = {
        "model": target.model,
        **prompt_fields(target, call.messages, call.image),
        # The name that most servers of this dialect know; for others the run adapts (`adapting`).
        "max_output_tokens" if by_responses else "max_tokens": call.max_tokens,
        **outgoing.sampling(target, None if by_responses else call.seed),
        **streaming(target),
        **extra,
    }
    # To find the request in the server's log; some servers refuse ids that are not UUIDs.
    name = ("X-Request-Id", f"00000000-0000-4000-8000-{call.seq:012}")
    headers = (*outgoing.usual(target), name, *outgoing.bearer(target))
    own = structured.for_responses(target) if by_responses else structured.for_chat(target)
    return outgoing.post(target, route(target), headers, payload, own)


def streaming(target: Target, **options: bool) -> dict[str, Any]:
    """Whether the answer is to be streamed, with `stream_options` in addition to usage at the end."""
    if target.options.get("route") == RESPONSES:
        return {"stream": outgoing.is_streamed(target), "store": False}
    if not outgoing.is_streamed(target):
        return {"stream": False}
    return {"stream": True, "stream_options": {"include_usage": True, **options}}


def route(target: Target) -> str:
    """The path of the target's route under the base URL."""
    return outgoing.api(target, ROUTES[target.options.get("route", CHAT)])


def prompt_fields(target: Target, messages: Sequence[Message], image: Image | None = None) -> dict[str, Any]:
    """The prompt as the target's route takes it: for completions one text, without a chat template."""
    if target.options.get("route") == "completions":
        return {"prompt": outgoing.plain_text(messages)}
    chat = chat_messages(outgoing.spoken(messages, target))
    if target.options.get("route") == RESPONSES:
        return {"input": pictures.beside(chat, image, pictures.for_responses)}
    return {"messages": pictures.beside(chat, image, pictures.for_chat)}


def chat_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [{"role": message.role, "content": message.text} for message in messages]


@dataclass(slots=True)
class OpenAIAnswer(Answer):
    running_counts: list[int] = field(default_factory=list)
    usages: list[tuple[int, Any]] = field(default_factory=list)


def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """What the response says, of chat completions and of the older completions; what came before an error is kept.

    Error codes: http_<status>; error_event, overloaded or rate_limited, an error inside a 200; malformed, not this
    dialect, or counts and reasons that cannot be; cut_stream, neither a finish reason nor [DONE]; ended_early, a finish
    reason that is a failure; empty, a whole answer without model output. Events that could not be read are counted.
    """
    if status != 200:
        failed = f"http_{status}", body_message(body.data)
        return Reply("", [], None, None, failed, encoding=content_coding(headers))
    answer = read(OpenAIAnswer(), body, _take)
    if is_document(body):
        answer.done, answer.streamed = True, False  # a completion in one piece, or an error
        if answer.is_untouched() and b'"choices"' not in body.data:
            answer.unread_example = shown(body.data)
    usage, arrivals_at_usage = None, 0
    try:
        usage, arrivals_at_usage = usages.together(answer.usages)
    except UnsoundValue as problem:
        answer.error = answer.error or ("malformed", str(problem))
    error = answer.fault(body, "a chat completion", "finish_reason or [DONE]")
    # A usage before the last arrival is a count so far, not of the whole answer.
    settles: Settles = "all" if error is None and arrivals_at_usage == len(answer.arrivals) else "nothing"
    return answer.reply(headers, usage, error, settles, _with_tokens(answer.arrivals, answer.running_counts))


def _take(answer: OpenAIAnswer, chunk: Any, t_ns: int) -> None:
    """Take in one chunk. Runs for every token of a run, so fields that most chunks lack are looked up only once."""
    if chunk == DONE:
        answer.done = True
        return
    get = chunk.get
    if get("error") or get("object") == "error":
        answer.error = event_error(chunk)
        return
    usage, brings = get("usage"), False
    for choice in get("choices") or ():
        if finish := choice.get("finish_reason"):
            answer.end(finish)
        if not usage:
            usage = choice.get("usage")  # Moonshot
        delta = choice.get("delta") or choice.get("message") or choice  # the older completions have no delta
        kind: DeltaKind = "text"
        if not (text := delta.get("content") or delta.get("text") or delta.get("refusal")) or type(text) is not str:
            text, kind = _unusual(delta, text)
            if not text:
                if failed := next((one for one in (choice, delta) if one.get("error")), None):
                    answer.error = event_error(failed)
                    return
                continue
        # Output tokens so far: vLLM's continuous_usage_stats or llama.cpp's timings_per_token.
        so_far = count(usage, "completion_tokens") if usage else count(get("timings"), "predicted_n")
        answer.arrive(t_ns, kind, text)
        brings = True
        if so_far:
            answer.running_counts.append(so_far)
    if not (usage or brings):
        if not get("choices") and is_error(chunk):
            answer.error = event_error(chunk)
            return
        usage = usages.found_in(chunk)
    if usage:
        answer.usages.append((len(answer.arrivals), usage))


def _unusual(delta: Mapping[str, Any], content: Any) -> tuple[str, DeltaKind]:
    """The output of a delta that is not plain text: blocks of text, reasoning or a tool call; "" if it has none.

    Mistral's reasoning models send blocks: {"type": "thinking", "thinking": [{"type": "text", …}]} and so on.
    """
    text, thought = _blocks(content)
    if text:
        return text, "text"
    if not thought:
        _, thought = _blocks(next((delta[name] for name in REASONING if delta.get(name)), None), True)
    if thought:
        return thought, "reasoning"
    is_call = bool(delta.get("tool_calls") or delta.get("function_call"))
    return "call" if is_call else "", "tool"


def _blocks(content: Any, is_thought: bool = False) -> tuple[str, str]:
    """The (text, reasoning) in a string, a block, or a list of them; TypeError for anything else."""
    if content is None or content == "":
        return "", ""
    found: tuple[list[str], list[str]] = [], []
    pending = [(content, is_thought)]
    while pending:
        value, is_thought = pending.pop()
        if isinstance(value, str):
            found[is_thought].append(value)
        elif isinstance(value, dict):
            is_thought = is_thought or str(value.get("type")).startswith(THOUGHTS)
            pending += [(value[name], is_thought or name in THOUGHTS) for name in IN_A_BLOCK if value.get(name)]
        elif isinstance(value, list):
            pending += [(each, is_thought) for each in reversed(value)]
        elif value is not None:
            raise TypeError("content that is no text")
    text, thought = found
    return "".join(text), "".join(thought)


def _with_tokens(arrivals: Deltas, running: Sequence[int]) -> Deltas:
    """Counts of [3, 4, 6] tokens so far become [3, 1, 2]; unknown unless every arrival has a count, and they rise."""
    falls = any(after < before for before, after in pairwise(running))
    if len(running) < len(arrivals) or falls or (len(running) > 1 and running[0] == running[-1]):
        return arrivals
    return arrivals.with_tokens([after - before for before, after in pairwise([0, *running])])
