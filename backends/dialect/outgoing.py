"""What the requests of all dialects have in common: address, headers, and adaptations to the server.

These keys of `Target.options` belong to no single dialect. `api_path` stands between the base URL and an API's routes,
by default /v1. `temperature` and `top_p` are numbers, `temperature` = server sends none; `seed_requests` = off sends no
seed; `stream` = off asks for answers in one piece. `extra_body` is a JSON object of fields that go with every request,
`asked_for` the names of those that the user has asked for. `without` names fields that the server refuses, `renamed`
fields that it knows by another name (old=new), all separated by blanks; `system` = user folds system messages into the
user's.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson

from bench.types import Call, Headers, HttpRequest, Message, Target

API_PATH = "/v1"
SERVERS_OWN = "server"
CHOICES: Mapping[str, tuple[str, ...]] = {
    "temperature": ("0", "<temperature>", SERVERS_OWN),
    "top_p": (SERVERS_OWN, "<share>"),
    "seed_requests": ("on", "off"),
    "stream": ("on", "off"),
    "extra_body": ("<json>",),
}
"""Sampling, streaming and what else a request may hold: choices that most dialects leave to the user."""
# The part of a request that a chat template sees, and so counts in the prompt.
_IN_THE_TEMPLATE = ("chat_template", "chat_template_kwargs", "tools", "documents", "add_generation_prompt")
_BETWEEN = "\n\n"


def post(
    target: Target, route: str, headers: Headers, payload: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> HttpRequest:
    """The request that carries `payload`, worded by the target's options, with the user's `own` fields."""
    path = urlsplit(target.url).path.rstrip("/") + route
    # The user's own fields are not reworded: a schema may have fields of any name.
    fields = merged(merged(worded(payload, target), own or {}), extra_body(target))
    return HttpRequest("POST", with_query(path, target), with_own(headers, target), orjson.dumps(fields))


def sampling(target: Target, seed: int | None = None, default: str = "0") -> dict[str, Any]:
    """The sampling fields; `default` is the temperature if the target has none.

    None as seed: the dialect has no field for one.
    """
    fields = {
        "temperature": _number(target.options.get("temperature", default)),
        "top_p": _number(target.options.get("top_p", SERVERS_OWN)),
        "seed": None if target.options.get("seed_requests") == "off" else seed,
    }
    return {name: value for name, value in fields.items() if value is not None}


@lru_cache(maxsize=16)
def _number(text: str) -> float | None:
    """None leaves it to the server."""
    if text == SERVERS_OWN:
        return None
    value = float(text)
    return int(value) if value.is_integer() else value


def extra_body(target: Target) -> Mapping[str, Any]:
    """The user's own fields."""
    text = target.options.get("extra_body")
    return parsed(text) if text else {}


@lru_cache(maxsize=16)
def parsed(text: str) -> Any:
    """An option's JSON value, which must not be changed."""
    return orjson.loads(text)


def template_fields(target: Target) -> dict[str, Any]:
    """What the chat template sees besides messages: tools, and those of the user's own fields that concern it."""
    tools = {"tools": parsed(target.options["tools"])} if "tools" in target.options else {}
    return tools | {name: value for name, value in extra_body(target).items() if name in _IN_THE_TEMPLATE}


def merged(payload: Mapping[str, Any], own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The payload merged with the user's own fields, object by object; in a conflict the user's win."""
    if not own:
        return payload
    both = dict(payload)
    for name, value in own.items():
        ours = both.get(name)
        both[name] = merged(ours, value) if isinstance(ours, dict) and isinstance(value, dict) else value
    return both


def api(target: Target, route: str) -> str:
    """A route of the API, such as /models, under the base URL."""
    return target.options.get("api_path", API_PATH) + route


def with_query(path: str, target: Target) -> str:
    """A path with the target URL's query."""
    if not target.query:
        return path
    return f"{path}{'&' if '?' in path else '?'}{target.query}"


def with_own(headers: Headers, target: Target) -> Headers:
    """Headers plus the user's own, which replace those of the same name."""
    if not target.headers:
        return headers
    own = {name.lower() for name, _ in target.headers}
    return (*(header for header in headers if header[0].lower() not in own), *target.headers)


def adapter_of(call: Call, target: Target) -> str | None:
    """The adapter to ask for: the call's own, else the one for all."""
    return call.adapter or target.options.get("adapter")


def is_streamed(target: Target) -> bool:
    """Whether answers are requested as streams."""
    return target.options.get("stream") != "off"


def usual(target: Target) -> Headers:
    """The headers of every request, and of the answer that it asks for."""
    # A compressor would hold tokens back until it has enough of them.
    wanted = "text/event-stream" if is_streamed(target) else "application/json"
    return (("Content-Type", "application/json"), ("Accept", wanted), ("Accept-Encoding", "identity"))


def bearer(target: Target) -> Headers:
    """The key as most servers expect it."""
    return (("Authorization", f"Bearer {target.api_key}"),) if target.api_key else ()


def spoken(messages: Sequence[Message], target: Target) -> tuple[Message, ...]:
    """The messages, with roles that the server knows."""
    if target.options.get("system") != "user" or all(message.role != "system" for message in messages):
        return tuple(messages)
    system = [message.text for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    for number, message in enumerate(turns):
        if message.role == "user":
            turns[number] = message._replace(text=_BETWEEN.join((*system, message.text)))
            return tuple(turns)
    return (Message("user", _BETWEEN.join(system)), *turns)


def plain_text(messages: Sequence[Message]) -> str:
    """The messages as one text, without saying who said what."""
    return _BETWEEN.join(message.text for message in messages)


def worded(payload: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """The payload without fields that the server refuses, under the names that it knows."""
    refused, renamed = target.options.get("without"), target.options.get("renamed")
    if not refused and not renamed:
        return payload
    without = set((refused or "").split())
    names = dict(pair.split("=", 1) for pair in (renamed or "").split())
    adapted: dict[str, Any] = _reworded(payload, without, names)
    return adapted


def _reworded(value: Any, without: set[str], names: Mapping[str, str]) -> Any:
    """Recursively through a payload; an object that has lost all its fields is removed too."""
    if isinstance(value, list):
        return [_reworded(one, without, names) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, one in value.items():
        if name not in without:
            inner = _reworded(one, without, names)
            if inner != {} or one == {}:
                kept[names.get(name, name)] = inner
    return kept
