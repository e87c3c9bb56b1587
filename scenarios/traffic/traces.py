"""Published traces: arrival times and lengths of requests, without their text.

Azure: https://github.com/Azure/AzurePublicDataset. BurstGPT: https://github.com/HPMLL/BurstGPT. Mooncake:
https://github.com/kvcache-ai/Mooncake. GitHub Copilot's agent sessions: arXiv 2608.00101. vLLM's timed traces:
`vllm bench serve --dataset-name timed_trace`.
"""

from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from scenarios.traffic.lines import csv_records, json_lines
from scenarios.traffic.rows import SECOND_NS, FilePosition, TrafficRow, ascending

AZURE: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURSTGPT: Final = ("Timestamp", "Request tokens", "Response tokens")
BLOCKS: Final = ("timestamp", "input_length", "output_length")
MOONCAKE_BLOCK_TOKENS: Final = 512
TIMED_TRACE_BLOCK_TOKENS: Final = 16
_MS: Final = 10**6


def azure(path: Path) -> Iterator[TrafficRow]:
    """Azure's LLM inference traces: local times, of which only differences are meaningful."""
    rows = (
        TrafficRow(
            place.line,
            t_ns=place.instant_ns("TIMESTAMP", cells["TIMESTAMP"]),
            prompt_tokens=place.tokens("ContextTokens", cells["ContextTokens"]),
            output_tokens=place.tokens("GeneratedTokens", cells["GeneratedTokens"]),
        )
        for place, cells in csv_records(path, AZURE)
    )
    return ascending(path, "TIMESTAMP", rows)


def burstgpt(path: Path) -> Iterator[TrafficRow]:
    """BurstGPT, with or without sessions: seconds since a midnight; a call without response tokens failed."""

    def row(place: FilePosition, cells: Mapping[str, str]) -> TrafficRow:
        output_tokens = place.tokens("Response tokens", cells["Response tokens"])
        return TrafficRow(
            place.line,
            t_ns=place.units_ns("Timestamp", cells["Timestamp"], SECOND_NS),
            prompt_tokens=place.tokens("Request tokens", cells["Request tokens"]),
            output_tokens=output_tokens or None,
            session=cells.get("Session ID") or None,
            model=cells.get("Model") or None,
            failed=output_tokens == 0,
        )

    return ascending(path, "Timestamp", (row(place, cells) for place, cells in csv_records(path, BURSTGPT)))


def mooncake(path: Path) -> Iterator[TrafficRow]:
    """Mooncake: milliseconds, and an id for each block of 512 tokens of the prompt."""
    return _of_blocks(path, MOONCAKE_BLOCK_TOKENS, _MS)


def timed_trace(path: Path) -> Iterator[TrafficRow]:
    """VLLM's timed trace, with its defaults: seconds, and an id for each block of 16 tokens of the prompt."""
    return _of_blocks(path, TIMED_TRACE_BLOCK_TOKENS, SECOND_NS)


def _of_blocks(path: Path, block_tokens: int, unit_ns: int) -> Iterator[TrafficRow]:
    def row(place: FilePosition, value: Mapping[str, Any]) -> TrafficRow:
        prompt_tokens = place.tokens("input_length", value.get("input_length"))
        blocks = _ids(place, value.get("hash_ids", []))
        wanted = -(-prompt_tokens // block_tokens)
        if blocks and len(blocks) != wanted:
            raise place.fault("hash_ids", f"{wanted} blocks of {block_tokens} tokens", f"{len(blocks)} blocks")
        return TrafficRow(
            place.line,
            t_ns=place.units_ns("timestamp", value.get("timestamp"), unit_ns),
            prompt_tokens=prompt_tokens,
            output_tokens=place.tokens("output_length", value.get("output_length")),
            blocks=blocks,
            block_tokens=block_tokens if blocks else None,
        )

    return ascending(path, "timestamp", (row(place, value) for place, value in json_lines(path)))


def _ids(place: FilePosition, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        raise place.fault("hash_ids", "a list of whole numbers", value)
    return tuple(value)


def copilot(path: Path) -> Iterator[TrafficRow]:
    """GitHub Copilot's coding agent, one session per line: its model calls, with the tools' time between them.

    Sessions are in the file's order, not in order of time: each has its own start.
    """
    for place, session in json_lines(path):
        name = place.text("session_id", session.get("session_id"))
        calls = [call for turn in _list(place, session, "turns") for call in _list(place, turn, "llm_calls")]
        timed = sorted(
            ((place.instant_ns("timestamp", call.get("timestamp")), call) for call in calls), key=itemgetter(0)
        )
        ended_ns: int | None = None
        for t_ns, call in timed:
            tokens = call.get("tokens") or {}
            duration_ns = place.units_ns("duration_ms", call.get("duration_ms") or 0, _MS)
            yield TrafficRow(
                place.line,
                t_ns=t_ns,
                prompt_tokens=place.tokens_or_none("tokens.prompt", tokens.get("prompt")),
                output_tokens=place.tokens_or_none("tokens.completion", tokens.get("completion")),
                cached_tokens=place.tokens_or_none("tokens.cached", tokens.get("cached")),
                session=name,
                pause_ns=None if ended_ns is None else max(0, t_ns - ended_ns),
                model=call.get("model"),
            )
            ended_ns = t_ns + duration_ns


def _list(place: FilePosition, value: Any, name: str) -> list[Any]:
    found = value.get(name, []) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise place.fault(name, "a list", found)
    return found
