"""What a server of OpenAI's API says about itself before the load: its list of models, and how it counts prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.cold import http
from backends.dialect import outgoing
from backends.dialect.openai import prompt_fields, route
from backends.dialect.outside import known_count, known_id, known_limit, known_word, lenient
from bench.process.exchange import HttpAnswer
from bench.suggest import did_you_mean
from bench.types import Message, NotReady, ServerFault, ServerInfo, Target, Unlisted, UserError

MODELS = "/models"
_SHOWN = 8
_LEAST_OF_RESPONSES = 16  # the fewest output tokens that OpenAI allows there


def preflight(target: Target) -> ServerInfo:
    """The server's model list; Unlisted if it has none, or does not contain the target's model.

    Many APIs have no list, or an incomplete one: a first request shows whether they answer.
    """
    answer = http.fetch(target, outgoing.api(target, MODELS))
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
    """The context of the model loaded in Ollama, to which it truncates prompts silently; None for other servers.

    Source: /api/ps, https://github.com/ollama/ollama/blob/main/docs/api.md.
    """
    try:
        running = probe_json(target, "/api/ps")
    except ServerFault:
        return None
    models = running.get("models") if isinstance(running, dict) else None
    for model in models if isinstance(models, list) else ():
        if isinstance(model, dict) and {model.get("name"), model.get("model")} & _known_as(target):
            return known_limit(model, "context_length")
    return None


def served_models(target: Target) -> list[dict[str, Any]]:
    """The entries of the model list, each a dict with an `id`."""
    return _entries(target, http.fetch(target, outgoing.api(target, MODELS)))


def _entries(target: Target, answer: HttpAnswer) -> list[dict[str, Any]]:
    """The contents of a list of models, whether bare or inside an object."""
    path = outgoing.api(target, MODELS)
    listing = http.parse(target, path, answer)
    if isinstance(listing, dict):
        listing = next((listing[name] for name in ("data", "models") if isinstance(listing.get(name), list)), None)
    named = [_with_id(one) for one in listing] if isinstance(listing, list) else [None]
    entries = [one for one in named if isinstance(one, dict) and known_id(one.get("id"))]
    if named and not entries:
        raise ServerFault(f"no LLM server at {target.url}: its {path} is not a list of models; check --url")
    return entries


def _with_id(entry: Any) -> Any:
    """An entry with the name under `id`; some lists have it as `name`, or consist only of names."""
    if isinstance(entry, str):
        return {"id": entry}
    return entry | {"id": entry["name"]} if isinstance(entry, dict) and "id" not in entry and "name" in entry else entry


def find_model(target: Target, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The entry of the target's model: the one with its name or an alias, or loaded from what these name."""
    known = _known_as(target)
    for field_name in ("id", "root"):  # vLLM and SGLang give the path or repository as `root`
        for entry in entries:
            if known_id(entry.get(field_name)) in known:
                return entry
    raise UserError(_no_such_model(target, [entry["id"] for entry in entries]))


def _known_as(target: Target) -> set[str]:
    """The model's names, and the forms that Ollama (tiny:latest) and Google (models/gemini-…) make of them."""
    names = {target.model, *target.aliases}
    return names | {f"{name}:latest" for name in names} | {f"models/{name}" for name in names}


def context_tokens(entry: Mapping[str, Any]) -> int | None:
    """A model's context length, by the names that vLLM and SGLang, OpenRouter, Groq and llama.cpp use."""
    for name in ("max_model_len", "context_length", "context_window"):
        if length := known_limit(entry, name):
            return length
    return known_limit(entry.get("meta"), "n_ctx")


def count_tokens(target: Target, messages: tuple[Message, ...], extra: Mapping[str, Any] | None = None) -> int | None:
    """The prompt's length, template included, as the server counts it; None if it does not say.

    vLLM has /tokenize; otherwise it is taken from the usage of a one-token completion, which is not requested from an
    API that bills. `extra` are fields of the request that the chat template sees.
    """
    in_the_template = {"model": target.model, **outgoing.merged(extra or {}, outgoing.template_fields(target))}
    prompt = prompt_fields(target, messages)
    by_responses = "input" in prompt
    try:
        text = {"messages": prompt["input"]} if by_responses else prompt
        answer = probe_json(target, "/tokenize", {**in_the_template, **text})
    except ServerFault:  # some servers close the connection instead of answering 404
        answer = None
    if (count := known_count(answer, "count")) is not None:
        return count
    if "billed" in target.options:
        return None
    length = {"max_output_tokens": _LEAST_OF_RESPONSES} if by_responses else {"max_tokens": 1}
    shortest = outgoing.worded({**in_the_template, **prompt, **length, "temperature": 0}, target)
    answer = probe_json(target, route(target), shortest)
    usage = answer.get("usage") if isinstance(answer, dict) else None
    return known_count(usage, "input_tokens" if by_responses else "prompt_tokens")


def probe_json(target: Target, path: str, payload: object = None) -> Any:
    """The JSON at a path that a server of this dialect may not have; None unless it answers with 200."""
    answer = http.fetch(target, path, payload, timeout_s=60)
    return lenient(answer.data) if answer.status == 200 else None


def _no_such_model(target: Target, served: Sequence[str]) -> str:
    near = did_you_mean(target.model, served)
    return f"{target.url} does not serve the model {target.model!r}; it serves {first_of(served) or 'none'}{near}"


def first_of(models: Sequence[str]) -> str:
    """The first of a server's models by name, and the number of others."""
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return f"{', '.join(models[:_SHOWN])}{more}"
