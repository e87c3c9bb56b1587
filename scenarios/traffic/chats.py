"""Datasets of text: chats and prompts, with or without recorded answers, and without times.

OpenAI's chat messages and batch files: https://platform.openai.com/docs/guides/batch. ShareGPT is an array of
conversations of `human` and `gpt`.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal

from bench.types import Message
from scenarios.traffic.lines import json_lines, json_objects, text_lines
from scenarios.traffic.rows import TrafficRow

_Role = Literal["system", "user", "assistant"]
_ROLES: Final[Mapping[str, _Role]] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "model": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
}  # fmt: skip


def messages(path: Path) -> Iterator[TrafficRow]:
    """OpenAI's chat messages, one conversation per line, bare or as the body of a batch request."""
    for place, value in json_lines(path):
        inner = value.get("body")
        body: Mapping[str, Any] = inner if isinstance(inner, dict) else value
        if not isinstance(body.get("messages"), list):
            raise place.fault("messages", "a list of messages with a role and text", body.get("messages"))
        said, answer = conversation(body["messages"])
        yield TrafficRow(
            place.line, messages=said, answer=answer, session=value.get("custom_id"), model=body.get("model")
        )


def text(path: Path) -> Iterator[TrafficRow]:
    """Plain text: one prompt per line; an empty line is an empty row."""
    for number, line in text_lines(path):
        yield TrafficRow(number, messages=(Message("user", line.strip()),) if line.strip() else ())


def sharegpt(path: Path) -> Iterator[TrafficRow]:
    """ShareGPT: a row for each answer, whose prompt is everything before it; an empty row if there is no answer.

    Conversations that begin with an answer, or have two turns of one side in a row, are common: the first is dropped,
    the others are joined.
    """
    for place, value in json_objects(path):
        turns = value.get("conversations", value.get("messages"))
        if not isinstance(turns, list):
            raise place.fault("conversations", "a list of turns", turns)
        said: list[Message] = []
        answered = False
        for message in _messages(turns):
            if message.role == "assistant" and any(one.role == "user" for one in said):
                answered = True
                yield TrafficRow(place.line, session=_name(value), messages=tuple(said), answer=message.text)
            if message.role != "assistant" or any(one.role == "user" for one in said):
                said.append(message)
        if not answered:
            yield TrafficRow(place.line, session=_name(value))


def conversation(value: Any) -> tuple[tuple[Message, ...], str | None]:
    """The messages up to the user's last, and the answer after it, if any."""
    if isinstance(value, str):
        return ((Message("user", value),) if value.strip() else ()), None
    said = list(_messages(value.get("messages") if isinstance(value, dict) else value))
    answer = said.pop().text if said and said[-1].role == "assistant" else None
    return tuple(said), answer


def answer(value: Any) -> str | None:
    """The text of an answer as gateways keep it: bare, as a message, or as OpenAI's whole response."""
    if isinstance(value, dict):
        choices = value.get("choices", value.get("output"))  # of chats and completions, or of responses
        said = (
            [each for each in choices if not isinstance(each, dict) or each.get("type") in (None, "message")]
            if isinstance(choices, list)
            else []
        )
        inner = said[0] if said else value
        message = inner.get("message", inner) if isinstance(inner, dict) else {}
        value = message.get("content", message.get("text")) if isinstance(message, dict) else None
    return _text(value) or None


def parsed(value: Any) -> Any:
    """The content of a cell: in CSV, anything but text is written as JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, list | dict) else value


def _messages(turns: Any) -> Iterator[Message]:
    for role, texts in groupby(_said(turns), key=itemgetter(0)):
        yield Message(role, "\n\n".join(text for _, text in texts))


def _said(turns: Any) -> Iterator[tuple[_Role, str]]:
    for turn in turns if isinstance(turns, list) else ():
        if not isinstance(turn, dict):
            continue
        role = _ROLES.get(str(turn.get("role", turn.get("from"))).lower())
        text = _text(turn.get("content", turn.get("value")))
        if role is not None and text:
            yield role, text


def _text(value: Any) -> str:
    if isinstance(value, list):
        texts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))
    return value if isinstance(value, str) else ""


def _name(value: Mapping[str, Any]) -> str | None:
    name = value.get("id")
    return name if isinstance(name, str) else None
