"""`bench.py` in this process: a command that is tested for what it does need not import everything again.

What only a process shows (signals, limits, a terminal, what becomes of its children) is tested on one, and so is one
run of each command.
"""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import cli
from bench.cli import base

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def bench(*arguments: str | Path, env: Mapping[str, str] = {}) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end; `env` comes on top of the environment, in which there is no key."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    secrets, umask = list(base._secrets), os.umask(0o077)
    os.umask(umask)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_API_KEY", raising=False)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["bench.py", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            base._secrets[:] = secrets
            os.umask(umask)
    said = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(arguments, int(code or 0), *said)
