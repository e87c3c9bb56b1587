"""Files as lines, CSV records and JSON values, one at a time, each with its line number."""

import csv
import gzip
import re
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from bench.types import UserError
from scenarios.traffic.rows import FilePosition, shown_names

ROW_BYTES_MAX: Final = 8 << 20
"""Longer than any recorded request; a file whose lines never end is not a file of requests."""

_READ_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 1 << 16


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, gzipped or not. Raises UserError if it cannot be read, or is truncated."""
    try:
        with path.open("rb") as file:
            is_packed = file.peek(2)[:2] == b"\x1f\x8b"
            yield gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[misc]
    except OSError as problem:
        raise UserError(f"{path}: cannot be read: {problem.strerror or problem}") from None
    except (EOFError, zlib.error) as problem:
        raise UserError(f"{path}: its gzip is truncated or damaged ({problem}); fetch it again") from None


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of UTF-8 text, without line ends."""
    with opened(path) as file:
        number = 0
        while line := file.readline(ROW_BYTES_MAX + 1):
            number += 1
            if len(line) > ROW_BYTES_MAX:
                raise UserError(
                    f"{path}:{number}: column {ROW_BYTES_MAX}: the line is longer than {ROW_BYTES_MAX >> 20} MiB; "
                    "expected one request per line"
                )
            if number == 1:
                if line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                    raise UserError(f"{path}:1: expected UTF-8, got UTF-16; save it as UTF-8")
                line = line.removeprefix(BOM_UTF8)
            if (zero := line.find(0)) >= 0:
                raise UserError(f"{path}:{number}: not text: byte {zero + 1} of the line is zero; save it as UTF-8")
            try:
                yield number, line.decode().rstrip("\r\n")
            except UnicodeDecodeError as problem:
                raise UserError(
                    f"{path}:{number}: not UTF-8 at byte {problem.start + 1} of the line; save it as UTF-8"
                ) from None


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, cells) for each non-empty record of a CSV file."""
    csv.field_size_limit(ROW_BYTES_MAX)
    reader = csv.reader(line + "\n" for _, line in text_lines(path))
    begins = 1
    try:
        for cells in reader:
            begins = reader.line_num + 1
            if any(map(str.strip, cells)):
                yield reader.line_num, cells
    except csv.Error as problem:
        # An unclosed quote takes everything after it into one cell.
        raise UserError(
            f"{path}:{begins}: not CSV: {problem} in the record that starts here; is a quote unclosed?"
        ) from None


def csv_records(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[FilePosition, Mapping[str, str]]]:
    """Yield the records of a CSV file by column name. Raises UserError if a required column is missing."""
    header: list[str] = []
    for line, cells in csv_rows(path):
        if not header:
            header = [cell.strip() for cell in cells]
            if missing := [name for name in needed if name not in header]:
                raise UserError(f"{path}:{line}: missing column {missing[0]!r}; it has {shown_names(header)}")
            continue
        if len(cells) < len(header):
            raise UserError(f"{path}:{line}: {header[len(cells)]}: the line ends before it; is the file truncated?")
        yield FilePosition(path, line), dict(zip(header, cells, strict=False))


def json_lines(path: Path) -> Iterator[tuple[FilePosition, Mapping[str, Any]]]:
    for number, line in text_lines(path):
        if line.strip():
            yield FilePosition(path, number), _object(path, number, line)


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        value = _DECODER.decode(line)
    except (JSONDecodeError, RecursionError) as problem:
        where = f" at column {problem.colno}" if isinstance(problem, JSONDecodeError) else ""
        raise UserError(f"{path}:{number}: not JSON{where}; is the line truncated?") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}:{number}: expected a JSON object, got {line.strip()[:40]!r}")
    return value


def json_objects(path: Path) -> Iterator[tuple[FilePosition, Mapping[str, Any]]]:
    """Yield the objects of a JSON array, read piece by piece, or of JSON lines if there is no array."""
    if first_character(path) != "[":
        yield from json_lines(path)
        return
    with opened(path) as file:
        utf8 = getincrementaldecoder("utf-8-sig")()
        text, at, place = "", 0, _Place(path)
        begun = False
        while True:
            start = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
            place, at = place.behind(text[at:start]), start
            if not begun and text.startswith("[", at):
                place, at, begun = place.behind("["), at + 1, True
                continue
            if text.startswith("]", at):
                return
            try:
                value, end = _DECODER.raw_decode(text, at)
            except (JSONDecodeError, RecursionError) as problem:
                more = file.read(_READ_BYTES)
                if not more or len(text) - at > ROW_BYTES_MAX:
                    raise place.broken(text[at:], problem, at, is_whole=bool(more)) from None
                try:
                    text, at = text[at:] + utf8.decode(more), 0
                except UnicodeDecodeError as wrong:
                    before = text[at:] + wrong.object[: wrong.start].decode()
                    raise place.behind(before).fault("not UTF-8; save it as UTF-8") from None
                continue
            if not isinstance(value, dict):
                raise place.fault(f"expected a JSON object, got {text[at : at + 40]!r}")
            yield FilePosition(path, place.line), value
            place, at = place.behind(text[at:end]), end


class _Place(NamedTuple):
    """A character of a file, counted from 1."""

    path: Path
    line: int = 1
    column: int = 1

    def behind(self, text: str) -> "_Place":
        """The position after a value that begins here."""
        newline = text.rfind("\n")
        if newline < 0:
            return self._replace(column=self.column + len(text))
        return _Place(self.path, self.line + text.count("\n"), len(text) - newline)

    def fault(self, said: str) -> UserError:
        return UserError(f"{self.path}:{self.line}: column {self.column}: {said}")

    def broken(self, text: str, problem: Exception, at: int, *, is_whole: bool) -> UserError:
        """What is wrong with the value that begins here, from the parser, started at `at`; `is_whole`: more follows."""
        is_cut = isinstance(problem, JSONDecodeError) and (
            problem.pos - at >= len(text) - _WORD_MAX or problem.msg.startswith("Unterminated string")
        )
        if is_whole and is_cut:
            return self.fault(
                f"the value that starts here is longer than {ROW_BYTES_MAX >> 20} MiB; expected one request"
            )
        wrong = text[: problem.pos - at] if isinstance(problem, JSONDecodeError) else ""
        return self.behind(wrong).fault("not JSON, or the array is not closed; is the file truncated?")


def first_character(path: Path) -> str:
    """The first character that is not white space: for JSON a bracket or a brace."""
    for _, line in text_head(path):
        if line.strip():
            return line.strip()[0]
    return ""


def text_head(path: Path) -> Iterator[tuple[int, str]]:
    """The lines at the beginning of a file, the last perhaps truncated: enough to detect the format."""
    with opened(path) as file:
        head = file.read(_HEAD_BYTES).removeprefix(BOM_UTF8)
    yield from enumerate(head.decode(errors="replace").splitlines(), 1)


_DECODER: Final = JSONDecoder()
_BETWEEN: Final = re.compile(r"[\s,]*")
_WORD_MAX: Final = len("-Infinity")  # within this distance of the end the parser may stop because of the truncation
