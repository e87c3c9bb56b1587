"""What a server of the Messages API says about its model before the load, and how it counts prompts."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from backends.cold import anthropic as anthropic_client
from backends.cold import openai
from backends.dialect import structured
from backends.dialect.claude import KEY_VARIABLE, THINKING_TYPES, identity, option, prompt_fields, thinking_field
from backends.dialect.outside import known_fields, known_id, known_limit, known_word
from bench.types import Message, ServerInfo, Target, UserError

KEY_HEADERS = frozenset({"x-api-key", "authorization"})


def preflight(target: Target) -> ServerInfo:
    """What the server says about the model; UserError unless it accepts the key and serves the model as the options
    ask.

    vLLM and llama.cpp have a list of models rather than a page for each; llama.cpp serves its one model under any name.
    """
    thinking = thinking_field(option(target, "thinking"))
    _check_key(target)
    page = anthropic_client.model_page(target, identity(target))
    if page is None:
        entries = openai.served_models(target)
        if len(entries) == 1 and entries[0].get("owned_by") == "llamacpp":
            target = replace(target, model=entries[0]["id"])
        return openai.preflight(target)
    return ServerInfo(
        name=known_word(page.get("owned_by")) or "anthropic",
        version=None,
        model=known_id(page["id"]) or target.model,
        context_tokens=known_limit(page, "max_input_tokens") or openai.context_tokens(page),
        metrics_path=None,
        settings={"max_output_tokens": known_limit(page, "max_tokens")},
        max_output_tokens=known_limit(page, "max_tokens"),
        notes=tuple(_notes(target, page, thinking)),
    )


def count_tokens(target: Target, messages: tuple[Message, ...]) -> int | None:
    """The prompt's length as counted (Anthropic: estimated) by the server; None if it does not count."""
    prompt = prompt_fields(target, messages) | structured.for_messages(target)
    return anthropic_client.count_tokens(target, identity(target), prompt)


def _check_key(target: Target) -> None:
    host = urlsplit(target.url).hostname or ""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    own = {name.lower() for name, _ in target.headers}
    if not (target.api_key or loopback or own & KEY_HEADERS):
        raise UserError(
            f"{target.url} requires an API key; set {KEY_VARIABLE} (to any word, if the server does not check it)"
        )


def _notes(target: Target, page: Mapping[str, Any], thinking: Mapping[str, Any] | None) -> Iterator[str]:
    """Notes about the model; UserError if it cannot answer as the run would ask."""
    ability = known_fields(known_fields(page.get("capabilities")).get("thinking"))
    ways = {name: known_fields(way).get("supported") for name, way in known_fields(ability.get("types")).items()}
    if thinking and ways.get(thinking["type"]) is False:
        choices = [choice for choice, name in THINKING_TYPES.items() if ways.get(name)]
        raise UserError(
            f"--thinking: {target.model} does not support {thinking['type']!r}; give {' or '.join(choices)}"
        )
    if not thinking and ability.get("supported"):
        yield f"{target.model} may think before it answers, which is billed as output; choose with --thinking on or off"
    if page.get("lifecycle") == "retired":
        raise UserError(f"{target.model} is retired and no longer served; give a newer --model")
    if page.get("lifecycle") == "deprecated":
        day = known_word(page.get("retires_at")) or "a date not yet announced"
        yield f"{target.model} is deprecated; it retires on {day}"
