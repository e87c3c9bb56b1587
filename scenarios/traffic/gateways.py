"""Exports of production traffic from gateways and tracers: LiteLLM's log payloads, Langfuse's observations.

LiteLLM: https://docs.litellm.ai/docs/proxy/logging_spec. Langfuse:
https://langfuse.com/docs/api-and-data-platform/features/blob-storage-export-fields.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.types import Message
from scenarios.traffic.chats import answer, conversation, parsed
from scenarios.traffic.lines import csv_records, first_character, json_objects
from scenarios.traffic.rows import FilePosition, TrafficRow, in_order

_REDACTED: Final = "redacted-by-litellm"
_GENERATED: Final = ("completion", "acompletion", "text_completion", "atext_completion", "responses", "aresponses",
                     "anthropic_messages", "")  # fmt: skip


def litellm(path: Path) -> Iterator[TrafficRow]:
    """LiteLLM's StandardLoggingPayload, or its spend logs, as an array or one per line.

    Calls that generate nothing are skipped; redacted ones still have lengths.
    """

    def row(place: FilePosition, call: Mapping[str, Any]) -> TrafficRow:
        messages, text = _asked(call.get("messages")), answer(parsed(call.get("response")))
        # The placeholder for redacted text says nothing about it.
        is_hidden = any(message.text == _REDACTED for message in messages)
        return TrafficRow(
            place.line,
            t_ns=place.instant_ns("startTime", call.get("startTime")),
            prompt_tokens=place.tokens_or_none("prompt_tokens", call.get("prompt_tokens")),
            output_tokens=place.tokens_or_none("completion_tokens", call.get("completion_tokens")),
            cached_tokens=place.tokens_or_none("usage_object", _cached(call.get("metadata"))),
            session=call.get("trace_id") or call.get("session_id") or None,
            messages=() if is_hidden else messages,
            answer=None if is_hidden or text == _REDACTED else text,
            model=call.get("model"),
            failed=call.get("status") == "failure",
        )

    calls = ((place, call) for place, call in json_objects(path) if (call.get("call_type") or "") in _GENERATED)
    return in_order(row(place, call) for place, call in calls)


def _asked(value: Any) -> tuple[Message, ...]:
    """Messages, also written as JSON; any other text is a prompt, whatever it looks like."""
    found = conversation(parsed(value))[0]
    return found if found or value in ("{}", "[]") else conversation(value)[0]


def _cached(metadata: Any) -> Any:
    """Tokens read from the provider's cache, according to its usage."""
    for name in ("usage_object", "prompt_tokens_details"):
        metadata = metadata.get(name) if isinstance(metadata, dict) else None
    return metadata.get("cached_tokens") if isinstance(metadata, dict) else None


def langfuse(path: Path) -> Iterator[TrafficRow]:
    """Langfuse's observations, JSON or CSV, from the export or the API: those that are generations."""
    found = _unpacked(json_objects(path)) if first_character(path) in "[{" else csv_records(path, ("type",))

    def row(place: FilePosition, one: Mapping[str, Any]) -> TrafficRow:
        usage = parsed(one.get("usage_details", one.get("usageDetails"))) or {}
        if not isinstance(usage, dict):
            raise place.fault("usage_details", "an object of counts", usage)
        cached = [count for name, count in usage.items() if name.startswith("input_") and "cache" in name]
        inputs = [count for name, count in usage.items() if name == "input" or name.startswith("input_")]
        start = "start_time" if "start_time" in one else "startTime"
        return TrafficRow(
            place.line,
            t_ns=place.instant_ns(start, one.get(start)),
            prompt_tokens=sum(place.tokens("usage_details", count) for count in inputs) if inputs else None,
            output_tokens=place.tokens_or_none("usage_details.output", usage.get("output")),
            cached_tokens=sum(place.tokens("usage_details", count) for count in cached) if cached else None,
            session=one.get("session_id") or one.get("sessionId") or None,
            messages=_asked(one.get("input")),
            answer=answer(parsed(one.get("output"))),
            model=one.get("provided_model_name") or one.get("providedModelName") or None,
        )

    return in_order(row(place, one) for place, one in found if str(one.get("type")).upper() == "GENERATION")


def _unpacked(
    found: Iterator[tuple[FilePosition, Mapping[str, Any]]],
) -> Iterator[tuple[FilePosition, Mapping[str, Any]]]:
    """An answer of the API has a page of observations in `data`."""
    for place, one in found:
        page = one.get("data")
        if isinstance(page, list) and "type" not in one:
            yield from ((place, each) for each in page if isinstance(each, dict))
        else:
            yield place, one
