"""The user's own logs, prompts and tables, as records with named values in JSON, CSV or Parquet; and bare times."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.types import Message, UserError
from scenarios.traffic.chats import conversation, parsed
from scenarios.traffic.columns import parquet_records
from scenarios.traffic.lines import csv_records, csv_rows, json_objects
from scenarios.traffic.rows import FilePosition, TrafficRow, ascending, shown_names

TIMES: Final = ("timestamp", "time", "ts", "start_time", "created_at")
CHATS: Final = ("messages", "conversations", "conversation")
PROMPTS: Final = ("prompt", "instruction", "question", "query", "text", "input")
_ANSWER: Final = ("completion", "response", "output", "answer")
_PROMPT: Final = ("prompt_tokens", "input_tokens", "input_length", "contexttokens", "request tokens")
_OUTPUT: Final = ("output_tokens", "completion_tokens", "output_length", "generatedtokens", "response tokens")
_SESSION: Final = ("session_id", "session", "conversation_id", "session id")
_WORDS: Final = re.compile(r"[^\W\d_]\s+[^\W\d_]")
COLUMNS: Final = (*TIMES, *CHATS, *PROMPTS, *_ANSWER, *_PROMPT, *_OUTPUT, *_SESSION, "cached_tokens", "model")
"""The names by which values are recognised; a prompt of `instruction` is followed by the content of `input`."""


def log(path: Path) -> Iterator[TrafficRow]:
    """One call per line: a time (ISO 8601 or Unix seconds), messages or a prompt or lengths, perhaps a session."""

    def row(place: FilePosition, value: Mapping[str, Any]) -> TrafficRow:
        if _first(value, TIMES) is None:
            raise place.fault(TIMES[0], "a time", "nothing")
        return _recorded(place, value)

    return ascending(path, TIMES[0], (row(place, value) for place, value in json_objects(path)))


def prompts(path: Path) -> Iterator[TrafficRow]:
    """One prompt per line: `{"prompt": …}`, with the answer as `completion`, `response` or `output`, if any."""
    for place, value in json_objects(path):
        if not any(name in value for name in PROMPTS):
            raise place.fault(PROMPTS[0], "text", "nothing")
        yield _recorded(place, value)


def table(path: Path) -> Iterator[TrafficRow]:
    """CSV with a column of prompts or of messages in JSON; others are read where they are named as in a log."""
    return _of_columns(path, csv_records(path, ()))


def parquet(path: Path) -> Iterator[TrafficRow]:
    """Parquet with a column of prompts or of messages, or of times and lengths; its rows count from 1."""
    return _of_columns(path, parquet_records(path, COLUMNS))


def _of_columns(path: Path, records: Iterator[tuple[FilePosition, Mapping[str, Any]]]) -> Iterator[TrafficRow]:
    def rows() -> Iterator[TrafficRow]:
        for place, record in records:
            value = {name.lower(): cell for name, cell in record.items()}
            if not any(name in value for name in (*CHATS, *PROMPTS, *TIMES, *_PROMPT)):
                known = ", ".join((*CHATS, *PROMPTS))
                raise UserError(
                    f"{path}:1: no column of prompts: it has {shown_names(record)}; expected one of {known}"
                )
            yield _recorded(place, {name: parsed(cell) if name in CHATS else cell for name, cell in value.items()})

    return ascending(path, TIMES[0], rows())


def _recorded(place: FilePosition, value: Mapping[str, Any]) -> TrafficRow:
    """Read a record by the names of its values; what it does not have is None."""
    time = _first(value, TIMES)
    messages, answer = _asked(place, value)
    answers = (value[name] for name in _ANSWER if isinstance(value.get(name), str) and value[name])
    t_ns = place.instant_ns(time, value[time]) if time else None
    return _lengths(place, value)._replace(
        t_ns=t_ns,
        cached_tokens=place.tokens_or_none("cached_tokens", value.get("cached_tokens")),
        messages=messages,
        answer=next(answers, answer),
        model=value.get("model"),
    )


def _lengths(place: FilePosition, value: Mapping[str, Any]) -> TrafficRow:
    """Read a record's lengths, and which session it is of."""
    prompt, output, session = (_first(value, names) for names in (_PROMPT, _OUTPUT, _SESSION))
    return TrafficRow(
        place.line,
        prompt_tokens=place.tokens(prompt, value[prompt]) if prompt else None,
        output_tokens=place.tokens(output, value[output]) if output else None,
        session=str(value[session]) if session else None,
    )


def _asked(place: FilePosition, value: Mapping[str, Any]) -> tuple[tuple[Message, ...], str | None]:
    """What was asked, empty where nothing was, and the answer among the messages where there is one."""
    chat = _first(value, CHATS)
    if chat:
        return conversation(value[chat])
    name = next((name for name in PROMPTS if value.get(name) is not None), None)
    if name is None:
        return (), None
    text = place.text(name, value[name])
    if name == "instruction" and value.get("input"):
        text = f"{text}\n\n{place.text('input', value['input'])}"
    return ((Message("user", text),) if text.strip() else ()), None


def times(path: Path) -> Iterator[TrafficRow]:
    """Times alone, one a line or as a column of CSV, the one that is named so, else the first that holds times.

    Other columns are read where they are named as in a log. A column `prefix` says which requests share a prefix.
    """
    header: dict[str, int] = {}
    at: int | None = None
    prefixes: dict[str, int] = {}
    for line, cells in csv_rows(path):
        place = FilePosition(path, line)
        if at is None and not header and not any(_is_time(place, cell) for cell in cells):
            header = {cell.strip().lower(): i for i, cell in enumerate(cells)}
            continue
        if at is None:
            named = [header[name] for name in TIMES if name in header]
            at = (named or [i for i, cell in enumerate(cells) if _is_time(place, cell)] or [0])[0]
        cell = {name: cells[i].strip() for name, i in header.items() if i < len(cells)}
        prefix = cell.get("prefix", "") if "prefix" in header else None
        t_ns = place.instant_ns("time", cells[at].strip() if at < len(cells) else "")
        yield _lengths(place, cell)._replace(
            t_ns=t_ns,
            blocks=() if prefix is None else (prefixes.setdefault(prefix, len(prefixes)),),
        )


def holds_times(path: Path, header: list[str], rest: list[list[str]]) -> bool:
    """Whether these lines of a file, a header or not and then records, are no prose and have a column of times."""
    place = FilePosition(path, 1)
    lines = [header, *rest] if any(_is_time(place, cell) for cell in header) else rest
    half = len(lines) / 2
    if not lines or sum(any(map(_WORDS.search, cells)) for cells in lines) >= half:
        return False
    timed = Counter(i for cells in lines for i, cell in enumerate(cells) if _is_time(place, cell))
    return max(timed.values(), default=0) >= half


def _is_time(place: FilePosition, cell: str) -> bool:
    try:
        place.instant_ns("time", cell.strip())
    except UserError:
        return False
    return True


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if value.get(name) not in (None, "")), None)
