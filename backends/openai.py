"""The OpenAI chat completions dialect, as OpenAI, vLLM, SGLang, Ollama, llama.cpp and many others speak it.

The stream is that of https://platform.openai.com/docs/api-reference/chat-streaming. A delta is model output and
nothing else: role-only chunks, empty or null content and chunks without choices are none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import orjson

from backends import _cold
from backends._errors import body_message, error_message, one_line, verdict
from backends._json import lenient
from backends.sse import DONE, json_values
from bench.types import (
    Backend,
    Body,
    Call,
    DeltaKind,
    HttpRequest,
    Message,
    Reply,
    ServerInfo,
    Target,
    Usage,
    UserError,
)

COMPLETIONS = "/v1/chat/completions"


# --- the timed path's two ends: pure ----------------------------------------------------------------------------


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a streamed chat completion: greedy, seeded, with usage asked for."""
    return chat_request(call, target, {})


def chat_request(call: Call, target: Target, extra: Mapping[str, Any]) -> HttpRequest:
    """The same for a server of this dialect that understands the `extra` fields."""
    payload = {
        "model": target.model,
        "messages": chat_messages(call.messages),
        "max_tokens": call.max_tokens,
        "temperature": 0,
        "seed": call.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        **extra,
    }
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream"),
        # Finds the request again in the server's log; some servers refuse any id that is no UUID.
        ("X-Request-Id", f"00000000-0000-4000-8000-{call.seq:012}"),
    ]
    if target.api_key:
        headers.append(("Authorization", f"Bearer {target.api_key}"))
    path = urlsplit(target.url).path.rstrip("/") + COMPLETIONS
    return HttpRequest("POST", path, tuple(headers), orjson.dumps(payload))


def chat_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.text} for message in messages]


@dataclass(slots=True)
class _Answer:
    text: str = ""
    arrivals: list[tuple[int, DeltaKind]] = field(default_factory=list)
    running_counts: list[int | None] = field(default_factory=list)
    usage: Any = None
    arrivals_at_usage: int = 0
    finish: str | None = None
    done: bool = False
    error: tuple[str, str] | None = None


def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """What the response says; whatever had arrived before an error is kept.

    Error codes: http_<status>; error_event, an error inside a 200; malformed, not this dialect; cut_stream, neither a
    finish reason nor [DONE]; empty, a whole answer without model output.
    """
    if status != 200:
        return Reply("", [], None, None, (f"http_{status}", body_message(body.data)))
    answer = _Answer()
    for chunk, t_ns in zip(*json_values(body), strict=True):
        try:
            _take(answer, chunk, t_ns)
        except (AttributeError, TypeError):
            answer.error = "malformed", one_line(f"not a chat completion: {chunk}")
        if answer.done or answer.error:
            break
    if body.data.lstrip().startswith(b"{"):
        answer.done = True  # no stream: a completion in one piece, or an error
    tokens = _tokens_per_arrival(answer.running_counts)
    deltas = [(t_ns, count, kind) for (t_ns, kind), count in zip(answer.arrivals, tokens, strict=True)]
    error = verdict(
        answer.error,
        body.data,
        complete=answer.done or answer.finish is not None,
        arrivals=len(deltas),
        ending="finish_reason or [DONE]",
        finish=answer.finish,
    )
    return Reply(
        encodable(answer.text),
        deltas,
        _usage(answer.usage),
        answer.finish,
        error,
        usage_settles="all" if error is None and answer.arrivals_at_usage == len(deltas) else "nothing",
    )


def _take(answer: _Answer, chunk: Any, t_ns: int) -> None:
    """Take in one chunk. Runs for every token of a run: what most chunks lack is asked for once."""
    if chunk == DONE:
        answer.done = True
        return
    get = chunk.get
    if get("error") or get("object") == "error":
        answer.error = "error_event", error_message(chunk)
        return
    if usage := get("usage"):
        answer.usage = usage
    for choice in get("choices") or ():
        if finish := choice.get("finish_reason"):
            answer.finish = finish
        delta = choice.get("delta") or choice.get("message") or {}
        kind: DeltaKind | None
        if content := delta.get("content") or delta.get("refusal"):
            kind = "text"
            answer.text += content
        elif not (kind := _kind_without_text(delta)):
            continue
        answer.arrivals.append((t_ns, kind))
        # Output tokens so far: vLLM's continuous_usage_stats or llama.cpp's timings_per_token.
        answer.running_counts.append(
            _count(usage, "completion_tokens") if usage else _count(get("timings"), "predicted_n")
        )
    if usage:
        answer.arrivals_at_usage = len(answer.arrivals)


def _kind_without_text(delta: Mapping[str, Any]) -> DeltaKind | None:
    """What a delta without visible text brings; None when it brings nothing of the model's."""
    if delta.get("reasoning_content") or delta.get("reasoning"):
        return "reasoning"
    if delta.get("tool_calls") or delta.get("function_call"):
        return "tool"
    return None


def _tokens_per_arrival(running: Sequence[int | None]) -> Sequence[int | None]:
    """[3, 4, 6] becomes [3, 1, 2]; unknown throughout unless every arrival carried a count."""
    known = [count for count in running if count is not None]
    if len(known) < len(running) or known != sorted(known):
        return [None] * len(running)
    return [after - before for before, after in pairwise([0, *known])]


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        output_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) else None


def encodable(text: str) -> str:
    """`text` with the surrogate pairs that were split over chunks joined, and lone halves replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# --- the cold path ----------------------------------------------------------------------------------------------


def preflight(target: Target) -> ServerInfo:
    """What the server's model list says; a UserError unless it serves the target's model."""
    entry = find_model(target, served_models(target))
    return ServerInfo(
        name=str(entry.get("owned_by") or "openai-compatible"),
        version=None,
        model=entry["id"],
        context_tokens=context_tokens(entry),
        metrics_path=None,
        settings={},
    )


def served_models(target: Target) -> list[dict[str, Any]]:
    """The entries of /v1/models, each a dict with an `id`."""
    listing = _cold.get_json(target, "/v1/models")
    entries = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
        raise UserError(f"no LLM server at {target.url}: its /v1/models is no list of models; check --url")
    return entries


def find_model(target: Target, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of the target's model: the one that has its name or an alias, or was loaded from what they name."""
    names = (target.model, *target.aliases)
    for field_name in ("id", "root"):  # vLLM and SGLang give the path or repository as `root`
        for name in names:
            for entry in entries:
                if entry.get(field_name) == name:
                    return entry
    raise UserError(_no_such_model(target, [entry["id"] for entry in entries]))


def context_tokens(entry: Mapping[str, Any]) -> int | None:
    """A model's context length under the names that vLLM and SGLang, OpenRouter, Groq and llama.cpp give it."""
    for name in ("max_model_len", "context_length", "context_window"):
        if length := _count(entry, name):
            return length
    return _count(entry.get("meta"), "n_ctx")


def count_tokens(target: Target, messages: tuple[Message, ...], extra: Mapping[str, Any] | None = None) -> int | None:
    """The prompt's length, template included, as the server counts it; None when it will not say.

    vLLM's /tokenize knows; elsewhere the usage of a one-token completion does, which is not asked of an API that bills.
    `extra` are fields of the request that the chat template sees.
    """
    conversation = {"model": target.model, "messages": chat_messages(messages), **(extra or {})}
    answer = probe_json(target, "/tokenize", conversation)
    if (count := _count(answer, "count")) is not None:
        return count
    if "billed" in target.options:
        return None
    answer = probe_json(target, COMPLETIONS, {**conversation, "max_tokens": 1, "temperature": 0})
    return _count(answer.get("usage"), "prompt_tokens") if isinstance(answer, dict) else None


def probe_json(target: Target, path: str, payload: object = None) -> Any:
    """The JSON at a path that a server of this dialect may not have; None unless it answers with 200."""
    answer = _cold.fetch(target, path, payload, timeout_s=60)
    return lenient(answer.data) if answer.status == 200 else None


def _no_such_model(target: Target, served: Sequence[str]) -> str:
    nearest = get_close_matches(target.model, served, n=1, cutoff=0.0)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    shown = ", ".join(served[:8]) + (f" and {len(served) - 8} more" if len(served) > 8 else "")
    return f"{target.url} does not serve the model {target.model!r}; it serves {shown or 'none'}{hint}"


BACKEND = Backend(
    name="openai",
    description="any server of OpenAI's chat completions API: OpenAI, SGLang, Ollama, LM Studio, hosted models",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
)
