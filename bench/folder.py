"""A run's folder: the names in it, and files that are there whole or not at all."""

import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.types import UserError

RUN = "run.json"
PLAN = "plan.parquet"
CAPTURE = "capture"
REQUESTS = "requests.parquet"
TELEMETRY_RAW = "telemetry.csv"
TELEMETRY = "telemetry.parquet"
SUMMARY = "summary.json"
REPORT = "report.html"
SERVER_LOG = "server.log"
LOAD_LOG = "load.log"


def new_run_id(backend: str, model: str, scenario: str) -> str:
    """Name a run so that folders sort by time: 20261121-031502-llamacpp-tiny-chat-3f2a."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    parts = (now, backend, _plain(model), _plain(scenario), secrets.token_hex(2))
    return "-".join(parts)


def create(folder: Path) -> None:
    """Make a new run folder. Raises UserError when it exists with something in it or cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(f"--out {folder}: expected a new or empty folder, this one has files in it")
        (folder / CAPTURE).mkdir()
    except OSError as problem:
        raise UserError(f"--out {folder}: {problem.strerror}; choose a folder that can be written") from None


def write_text(path: Path, text: str | bytes) -> None:
    """Write a file whole: a reader, or a crash, sees the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(text.encode() if isinstance(text, str) else text)
    partial.replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON for people and programs."""
    write_text(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Read one of a run's JSON files. Raises UserError where there is no run."""
    try:
        content: dict[str, Any] = orjson.loads((folder / name).read_bytes())
    except OSError:
        raise UserError(f"{folder} is not a run folder: it has no {name}") from None
    except orjson.JSONDecodeError as problem:
        raise UserError(f"{folder / name} is not JSON: {problem}") from None
    return content


def _plain(text: str) -> str:
    name = os.path.basename(text.rstrip("/")).removesuffix(".gguf")  # noqa: PTH119  (ids of models are no paths)
    return "".join(c if c.isalnum() or c in "._" else "-" for c in name).strip("-.")[:40] or "model"
