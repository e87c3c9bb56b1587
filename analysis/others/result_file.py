"""Another tool's file, read whole within bounds: one JSON document or JSON lines, whatever its name."""

import codecs
import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from bench.types import UserError

MOST_BYTES: Final = 192 << 20
"""A larger file is refused before it is opened: reading takes up to seven times its size in memory."""
_SHOWN: Final = 6


class ResultFile(NamedTuple):
    """A file and its content: a single document, or one for each line."""

    file: Path
    documents: tuple[Any, ...]


def read(file: Path) -> ResultFile:
    """Read a file of JSON or JSON lines. Raises UserError if it is neither, or too large."""
    try:
        _check_size(file)
        text = file.read_bytes()
    except OSError as problem:
        raise _unreadable(file, problem) from None
    return ResultFile(file, _documents(file, text))


_BESIDE: Final = (
    ("_aiperf.json", ".jsonl"),
    ("stats.json", "responses.jsonl"),
    ("summary_lifecycle_metrics.json", "per_request_lifecycle_metrics.json"),
    ("_summary.json", "_individual_responses.json"),
)
"""The endings of the names of a run's file of figures and of its file of requests, for AIPerf, LLMeter, inference-perf
and LLMPerf.
"""


def summary_of(file: Path) -> Path:
    """The file of figures beside a file of requests."""
    named = (file.with_name(file.name.removesuffix(rows) + summary) for summary, rows in _BESIDE
             if file.name.endswith(rows))  # fmt: skip
    return next(filter(Path.exists, named), file)


def file_beside(file: Path) -> Path | None:
    """The file of requests beside a file of figures."""
    named = (file.with_name(file.name.removesuffix(summary) + rows) for summary, rows in _BESIDE
             if file.name.endswith(summary))  # fmt: skip
    return next(filter(Path.exists, named), None)


def rows_beside(file: Path) -> "Iterator[Fields]":
    """The objects in the file of requests beside a file of figures, one at a time; none without such a file.

    Raises UserError if it is damaged or too large.
    """
    beside = file_beside(file)
    if beside is None:
        return
    if beside.suffix == ".json":
        (rows, *_) = read(beside).documents
        if not isinstance(rows, list):
            raise _unfit(beside, "the file", "a list of requests", rows)
        yield from (Fields(beside, row, f"[{i}]") for i, row in enumerate(rows))
        return
    try:
        _check_size(beside)
        with beside.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield Fields(beside, _row(beside, number, line), f"line {number}")
    except OSError as problem:
        raise _unreadable(beside, problem) from None


def _row(file: Path, number: int, line: bytes) -> Any:
    try:
        return _parsed(line)
    except ValueError as problem:
        where = f"line {number} is truncated or damaged ({problem})"
        raise UserError(f"{file}: expected JSON lines, but {where}; copy it again, or move it away") from None


def _check_size(file: Path) -> None:
    if not file.is_file():
        raise UserError(f"{file}: expected another tool's results, got {_found(file)}")
    if (size := file.stat().st_size) > MOST_BYTES:
        raise UserError(
            f"{file}: expected at most {MOST_BYTES >> 20} MiB, got {size >> 20:,}; let the tool write its summary "
            "without the details of each request, or send fewer requests"
        )


def _unreadable(file: Path, problem: OSError) -> UserError:
    return UserError(f"{file}: cannot be read ({problem.strerror}); give a readable file")


def _found(file: Path) -> str:
    if file.is_dir():
        return "a folder; name the file in it"
    return "no such file; check the path" if not file.exists() else "not a regular file; copy it to one"


def _documents(file: Path, text: bytes) -> tuple[Any, ...]:
    if not text.strip():
        raise UserError(f"{file}: expected JSON, but the file is empty; let the tool write it again")
    try:
        return (_parsed(text),)
    except ValueError as problem:
        whole = problem
    lines = [line for line in text.splitlines() if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(_parsed(line))
        except ValueError as problem:
            if number == 1:
                break
            where = f"line {number} of {len(lines)} is truncated or damaged ({problem})"
            raise UserError(f"{file}: expected JSON lines, but {where}; copy it again, or remove that line") from None
    if not found:
        raise UserError(
            f"{file}: expected JSON, but it is truncated or damaged ({whole}); copy it again, or let the tool write "
            "it again"
        )
    return tuple(found)


def _parsed(text: bytes) -> Any:
    """JSON as in the standard, or as Python writes it, with NaN and Infinity, which count as unknown.

    An editor may have put a byte order mark before it.
    """
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as problem:
        if b"NaN" not in text and b"Infinity" not in text:
            raise ValueError(str(problem)) from None
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deep") from None


class Fields:
    """An object's keys in a file; it remembers which were read, because the others have no equivalent.

    Nested keys are joined by dots. A value of the wrong type is a UserError that names file and key.
    """

    def __init__(self, file: Path, content: Any, place: str = "", taken: set[str] | None = None) -> None:
        if not isinstance(content, Mapping):
            raise _unfit(file, place or "the file", "an object", content)
        self.file, self._content, self._place = file, content, place
        self._taken = set[str]() if taken is None else taken

    def with_numbers(self, *endings: str) -> "Fields":
        """The same object, with text converted to numbers under keys with these endings."""
        found = {
            name: int(value)
            if name.endswith(endings) and isinstance(value, str) and value.isascii() and value.isdecimal()
            else value
            for name, value in self._content.items()
        }
        return Fields(self.file, found, self._place, self._taken)

    def __contains__(self, name: str) -> bool:
        return self._content.get(name) is not None

    def at(self, name: str) -> "Fields":
        """The object under a key, empty if there is none."""
        return Fields(self.file, self._get(name) or {}, self._within(name), self._taken)

    def each(self, name: str) -> "Iterator[Fields]":
        """The objects of a list."""
        for i, value in enumerate(self._list(name)):
            yield Fields(self.file, value, f"{self._within(name)}[{i}]", set())

    def number(self, name: str, scale: float = 1.0) -> float | None:
        """A number times `scale`; None if missing or not finite."""
        value = self._get(name)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _unfit(self.file, self._within(name), "a number", value)
        return value * scale if scale != 1.0 else value

    def is_number(self, name: str) -> bool:
        """Whether there is a number, for a key that may also hold text."""
        return isinstance(self._get(name), int | float)

    def whole(self, name: str) -> int | None:
        """A whole number."""
        value = self.number(name)
        if value is not None and value != int(value):
            raise _unfit(self.file, self._within(name), "a whole number", value)
        return None if value is None else int(value)

    def count(self, name: str) -> int:
        """A whole number that is required and at least 0."""
        value = self.whole(name)
        if value is None or value < 0:
            raise _unfit(self.file, self._within(name), "a whole number of at least 0", value)
        return value

    def text(self, name: str) -> str | None:
        """A text, None if missing."""
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise _unfit(self.file, self._within(name), "text", value)
        return value or None

    def numbers(self, name: str) -> list[float | None]:
        """A list of numbers; None for anything else."""
        found = self._list(name)
        return [value if isinstance(value, int | float) and math.isfinite(value) else None for value in found]

    def rows(self, name: str) -> list[list[float]]:
        """A list of lists of numbers."""
        found = self._list(name)
        for value in found:
            if not isinstance(value, list) or not all(isinstance(each, int | float) for each in value):
                raise _unfit(self.file, self._within(name), "lists of numbers", value)
        return found

    def texts(self, name: str) -> list[str]:
        """A list as texts, empty for null."""
        return ["" if value is None else str(value) for value in self._list(name)]

    def instant(self, name: str) -> datetime | None:
        """A time, from seconds since 1970 or from text; None for anything else."""
        value = self._get(name)
        try:
            if isinstance(value, str):
                return datetime.fromisoformat(value).astimezone(UTC)
            return None if value is None else datetime.fromtimestamp(value, UTC)
        except (ValueError, TypeError, OverflowError, OSError):
            return None

    def untranslated(self) -> tuple[str, ...]:
        """The unread keys that have a value, next to keys that were read."""
        return tuple(sorted(_rest(self._content, self._place, self._taken)))

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if value is not None and not isinstance(value, list):
            raise _unfit(self.file, self._within(name), "a list", value)
        return value or []

    def _get(self, name: str) -> Any:
        around, _, last = name.rpartition(".")
        if around:
            return self.at(around)._get(last)
        self._taken.add(self._within(name))
        return self._content.get(name)

    def _within(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _rest(content: Mapping[str, Any], place: str, taken: set[str]) -> Iterator[str]:
    for name, value in content.items():
        own = f"{place}.{name}" if place else name
        if own not in taken:
            if value not in (None, [], {}, ""):
                yield own
        elif isinstance(value, Mapping) and any(each.startswith(f"{own}.") for each in taken):
            yield from _rest(value, own, taken)


def _unfit(file: Path, place: str, expected: str, found: Any) -> UserError:
    shown = repr(found)
    shown = shown if len(shown) < 50 else f"{shown[:46]} ..."
    return UserError(
        f"{file}: {place}: expected {expected}, found {shown}; it was edited, or written by an unknown version"
    )


def keys(document: Any) -> str:
    """The first keys of a document, or what it is instead, for a message."""
    if not isinstance(document, Mapping):
        return f"a {type(document).__name__}"
    names = [str(name)[:40] for name in list(document)[:_SHOWN]]
    return f"an object with {', '.join(names)}{', …' if len(document) > _SHOWN else ''}" if names else "an empty object"
