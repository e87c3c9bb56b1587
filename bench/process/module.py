"""Starts a module of ours as a process of its own, which its standard input tells what to do."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


def start_module(
    module: str, env: Mapping[str, str], *, stdout: int = subprocess.PIPE, stderr: "IO[bytes] | None" = None
) -> "subprocess.Popen[bytes]":
    """Start `python -m MODULE` in a session of its own: Ctrl-C is for us, and the pipe tells it to end."""
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env=env,
        cwd=Path(__file__).parents[2],  # where `-m` finds this package, installed or not
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def ask(process: "subprocess.Popen[bytes]", what: Mapping[str, Any]) -> dict[str, Any] | None:
    """Tell a process what to do, a line of JSON, and wait for the line it answers; None where it has died."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):  # it has died: it then says nothing either
        process.stdin.write(json.dumps(what).encode() + b"\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    return json.loads(answer) if answer else None
