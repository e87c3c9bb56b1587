"""Which format a file is in, by what its beginning has and no other format has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.types import UserError
from scenarios.traffic.chats import conversation
from scenarios.traffic.lines import json_objects, text_head
from scenarios.traffic.logs import TIMES
from scenarios.traffic.traces import AZURE, BLOCKS, BURSTGPT, MOONCAKE_BLOCK_TOKENS

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "copilot": ("session_id", "turns"),
    "litellm": ("call_type", "startTime"),
    "sharegpt": ("conversations",),
}


def detect(path: Path) -> str:
    """Name the format. Raises UserError for a file that is of none."""
    first = next((line for _, line in text_head(path) if line.strip()), "").strip()
    if not first:
        raise UserError(f"{path}: is empty: expected requests, one a line")
    if first[0] in "[{":
        return _of_json(path)
    columns = {cell.strip().strip('"') for cell in first.split(",")}
    for form, needed in (("azure", AZURE), ("burstgpt", BURSTGPT), ("langfuse", ("type", "start_time"))):
        if columns.issuperset(needed):
            return form
    return "times"


def _of_json(path: Path) -> str:
    _, value = next(json_objects(path), (None, {}))
    if str(value.get("type")).upper() in _OBSERVATIONS:
        return "langfuse"
    for form, needed in _KEYS.items():
        if value.keys() >= set(needed):
            return form
    if value.keys() >= set(BLOCKS):
        return _of_blocks(value)
    if any(name in value for name in TIMES):
        return "log"
    body = value.get("body", value)
    if isinstance(body, dict) and conversation(body.get("messages"))[0]:
        return "messages"
    if "prompt" in value:
        return "prompts"
    raise UserError(
        f"{path}:1: no known format has these keys: {', '.join(sorted(map(str, value))) or 'none'}; see docs/traffic.md"
    )


def _of_blocks(value: Mapping[str, Any]) -> str:
    """Mooncake and vLLM have one form and other units: the number of blocks tells how long each is."""
    length, blocks = value["input_length"], value.get("hash_ids")
    fits = type(length) is int and isinstance(blocks, list) and len(blocks) == -(-length // MOONCAKE_BLOCK_TOKENS)
    return "mooncake" if fits or not blocks else "timed_trace"


_OBSERVATIONS: Final = frozenset({"GENERATION", "SPAN", "EVENT"})
