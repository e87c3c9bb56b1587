"""A run's folder: the names in it, and files that are there whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.process import private
from bench.process.printable import is_text
from bench.process.secrets import blank
from bench.types import UserError

RUN = "run.json"
PLAN = "plan.parquet"
RECORDED = "recorded.npz"
CAPTURE = "capture"
SEGMENTS = "capture/packets.seg"
REQUESTS = "requests.parquet"
TELEMETRY_RAW = "telemetry.csv"
TELEMETRY = "telemetry.parquet"
SUMMARY = "summary.json"
REPORT = "report.html"
SERVER_LOG = "server.log"
LOAD_LOG = "load.log"
LEDGER = "ledger.bin"
REPEATS = "repeats.json"
REPEATS_PAGE = "repeats.html"
CAPACITY = "capacity.json"
CAPACITY_PAGE = "capacity.html"
AB = "ab.json"
AB_PAGE = "ab.html"
GATE = "gate.json"
STUDY_FILE = "study.yaml"
STUDY = "study.json"
STUDY_PAGE = "study.html"
CAMPAIGN = "campaign.json"
UNFINISHED = "unfinished"
INDEX = "index.html"

SCHEMA = 1
"""The version of run.json and summary.json."""


def new_run_id(backend: str, model: str, scenario: str) -> str:
    """Name a run so that folders sort by time: 20261121-031502-llamacpp-tiny-chat-3f2a."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    parts = (now, backend, _plain(model), _plain(scenario), secrets.token_hex(2))
    return "-".join(parts)


@contextmanager
def new(folder: Path) -> Iterator[None]:
    """Make a run folder; when the block fails, nothing stays of it but what the error's message names.

    Raises UserError when it exists with something in it or cannot be written.
    """
    make(folder, CAPTURE)
    try:
        yield
    except BaseException as problem:
        discard(folder, but_named_in=str(problem))
        raise


def make(folder: Path, *inner: str) -> None:
    """Make a folder, or take an empty one, and folders in it. Raises UserError where it has files or cannot be made."""
    if not is_text(str(folder.absolute())):
        raise UserError(f"--out {folder.absolute()}: expected a name in UTF-8; choose another folder, or link to it")
    try:
        folder.mkdir(private.FOLDER, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"--out {folder}: expected a new or empty folder, this one has files in it")
        for name in inner:
            (folder / name).mkdir(private.FOLDER)
    except FileExistsError:
        raise UserError(f"--out {folder}: expected a new or empty folder, this is a file") from None
    except OSError as problem:
        raise UserError(f"--out {folder}: {problem.strerror}; choose a folder that can be written") from None


def discard(folder: Path, but_named_in: str = "") -> None:
    """Remove a run folder in which nothing was measured, but for the files whose paths the text names."""
    for path in folder.iterdir():
        if str(path) not in but_named_in:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with suppress(OSError):  # not empty, or a mount point
        folder.rmdir()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to that takes the file's place at the end: a reader, or a crash, sees the old or the new."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str | bytes) -> None:
    """Write a file whole. Raises UserError when the disk does not take it."""
    try:
        with whole(path) as partial:
            partial.write_bytes(text.encode() if isinstance(text, str) else text)
    except OSError as problem:
        raise UserError(f"{path} cannot be written: {problem.strerror}; make room or choose another --out") from None


def write_json(path: Path, content: Mapping[str, Any], secrets: Sequence[str] = ()) -> None:
    """Write JSON for people and programs, without the secrets. Raises UserError when the disk does not take it."""
    text = orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    write_text(path, blank(text.decode(), secrets) if secrets else text)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read one of a run's JSON files. Raises UserError where there is no run, or one of another version's."""
    path = folder / name
    try:
        content: dict[str, Any] = orjson.loads(path.read_bytes())
    except OSError as problem:
        if name != RUN and (folder / RUN).exists():
            raise UserError(f"{folder} has no {name}; make it with: bench.py decode {folder}") from None
        raise UserError(f"{folder} is not a run folder: {name}: {problem.strerror}") from None
    except orjson.JSONDecodeError as problem:
        raise UserError(f"{path} is not JSON: {problem}") from None
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise UserError(f"{path}: expected schema {SCHEMA}, found {found}: another version of this tool wrote it")
    return content


def _plain(text: str) -> str:
    name = os.path.basename(text.rstrip("/")).removesuffix(".gguf")  # noqa: PTH119  (ids of models are no paths)
    return "".join(c if c.isalnum() or c in "._" else "-" for c in name).strip("-.")[:40] or "model"
