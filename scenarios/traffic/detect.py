"""Detect a file's format by features of its beginning that no other format has."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.types import UserError
from scenarios.traffic.lines import json_objects, opened, text_head
from scenarios.traffic.logs import CHATS, PROMPTS, TIMES, holds_times
from scenarios.traffic.rows import shown_names
from scenarios.traffic.traces import AZURE, BLOCKS, BURSTGPT, MOONCAKE_BLOCK_TOKENS

_KEYS: Final = (
    ("copilot", ("session_id", "turns")),
    ("litellm", ("call_type", "startTime")),
    ("sharegpt", ("conversations",)),
)
_COLUMNS: Final = (
    ("azure", AZURE),
    ("burstgpt", BURSTGPT),
    ("langfuse", ("type", "start_time")),
    ("langfuse", ("type", "startTime")),
)
_OBSERVATIONS: Final = frozenset({"GENERATION", "SPAN", "EVENT"})
_PARQUET: Final = b"PAR1"
_LINES_LOOKED_AT: Final = 20


def detect(path: Path) -> str:
    """The name of the format. Raises UserError for an unknown one."""
    with opened(path) as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            return "parquet"
    lines = [line for _, line in text_head(path) if line.strip()][:_LINES_LOOKED_AT]
    if not lines:
        raise UserError(f"{path}: is empty; expected requests, one per line")
    if lines[0].strip()[0] in "[{":
        return _of_json(path)
    header, *rest = csv.reader(lines)
    columns = {cell.strip() for cell in header}
    for form, needed in _COLUMNS:
        if columns.issuperset(needed):
            return form
    lower = {column.lower() for column in columns}
    if lower & {*CHATS, *PROMPTS} and (len(columns) > 1 or path.name.removesuffix(".gz").endswith(".csv")):
        return "table"
    return "times" if lower & {*TIMES} or holds_times(path, header, rest) else "text"


def _of_json(path: Path) -> str:
    _, value = next(json_objects(path), (None, {}))
    if str(value.get("type")).upper() in _OBSERVATIONS or (isinstance(value.get("data"), list) and "meta" in value):
        return "langfuse"
    for form, needed in _KEYS:
        if value.keys() >= set(needed):
            return form
    if value.keys() >= set(BLOCKS):
        return _of_blocks(value)
    if any(name in value for name in TIMES):
        return "log"
    body = value.get("body", value)
    if isinstance(body, dict) and isinstance(body.get("messages"), list):
        return "messages"
    if any(name in value for name in PROMPTS):
        return "prompts"
    raise UserError(
        f"{path}:1: no known format has these keys: {shown_names(sorted(map(str, value)))}; see docs/traffic.md"
    )


def _of_blocks(value: Mapping[str, Any]) -> str:
    """Mooncake and vLLM have one form and different units: the number of blocks shows which."""
    length, blocks = value["input_length"], value.get("hash_ids")
    fits = type(length) is int and isinstance(blocks, list) and len(blocks) == -(-length // MOONCAKE_BLOCK_TOKENS)
    return "mooncake" if fits or not blocks else "timed_trace"
