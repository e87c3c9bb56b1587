"""What the requests of all dialects have in common: where they go, whose headers they carry, what was adapted in them.

Three of `Target.options` are no dialect's own. `api_path` stands between the base URL and an API's routes, /v1 unless
said otherwise. `without` names fields that the server does not take, `renamed` fields that it knows by another name
(old=new), both with blanks between; `system` = user folds system messages into the user's.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from bench.types import Headers, HttpRequest, Message, Target

API_PATH = "/v1"
# A compressor holds tokens back until it has enough of them.
STREAMED: Headers = (
    ("Content-Type", "application/json"),
    ("Accept", "text/event-stream"),
    ("Accept-Encoding", "identity"),
)
_BETWEEN = "\n\n"


def post(target: Target, route: str, headers: Headers, payload: Mapping[str, Any]) -> HttpRequest:
    """The request that carries `payload`, as the target's options want it worded."""
    path = urlsplit(target.url).path.rstrip("/") + route
    return HttpRequest(
        "POST", with_query(path, target), with_own(headers, target), orjson.dumps(worded(payload, target))
    )


def api(target: Target, route: str) -> str:
    """A route of the API, such as /models, under the base URL."""
    return target.options.get("api_path", API_PATH) + route


def with_query(path: str, target: Target) -> str:
    """A path with what the target's URL has behind the question mark."""
    if not target.query:
        return path
    return f"{path}{'&' if '?' in path else '?'}{target.query}"


def with_own(headers: Headers, target: Target) -> Headers:
    """Headers with the user's own, which replace those of the same name."""
    if not target.headers:
        return headers
    own = {name.lower() for name, _ in target.headers}
    return (*(header for header in headers if header[0].lower() not in own), *target.headers)


def bearer(target: Target) -> Headers:
    """The key as most servers want it."""
    return (("Authorization", f"Bearer {target.api_key}"),) if target.api_key else ()


def spoken(messages: Sequence[Message], target: Target) -> tuple[Message, ...]:
    """The messages by roles that the server knows."""
    if target.options.get("system") != "user" or all(message.role != "system" for message in messages):
        return tuple(messages)
    told = [message.text for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    for number, message in enumerate(turns):
        if message.role == "user":
            turns[number] = message._replace(text=_BETWEEN.join((*told, message.text)))
            return tuple(turns)
    return (Message("user", _BETWEEN.join(told)), *turns)


def worded(payload: Mapping[str, Any], target: Target) -> Mapping[str, Any]:
    """The payload without what the server refuses, and by the names that it wants."""
    without = set(target.options.get("without", "").split())
    names = dict(pair.split("=", 1) for pair in target.options.get("renamed", "").split())
    if not without and not names:
        return payload
    adapted: dict[str, Any] = _reworded(payload, without, names)
    return adapted


def _reworded(value: Any, without: set[str], names: Mapping[str, str]) -> Any:
    """Through all of a payload; an object that has lost all its fields goes with them."""
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
