"""Files that are only appended to: a row of frames, of which a killed process leaves at most one torn at the end.

A frame is magic, kind, payload length, CRC-32 of the payload, payload, and is written with one write(2).
"""

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.types import UserError

_FRAME = struct.Struct("<4sBxxxII")
_MAGIC = b"LSB1"


class Frame(NamedTuple):
    """A frame at `position`; of a kind that is only skimmed `payload` is the beginning."""

    position: int
    kind: int
    payload: bytes


class FrameWriter:
    """Appends frames to a new file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._size = 0

    def append(self, kind: int, payload: bytes) -> None:
        """Append one frame. Raises OSError when there is no room; the file then ends with the frame before."""
        frame = _FRAME.pack(_MAGIC, kind, len(payload), zlib.crc32(payload)) + payload
        written = os.write(self._fd, frame)
        if written != len(frame):
            # A disk that fills up takes part of a frame, behind which nothing could be found again.
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class FrameReader:
    """The frames of a file from byte `start` on; of the kinds in `skim` only so many bytes are read.

    After the last one `position` is where the whole frames end, and `torn_bytes` lie behind it.
    """

    def __init__(self, path: Path, start: int = 0, skim: Mapping[int, int] | None = None) -> None:
        self._path = path
        self._skim = skim or {}
        self._size = path.stat().st_size
        self.position = start

    @property
    def torn_bytes(self) -> int:
        """What was never written whole."""
        return self._size - self.position

    def __iter__(self) -> Iterator[Frame]:
        """Read on. Raises UserError when the file is damaged before its last frame."""
        with self._path.open("rb") as file:
            while self.position + _FRAME.size <= self._size:
                file.seek(self.position)
                magic, kind, length, crc = _FRAME.unpack(file.read(_FRAME.size))
                after = self.position + _FRAME.size + length
                if magic != _MAGIC:
                    raise _damaged(self._path, self.position)
                if after > self._size:
                    break
                skimmed = self._skim.get(kind)
                payload = file.read(length if skimmed is None else min(skimmed, length))
                if skimmed is None and zlib.crc32(payload) != crc:
                    raise _damaged(self._path, self.position)
                yield Frame(self.position, kind, payload)
                self.position = after


def frames_at(path: Path, positions: Iterator[int]) -> Iterator[Frame]:
    """Read single frames. Raises UserError on a damaged one."""
    with path.open("rb") as file:
        for position in positions:
            file.seek(position)
            _, kind, length, crc = _FRAME.unpack(file.read(_FRAME.size))
            payload = file.read(length)
            if zlib.crc32(payload) != crc:
                raise _damaged(path, position)
            yield Frame(position, kind, payload)


def _damaged(path: Path, position: int) -> UserError:
    return UserError(f"{path} is damaged at byte {position}: expected what the run wrote there; restore the file")
