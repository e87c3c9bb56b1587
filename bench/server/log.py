"""A launched server's output on its way to its log, with secrets removed: `python -m bench.server.log PATH`.

Standard input starts with a line that lists the secrets, as JSON; the rest is the server's, and is written line by line
until nobody is left who can write to it.
"""

import json
import os
import sys
from pathlib import Path

from bench.process.secrets import blank

_READ_BYTES = 65536
# This much of an unfinished line is held back, because a secret may straddle the end.
_LONGEST_LINE = 1 << 16
_HELD_BACK = 1 << 12


def copy(source: int, path: Path) -> None:
    """Copy a descriptor to a file until its end."""
    with path.open("wb", buffering=0) as log:
        named, pending = b"", b""
        while b"\n" not in named and (data := os.read(source, _READ_BYTES)):
            named += data
        first, _, pending = named.partition(b"\n")
        secrets = json.loads(first)

        def write(piece: bytes) -> None:
            # Latin-1 keeps every byte as it is, whatever the server's encoding.
            log.write(blank(piece.decode("latin-1"), secrets).encode("latin-1"))

        while True:
            end = max(pending.rfind(b"\n"), pending.rfind(b"\r")) + 1
            if not end and len(pending) > _LONGEST_LINE:
                end = len(pending) - _HELD_BACK
            write(pending[:end])
            pending = pending[end:]
            if not (data := os.read(source, _READ_BYTES)):
                break
            pending += data
        write(pending)


if __name__ == "__main__":
    copy(0, Path(sys.argv[1]))
