"""The standard streams of the process, whatever the shell made of them."""

import os
import sys
from contextlib import suppress
from typing import IO

from bench.process.printable import ENCODING_ERRORS

_lost: list[str] = []


def prepare() -> None:
    """Open what the shell closed, and let both outputs write every text in the encoding that they have.

    A closed descriptor would be that of the next file that is opened, and a server's words would end up in it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=ENCODING_ERRORS)


def silence(*streams: IO[str]) -> None:
    """Let these write to nowhere from now on: nobody reads them, or nothing takes what they write."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def lose(stream: IO[str], problem: OSError) -> None:
    """Go on without a stream that takes nothing more, such as a log on a full disk; of output it is said at the end."""
    silence(stream)
    if stream is not sys.stderr:
        _lost.append(problem.strerror or str(problem))


def lost() -> str | None:
    """Why an output was not written to its end; None where it was."""
    return _lost[0] if _lost else None
