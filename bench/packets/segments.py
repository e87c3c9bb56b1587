"""The file of a run's TCP segments: of each its time, its place in its stream, and how many bytes it brought.

Written by the ring's process while load runs, in the frames of `bench.wire.frames`; no byte of a payload is in it.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import zstandard
from numpy.typing import NDArray

from bench.wire.frames import FrameReader, FrameWriter, frames_at

ROW: Final = np.dtype(
    [("t_ns", "<i8"), ("seq", "<u4"), ("bytes", "<u4"), ("port", "<u2"), ("server", "u1"), ("flags", "u1")]
)
"""A segment: monotonic time, sequence number, payload, our port, the number of the server's address, and flags."""
Rows = NDArray[np.void]
OUT, SYN = 1, 2
"""Flags: we sent it; it opened a connection."""

_META, _ROWS, _OPENED, _END = range(4)
# First and last time, rows, and what the ring had seen and lost by then.
_ROWS_HEAD = struct.Struct("<qqqqq")


class SegmentsWriter:
    """Appends rows to a new file as they come; `servers` are addresses of 16 bytes, in the order of their numbers."""

    def __init__(self, path: Path, servers: Sequence[bytes], port: int, interfaces: Sequence[str]) -> None:
        self._frames = FrameWriter(path)
        self._compress = zstandard.ZstdCompressor(level=1).compress
        meta = {"servers": [server.hex() for server in servers], "port": port, "interfaces": list(interfaces)}
        self._frames.append(_META, orjson.dumps(meta))

    def append(self, rows: Rows, seen: int, dropped: int) -> None:
        """Append segments, and how many packets the ring has seen and lost since it began."""
        if not len(rows):
            return
        t_ns = rows["t_ns"]
        # Column by column, and times as differences: that is what compresses.
        columns = (np.diff(t_ns, prepend=t_ns[:1]), *(rows[name] for name in ROW.names[1:]))  # type: ignore[index]
        head = _ROWS_HEAD.pack(int(t_ns.min()), int(t_ns.max()), len(rows), seen, dropped)
        data = b"".join(column.tobytes() for column in columns)
        self._frames.append(_ROWS, head + struct.pack("<q", t_ns[0]) + self._compress(data))
        opened = rows[(rows["flags"] & SYN) > 0]
        if len(opened):
            self._frames.append(_OPENED, opened.tobytes())

    def close(self, end: Mapping[str, Any]) -> None:
        """Append the closing frame, with what the ring says of itself, and close the file."""
        try:
            self._frames.append(_END, orjson.dumps(end))
        finally:
            self._frames.close()


@dataclass(frozen=True, slots=True)
class Segments:
    """A file of segments, scanned: `opened` has those that opened connections, in the order of time.

    Frame i is at `positions[i]` and has segments from `first_ns[i]` to `last_ns[i]`. `end` is None when the ring's
    process did not close the file; `seen` and `dropped` are then of its last frame.
    """

    path: Path
    servers: tuple[bytes, ...]
    port: int
    opened: Rows
    positions: NDArray[np.int64]
    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    seen: int
    dropped: int
    end: Mapping[str, Any] | None

    def between(self, first_ns: int, last_ns: int, wanted: NDArray[np.bool_]) -> Rows:
        """Read the segments of that time whose `key` is wanted, in the order in which they were seen."""
        inside = np.flatnonzero((self.first_ns <= last_ns) & (self.last_ns >= first_ns))
        found = [np.empty(0, ROW)]
        for _, _, payload in frames_at(self.path, iter(self.positions[inside].tolist())):
            rows = _rows(payload)
            found.append(rows[wanted[key(rows)] & (rows["t_ns"] >= first_ns) & (rows["t_ns"] <= last_ns)])
        return np.concatenate(found)


def key(rows: Rows) -> NDArray[np.int64]:
    """Give each row's connection a number: that of the server's address and our port."""
    found: NDArray[np.int64] = rows["server"].astype(np.int64) << 16 | rows["port"]
    return found


def scan(path: Path) -> Segments:
    """Look through a file without reading its rows. Raises ValueError when it has no head, UserError if damaged."""
    meta: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    heads: list[tuple[int, ...]] = []
    opened = [np.empty(0, ROW)]
    for position, kind, payload in FrameReader(path, skim={_ROWS: _ROWS_HEAD.size}):
        if kind == _META:
            meta = orjson.loads(payload)
        elif kind == _ROWS:
            heads.append((position, *_ROWS_HEAD.unpack(payload)))
        elif kind == _OPENED:
            opened.append(np.frombuffer(payload, ROW))
        elif kind == _END:
            end = orjson.loads(payload)
    if meta is None:
        raise ValueError(f"{path} is no file of segments")
    positions, first_ns, last_ns, _, seen, dropped = np.array(heads, np.int64).reshape(-1, 6).T
    connections = np.concatenate(opened)
    return Segments(
        path,
        tuple(map(bytes.fromhex, meta["servers"])),
        meta["port"],
        connections[np.argsort(connections["t_ns"], kind="stable")],
        positions,
        first_ns,
        last_ns,
        end["seen"] if end else int(seen[-1]) if len(seen) else 0,
        end["dropped"] if end else int(dropped[-1]) if len(dropped) else 0,
        end,
    )


def _rows(payload: bytes) -> Rows:
    _, _, count, _, _ = _ROWS_HEAD.unpack_from(payload)
    (begin_ns,) = struct.unpack_from("<q", payload, _ROWS_HEAD.size)
    data = zstandard.ZstdDecompressor().decompress(payload[_ROWS_HEAD.size + 8 :])
    rows = np.empty(count, ROW)
    at = 0
    for name in ROW.names or ():
        column = np.frombuffer(data, ROW[name], count, at)
        rows[name] = begin_ns + np.cumsum(column) if name == "t_ns" else column
        at += column.nbytes
    return rows
