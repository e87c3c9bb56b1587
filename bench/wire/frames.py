"""Files that are only appended to: a row of frames, of which a killed process leaves at most one torn at the end.

A frame is magic, kind, payload length, CRC-32 of the payload, payload. What is not urgent is written with what comes
after it: one write(2) for many frames.
"""

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from bench.types import UserError

_FRAME = struct.Struct("<4sBxxxII")
_MAGIC = b"LSB1"
_WRITE_BYTES = 1 << 16


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
        self._waiting = bytearray()

    def append(self, kind: int, payload: bytes) -> None:
        """Append one frame, and those that wait. Raises OSError when there is no room; then nothing of them is kept."""
        self.append_soon(kind, payload)
        self.write()

    def append_soon(self, kind: int, payload: bytes) -> int:
        """Append one frame when there are 64 KiB of them, or by the next `append`; gives its length in the file.

        Raises OSError as that does.
        """
        waiting, length = self._waiting, len(payload)
        waiting += _FRAME.pack(_MAGIC, kind, length, zlib.crc32(payload))
        waiting += payload
        if len(waiting) >= _WRITE_BYTES:
            self.write()
        return _FRAME.size + length

    # Without fsync: the bytes are the kernel's when write(2) returns and outlive this process. Only a power cut takes
    # some, and to wait for the disk would take milliseconds of the reads.
    def write(self) -> None:
        """Write what waits. Raises OSError as `append` does."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, bytearray()
        written = os.write(self._fd, waiting)
        if written != len(waiting):
            # A disk that fills up takes part of a frame, behind which nothing could be found again.
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def close(self) -> None:
        """Close the file; what waits is left out."""
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
            yield frame_at(file, position)


def frame_at(file: BufferedReader, position: int) -> Frame:
    """Read one frame. Raises UserError where it is damaged."""
    file.seek(position)
    _, kind, length, crc = _FRAME.unpack(file.read(_FRAME.size))
    payload = file.read(length)
    if zlib.crc32(payload) != crc:
        raise _damaged(Path(file.name), position)
    return Frame(position, kind, payload)


def _damaged(path: Path, position: int) -> UserError:
    return UserError(f"{path} is damaged at byte {position}: expected what the run wrote there; restore the file")
