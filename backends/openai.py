"""The OpenAI chat completions dialect, as OpenAI, vLLM, SGLang, Ollama, llama.cpp and many others speak it.

The stream is that of https://platform.openai.com/docs/api-reference/chat-streaming. A delta is model output and
nothing else: role-only chunks, empty or null content and chunks without choices are none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from backends import _post
from backends._adapting import adapt
from backends._answer import Answer, read
from backends._errors import body_message, event_error
from backends._json import lenient
from backends._outside import Unfit, count, known_count, known_id, known_word
from backends.cold import asking as _cold
from backends.sse import DONE, is_document
from bench.types import (
    Backend,
    Body,
    Call,
    DeltaKind,
    HttpRequest,
    Message,
    NotReady,
    Reply,
    ServerFault,
    ServerInfo,
    Target,
    Unlisted,
    Usage,
    UserError,
)

COMPLETIONS = "/chat/completions"
MODELS = "/models"

THOUGHTS = ("thinking", "reasoning")
IN_A_BLOCK = ("parts", "content", "text", "value", "refusal", "summary", *THOUGHTS)
PROMPT_COUNTS = ("prompt_tokens", "input_tokens")
OUTPUT_COUNTS = ("completion_tokens", "output_tokens")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
ANY_COUNT = (*PROMPT_COUNTS, *OUTPUT_COUNTS, "total_tokens")


# --- the timed path's two ends: pure ----------------------------------------------------------------------------


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a streamed chat completion: greedy, seeded, with usage asked for."""
    return chat_request(call, target, {})


def chat_request(call: Call, target: Target, extra: Mapping[str, Any]) -> HttpRequest:
    """The same for a server of this dialect that understands the `extra` fields."""
    payload = {
        "model": target.model,
        "messages": chat_messages(_post.spoken(call.messages, target)),
        "max_tokens": call.max_tokens,
        "temperature": 0,
        "seed": call.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        **extra,
    }
    # Finds the request again in the server's log; some servers refuse any id that is no UUID.
    name = ("X-Request-Id", f"00000000-0000-4000-8000-{call.seq:012}")
    headers = (*_post.STREAMED, name, *_post.bearer(target))
    return _post.post(target, _post.api(target, COMPLETIONS), headers, payload)


def chat_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.text} for message in messages]


@dataclass(slots=True)
class _Answer(Answer):
    running_counts: list[int | None] = field(default_factory=list)
    usages: list[tuple[int, Any]] = field(default_factory=list)


def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """What the response says, of chat completions and of the older completions; what came before an error is kept.

    Error codes: http_<status>; error_event, overloaded or rate_limited, an error inside a 200; malformed, not this
    dialect, or counts and reasons that cannot be; cut_stream, neither a finish reason nor [DONE]; ended_early, a finish
    reason that is a failure; empty, a whole answer without model output. Events that could not be read are counted.
    """
    encoding = content_coding(headers)
    if status != 200:
        return Reply("", [], None, None, (f"http_{status}", body_message(body.data)), encoding=encoding)
    answer = read(_Answer(), body, _take)
    if is_document(body):
        answer.done = True  # no stream: a completion in one piece, or an error
    usage, arrivals_at_usage = None, 0
    try:
        usage, arrivals_at_usage = _usage(answer.usages)
    except Unfit as problem:
        answer.error = answer.error or ("malformed", str(problem))
    error = answer.fault(body, "a chat completion", "finish_reason or [DONE]")
    tokens = _tokens_per_arrival(answer.running_counts)
    return Reply(
        text=answer.text(),
        deltas=[(t_ns, count, kind) for (t_ns, kind), count in zip(answer.arrivals, tokens, strict=True)],
        usage=usage,
        finish=answer.finish,
        error=error,
        unread=answer.unread,
        unread_example=answer.unread_example,
        encoding=encoding,
        usage_settles="all" if error is None and arrivals_at_usage == len(answer.arrivals) else "nothing",
    )


def _take(answer: _Answer, chunk: Any, t_ns: int) -> None:
    """Take in one chunk. Runs for every token of a run: what most chunks lack is asked for once."""
    if chunk == DONE:
        answer.done = True
        return
    get = chunk.get
    if get("error") or get("object") == "error":
        answer.error = event_error(chunk)
        return
    usage = get("usage")
    for choice in get("choices") or ():
        if finish := choice.get("finish_reason"):
            answer.end(finish)
        if not usage:
            usage = choice.get("usage")  # Moonshot
        delta = choice.get("delta") or choice.get("message") or choice  # the older completions have no delta
        kind: DeltaKind = "text"
        if not (said := delta.get("content") or delta.get("text") or delta.get("refusal")) or type(said) is not str:
            said, kind = _unusual(delta, said)
            if not said:
                continue
        # Output tokens so far: vLLM's continuous_usage_stats or llama.cpp's timings_per_token.
        so_far = count(usage, "completion_tokens") if usage else count(get("timings"), "predicted_n")
        answer.arrive(t_ns, kind, said)
        answer.running_counts.append(so_far)
    if not usage and (groq := get("x_groq")):
        usage = groq.get("usage")
    if usage:
        answer.usages.append((len(answer.arrivals), usage))


def _unusual(delta: Mapping[str, Any], content: Any) -> tuple[str, DeltaKind]:
    """What a delta brings that is no plain text: blocks of text, reasoning or a tool call; "" where it brings nothing.

    Mistral's reasoning models send blocks: {"type": "thinking", "thinking": [{"type": "text", …}]} and so on.
    """
    text, thought = _blocks(content)
    if text:
        return text, "text"
    if not thought:
        _, thought = _blocks(delta.get("reasoning_content") or delta.get("reasoning") or delta.get("thinking"), True)
    if thought:
        return thought, "reasoning"
    is_call = bool(delta.get("tool_calls") or delta.get("function_call"))
    return "call" if is_call else "", "tool"


def _blocks(content: Any, is_thought: bool = False) -> tuple[str, str]:
    """The (text, reasoning) in a string, a block, or a list of them; a TypeError where it is something else."""
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


def _tokens_per_arrival(running: Sequence[int | None]) -> Sequence[int | None]:
    """[3, 4, 6] becomes [3, 1, 2]; unknown throughout unless every arrival carried a count, and they rise."""
    known = [count for count in running if count]
    if len(known) < len(running) or known != sorted(known) or (len(known) > 1 and known[0] == known[-1]):
        return [None] * len(running)
    return [after - before for before, after in pairwise([0, *known])]


def _usage(usages: Sequence[tuple[int, Any]]) -> tuple[Usage | None, int]:
    """What the usage objects of an answer say together, and after how many arrivals the deciding one came.

    That is the last that says something, which is a count above zero. Some servers send zeros until the end (Ollama's
    completions), others a count so far (vLLM), and each may come at the top, in a choice (Moonshot) or under a name of
    the vendor's (Groq). A zero or a gap at the end says nothing of what was counted before.
    """
    stated = [usage for _, usage in usages if isinstance(usage, dict)]
    if not stated:
        return None, 0
    arrivals, last = next(
        ((at, usage) for at, usage in reversed(usages) if any(count(usage, name) for name in ANY_COUNT)),
        (0, stated[-1]),
    )
    cached = (
        (last, "cached_tokens"),  # Moonshot
        (last, "prompt_cache_hit_tokens"),  # DeepSeek
        *((last.get(details), "cached_tokens") for details in ("prompt_tokens_details", "input_tokens_details")),
    )
    reasoned = *((last.get(details), "reasoning_tokens") for details in OUTPUT_DETAILS), (last, "reasoning_tokens")
    usage = Usage(
        prompt_tokens=_last_positive(stated, PROMPT_COUNTS),
        cached_tokens=_first_known(*cached),
        cache_write_tokens=_first_known((last.get("prompt_tokens_details"), "cache_write_tokens")),  # OpenRouter
        output_tokens=_last_positive(stated, OUTPUT_COUNTS),
        reasoning_tokens=_first_known(*reasoned),
        total_tokens=count(last, "total_tokens"),
    )
    return usage, arrivals


def _last_positive(usages: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int | None:
    """The last count above zero under any of the names, else zero where that is all that is said."""
    found = None
    for usage in reversed(usages):
        if said := _first_known(*((usage, name) for name in names)):
            return said
        found = 0 if said == 0 else found
    return found


def _first_known(*places: tuple[Any, str]) -> int | None:
    return next((found for counts, name in places if (found := count(counts, name)) is not None), None)


def content_coding(headers: Mapping[str, str]) -> str | None:
    """The coding that the body came in, though none was asked for; None for none."""
    coding = known_word(headers.get("content-encoding", "").lower())
    return None if coding == "identity" else coding


# --- the cold path ----------------------------------------------------------------------------------------------


def preflight(target: Target) -> ServerInfo:
    """What the server's model list says; Unlisted where it has none, or does not name the target's model.

    Many an API has no list, or one that leaves models out: whether it answers is then for a first request to say.
    """
    answer = _cold.fetch(target, _post.api(target, MODELS))
    try:
        return _server(target, find_model(target, _entries(target, answer)))
    except NotReady:
        raise
    except UserError as problem:
        if 300 <= answer.status < 400:
            raise
        raise Unlisted(str(problem), _server(target, {"id": target.model})) from None


def _server(target: Target, entry: Mapping[str, Any]) -> ServerInfo:
    ollama = entry.get("owned_by") == "library"
    return ServerInfo(
        name="ollama" if ollama else known_word(entry.get("owned_by")) or "openai-compatible",
        version=None,
        model=entry["id"],
        context_tokens=(loaded_context(target) if ollama else None) or context_tokens(entry),
        metrics_path=None,
        settings={},
    )


def loaded_context(target: Target) -> int | None:
    """The context of the model that an Ollama has loaded, to which it cuts prompts without a word; None elsewhere.

    Source: /api/ps, https://github.com/ollama/ollama/blob/main/docs/api.md.
    """
    try:
        running = probe_json(target, "/api/ps")
    except ServerFault:
        return None
    models = running.get("models") if isinstance(running, dict) else None
    for model in models if isinstance(models, list) else ():
        if isinstance(model, dict) and {model.get("name"), model.get("model")} & _known_as(target):
            return known_count(model, "context_length")
    return None


def served_models(target: Target) -> list[dict[str, Any]]:
    """The entries of the model list, each a dict with an `id`."""
    return _entries(target, _cold.fetch(target, _post.api(target, MODELS)))


def _entries(target: Target, answer: _cold.Answer) -> list[dict[str, Any]]:
    """What a list of models holds, be it bare or under a name."""
    path = _post.api(target, MODELS)
    listing = _cold.parse(target, path, answer)
    if isinstance(listing, dict):
        listing = next((listing[name] for name in ("data", "models") if isinstance(listing.get(name), list)), None)
    named = [{"id": one} if isinstance(one, str) else one for one in listing] if isinstance(listing, list) else [None]
    entries = [one for one in named if isinstance(one, dict) and known_id(one.get("id"))]
    if named and not entries:
        raise ServerFault(f"no LLM server at {target.url}: its {path} is no list of models; check --url")
    return entries


def find_model(target: Target, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of the target's model: the one that has its name or an alias, or was loaded from what they name."""
    known = _known_as(target)
    for field_name in ("id", "root"):  # vLLM and SGLang give the path or repository as `root`
        for entry in entries:
            if known_id(entry.get(field_name)) in known:
                return entry
    raise UserError(_no_such_model(target, [entry["id"] for entry in entries]))


def _known_as(target: Target) -> set[str]:
    """The model's names, and what Ollama (tiny:latest) and Google (models/gemini-…) make of them."""
    names = {target.model, *target.aliases}
    return names | {f"{name}:latest" for name in names} | {f"models/{name}" for name in names}


def context_tokens(entry: Mapping[str, Any]) -> int | None:
    """A model's context length under the names that vLLM and SGLang, OpenRouter, Groq and llama.cpp give it."""
    for name in ("max_model_len", "context_length", "context_window"):
        if length := known_count(entry, name):
            return length
    return known_count(entry.get("meta"), "n_ctx")


def count_tokens(target: Target, messages: tuple[Message, ...], extra: Mapping[str, Any] | None = None) -> int | None:
    """The prompt's length, template included, as the server counts it; None when it will not say.

    vLLM's /tokenize knows; elsewhere the usage of a one-token completion does, which is not asked of an API that bills.
    `extra` are fields of the request that the chat template sees.
    """
    told = chat_messages(_post.spoken(messages, target))
    conversation = {"model": target.model, "messages": told, **(extra or {})}
    try:
        answer = probe_json(target, "/tokenize", conversation)
    except ServerFault:  # some servers drop what they do not have
        answer = None
    if (count := known_count(answer, "count")) is not None:
        return count
    if "billed" in target.options:
        return None
    shortest = _post.worded({**conversation, "max_tokens": 1, "temperature": 0}, target)
    answer = probe_json(target, _post.api(target, COMPLETIONS), shortest)
    return known_count(answer.get("usage"), "prompt_tokens") if isinstance(answer, dict) else None


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
    adapt=adapt,
    loaded_context=loaded_context,
)
