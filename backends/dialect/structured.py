"""Tools and response formats, which each dialect encodes differently.

`Target.options` hold them as OpenAI's chat has them: `tools`, a JSON list of functions, and `response_format`, a JSON
object of the type json_object or json_schema.
"""

from collections.abc import Mapping
from typing import Any

from backends.dialect import outgoing
from bench.types import Target

CHOICES: Mapping[str, tuple[str, ...]] = {"tools": ("<json>",), "response_format": ("<json>",)}


def for_chat(target: Target) -> dict[str, Any]:
    """The fields of chat completions."""
    return {name: outgoing.parsed(target.options[name]) for name in CHOICES if name in target.options}


def for_responses(target: Target) -> dict[str, Any]:
    """Those of the Responses API, where tools and formats have no nested object."""
    chat, fields = for_chat(target), dict[str, Any]()
    if tools := chat.get("tools"):
        fields["tools"] = [{"type": "function", **tool["function"]} for tool in tools]
    if wanted := chat.get("response_format"):
        fields["text"] = {"format": {"type": wanted["type"], **wanted.get("json_schema", {})}}
    return fields


def for_messages(target: Target) -> dict[str, Any]:
    """Those of the Messages API, where a format is only a schema."""
    chat, fields = for_chat(target), dict[str, Any]()
    if tools := chat.get("tools"):
        fields["tools"] = [_tool_of_messages(tool["function"]) for tool in tools]
    if schema := chat.get("response_format", {}).get("json_schema", {}).get("schema"):
        fields["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return fields


def _tool_of_messages(function: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: function[name] for name in ("name", "description") if name in function}
    return {**kept, "input_schema": function.get("parameters", {"type": "object"})}


def is_formatted(target: Target) -> bool:
    """Whether an answer has a format, and ends when that is complete: its length cannot be chosen."""
    return "response_format" in target.options
