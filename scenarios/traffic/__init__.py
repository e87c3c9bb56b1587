"""Recorded traffic: traces and datasets in files, each format read by one function into the same rows.

A reader is `path -> Iterator[TrafficRow]`, one line in READERS. It streams: no file is held whole. Missing values are
None; a fault in a file is a UserError that names the file, the line and the column.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.suggest import did_you_mean
from bench.types import UserError
from scenarios.files import files_of
from scenarios.traffic import chats, gateways, logs, traces
from scenarios.traffic.detect import detect
from scenarios.traffic.rows import TrafficRow

Reader = Callable[[Path], Iterator[TrafficRow]]

READERS: Final[Mapping[str, Reader]] = {
    "azure": traces.azure,
    "burstgpt": traces.burstgpt,
    "mooncake": traces.mooncake,
    "timed_trace": traces.timed_trace,
    "copilot": traces.copilot,
    "litellm": gateways.litellm,
    "langfuse": gateways.langfuse,
    "log": logs.log,
    "times": logs.times,
    "messages": chats.messages,
    "prompts": logs.prompts,
    "table": logs.table,
    "parquet": logs.parquet,
    "text": chats.text,
    "sharegpt": chats.sharegpt,
}


def read(path: Path, form: str | None = None) -> Iterator[TrafficRow]:
    """Yield the rows of a file in its order, in the given format or the detected one.

    Raises UserError for an unknown format at once, for a file without requests when it is read.
    """
    form = detect(path) if form is None else form
    if form not in READERS:
        near = did_you_mean(form, READERS)
        raise UserError(f"unknown format {form!r}: expected one of {', '.join(READERS)}{near}")
    return _not_none(path, form, READERS[form](path))


def read_all(name: str, flag: str) -> Iterator[tuple[Path, TrafficRow]]:
    """Yield the rows of a file, of all files of a folder, or of those that match a pattern, each in its own format.

    Raises UserError, also if there is no file.
    """
    return ((path, row) for path in files_of(name, flag) for row in read(path))


def _not_none(path: Path, form: str, rows: Iterator[TrafficRow]) -> Iterator[TrafficRow]:
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path}: no requests in it (read as {form}); expected one per line")
    yield first
    yield from rows
