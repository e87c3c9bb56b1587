"""Logs of one's own: JSON lines with a time, and messages or lengths; or times alone, one a line or in CSV."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.types import UserError
from scenarios.traffic.chats import conversation
from scenarios.traffic.lines import json_objects, text_lines
from scenarios.traffic.rows import FilePosition, TrafficRow, ascending

TIMES: Final = ("timestamp", "time", "ts", "start_time", "created_at")
_PROMPT: Final = ("prompt_tokens", "input_tokens", "input_length")
_OUTPUT: Final = ("output_tokens", "completion_tokens", "output_length")
_SESSION: Final = ("session_id", "session", "conversation_id")


def log(path: Path) -> Iterator[TrafficRow]:
    """One call a line: a time (ISO 8601 or Unix seconds), messages or a prompt or lengths, perhaps a session."""

    def row(place: FilePosition, value: Mapping[str, Any]) -> TrafficRow:
        time = _first(value, TIMES)
        if time is None:
            raise place.fault(TIMES[0], "a time", "nothing")
        prompt, output, session = (_first(value, names) for names in (_PROMPT, _OUTPUT, _SESSION))
        asked = value.get("messages", [{"role": "user", "content": value.get("prompt")}])
        messages, answer = conversation(asked)
        return TrafficRow(
            place.line,
            t_ns=place.instant_ns(time, value[time]),
            prompt_tokens=place.tokens(prompt, value[prompt]) if prompt else None,
            output_tokens=place.tokens(output, value[output]) if output else None,
            cached_tokens=place.tokens_or_none("cached_tokens", value.get("cached_tokens")),
            session=str(value[session]) if session else None,
            messages=messages,
            answer=answer,
            model=value.get("model"),
        )

    return ascending(path, TIMES[0], (row(place, value) for place, value in json_objects(path)))


def times(path: Path) -> Iterator[TrafficRow]:
    """Times alone, one a line or as a column of CSV, the one that is named so, else the first that holds times.

    Other columns are read where they are named as in a log. A column `prefix` says which requests share a prefix.
    """
    header: dict[str, int] = {}
    at: int | None = None
    prefixes: dict[str, int] = {}
    reader = csv.reader(line + "\n" for _, line in text_lines(path))
    for cells in reader:
        if not any(map(str.strip, cells)):
            continue
        place = FilePosition(path, reader.line_num)
        if at is None and not header and not any(_is_time(place, cell) for cell in cells):
            header = {cell.strip().lower(): i for i, cell in enumerate(cells)}
            continue
        if at is None:
            named = [header[name] for name in TIMES if name in header]
            at = (named or [i for i, cell in enumerate(cells) if _is_time(place, cell)] or [0])[0]
        cell = {name: cells[i].strip() for name, i in header.items() if i < len(cells)}
        prompt, output, session = (_first(cell, names) for names in (_PROMPT, _OUTPUT, _SESSION))
        prefix = cell.get("prefix", "") if "prefix" in header else None
        yield TrafficRow(
            place.line,
            t_ns=place.instant_ns("time", cells[at].strip() if at < len(cells) else ""),
            prompt_tokens=place.tokens(prompt, cell[prompt]) if prompt else None,
            output_tokens=place.tokens(output, cell[output]) if output else None,
            session=cell[session] if session else None,
            blocks=() if prefix is None else (prefixes.setdefault(prefix, len(prefixes)),),
        )


def _is_time(place: FilePosition, cell: str) -> bool:
    try:
        place.instant_ns("time", cell.strip())
    except UserError:
        return False
    return True


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if value.get(name) not in (None, "")), None)
