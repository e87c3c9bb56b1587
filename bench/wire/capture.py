"""The capture file: what came over the wire, appended as each request ends, readable to the last whole frame.

A file is a row of frames: magic, kind, payload length, CRC-32 of the payload, payload. Frames are written with one
write(2) each, so a killed process leaves at most one torn frame at the end, and the reader stops there. An exchange's
bytes are compressed by themselves: any one can be decoded without the others.
"""

import errno
import os
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
import zstandard

from bench.process.secrets import blank
from bench.types import Exchange, UserError
from bench.wire.clock import ClockSample
from bench.wire.redact import blanker

_FRAME = struct.Struct("<4sBxxxII")
_MAGIC = b"LSB1"
_META, _START, _CLOCK, _EXCHANGE, _DROP, _END, _REFUSED, _SESSION_END = range(8)

_START_BODY = struct.Struct("<q")
_CLOCK_BODY = struct.Struct("<qq")
_DROP_BODY = struct.Struct("<qq")
# seq, due, sent, end, connect (-1 = none), reads, bytes of kernel stamps, length of the error text
_EXCHANGE_HEAD = struct.Struct("<qqqqqIII")
_SEQ = struct.Struct("<q")


class Received:
    """What one request has received, read by read: our stamps, the kernel's timespecs as they came, the bytes.

    Stamps lie in flat buffers, which takes a third less memory than an object for each read.
    """

    __slots__ = ("kernel", "parts", "user_ns")

    def __init__(self) -> None:
        self.user_ns = array("q")
        self.kernel = bytearray()
        self.parts: list[bytes] = []


class Capture(NamedTuple):
    """One file's content, with the frames' `offsets` and the calls' `seqs` in place of its exchanges.

    `session_ends` are calls that failed, after which their sessions did not go on.
    `position` is the end of the last whole frame, `torn_bytes` what a killed writer left unfinished after it; `end`
    is None when the writer did not close the file.
    """

    meta: dict[str, object]
    start_ns: int | None
    clock: list[ClockSample]
    drops: list[tuple[int, int]]
    refusals: list[tuple[int, int]]
    end: dict[str, object] | None
    offsets: list[int]
    seqs: list[int]
    session_ends: list[int]
    position: int
    torn_bytes: int


class CaptureWriter:
    """Appends frames to a new file; `secrets` are keys that answers may repeat and the file must not."""

    def __init__(self, path: Path, meta: Mapping[str, object], secrets: Sequence[str] = ()) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # Level 1 takes about 2 ns a byte from the timed path and still makes a token stream some ten times smaller.
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._secrets = secrets
        self._blank = blanker(secrets)
        self._size = 0
        self._append(_META, orjson.dumps(meta))

    def _append(self, kind: int, payload: bytes) -> None:
        frame = _FRAME.pack(_MAGIC, kind, len(payload), zlib.crc32(payload)) + payload
        written = os.write(self._fd, frame)
        if written != len(frame):
            # A disk that fills up takes part of a frame, behind which nothing could be found again.
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def start(self, start_ns: int) -> None:
        """Append the instant from which the load's times count."""
        self._append(_START, _START_BODY.pack(start_ns))

    def clock(self, sample: ClockSample) -> None:
        """Append a reading of the clocks."""
        self._append(_CLOCK, _CLOCK_BODY.pack(*sample))

    def drop(self, seq: int, due_ns: int) -> None:
        """Append a call that was due and not sent because the in-flight limit was reached."""
        self._append(_DROP, _DROP_BODY.pack(seq, due_ns))

    def refusal(self, seq: int, due_ns: int) -> None:
        """Append a call that was due and not sent because it did not fit into the run's budget."""
        self._append(_REFUSED, _DROP_BODY.pack(seq, due_ns))

    def session_end(self, seq: int) -> None:
        """Append that the rest of a session is not sent because of what became of this call."""
        self._append(_SESSION_END, _SEQ.pack(seq))

    def exchange(
        self,
        seq: int,
        due_ns: int,
        sent_ns: int | None,
        end_ns: int,
        connect_ns: int | None,
        received: Received,
        error: tuple[str, str] | None,
    ) -> None:
        """Append one finished request."""
        text = b"" if error is None else blank("\0".join(error), self._secrets).encode("utf-8", "replace")
        sizes = array("I", map(len, received.parts))
        data = b"".join(received.parts)
        if self._blank is not None:
            data = self._blank(data)
        content = b"".join((received.user_ns, sizes, received.kernel, text, data))
        head = _EXCHANGE_HEAD.pack(
            seq,
            due_ns,
            -1 if sent_ns is None else sent_ns,
            end_ns,
            -1 if connect_ns is None else connect_ns,
            len(sizes),
            len(received.kernel),
            len(text),
        )
        self._append(_EXCHANGE, head + self._compress(content))

    def close(self, end: Mapping[str, object]) -> None:
        """Append the closing frame, which says that nothing is missing, and close the file."""
        try:
            self._append(_END, orjson.dumps(end))
        finally:
            os.close(self._fd)


def scan(path: Path, start: int = 0) -> Capture:
    """Read everything but the exchanges, of which only the frames' offsets are noted.

    With `start`, where an earlier scan ended, only what came since is read, and `meta` is empty.
    Raises ValueError when the file has no head, UserError when it is damaged before its last frame.
    """
    meta: dict[str, object] = {}
    clock: list[ClockSample] = []
    drops: list[tuple[int, int]] = []
    refusals: list[tuple[int, int]] = []
    start_ns = end = None
    offsets: list[int] = []
    seqs: list[int] = []
    session_ends: list[int] = []
    size = path.stat().st_size
    position = start
    with path.open("rb") as file:
        file.seek(position)
        while position + _FRAME.size <= size:
            magic, kind, length, crc = _FRAME.unpack(file.read(_FRAME.size))
            after = position + _FRAME.size + length
            if magic != _MAGIC:
                raise _damaged(path, position)
            if after > size:
                break
            if kind == _EXCHANGE:
                offsets.append(position)
                seqs.append(_SEQ.unpack(file.read(_SEQ.size))[0])
                file.seek(after)
            else:
                payload = file.read(length)
                if zlib.crc32(payload) != crc:
                    raise _damaged(path, position)
                if kind == _META:
                    meta = orjson.loads(payload)
                elif kind == _START:
                    (start_ns,) = _START_BODY.unpack(payload)
                elif kind == _CLOCK:
                    clock.append(ClockSample(*_CLOCK_BODY.unpack(payload)))
                elif kind == _DROP:
                    drops.append(_DROP_BODY.unpack(payload))
                elif kind == _REFUSED:
                    refusals.append(_DROP_BODY.unpack(payload))
                elif kind == _SESSION_END:
                    session_ends.append(_SEQ.unpack(payload)[0])
                elif kind == _END:
                    end = orjson.loads(payload)
            position = after
    if start == 0 and not meta:
        raise ValueError(f"{path} is not a capture file")
    return Capture(meta, start_ns, clock, drops, refusals, end, offsets, seqs, session_ends, position, size - position)


def _damaged(path: Path, position: int) -> UserError:
    return UserError(f"{path} is damaged at byte {position}: expected what the run wrote there; restore the file")


def exchanges(path: Path, offsets: Iterable[int], worker: int) -> Iterator[Exchange]:
    """Read the exchanges at these offsets. Raises UserError on a damaged frame."""
    decompress = zstandard.ZstdDecompressor().decompress
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            _, _, length, crc = _FRAME.unpack(file.read(_FRAME.size))
            payload = file.read(length)
            if zlib.crc32(payload) != crc:
                raise _damaged(path, offset)
            head = _EXCHANGE_HEAD.unpack_from(payload)
            yield _unpack(head, decompress(payload[_EXCHANGE_HEAD.size :]), worker)


def _unpack(head: tuple[int, ...], content: bytes, worker: int) -> Exchange:
    seq, due_ns, sent_ns, end_ns, connect_ns, reads, kernel_bytes, error_bytes = head
    user_ns, kernel, sizes = array("q"), array("q"), array("I")
    position = 0
    for stamps, width in ((user_ns, 8 * reads), (sizes, 4 * reads), (kernel, kernel_bytes)):
        stamps.frombytes(content[position : position + width])
        position += width
    error = None
    if error_bytes:
        code, _, message = content[position : position + error_bytes].decode("utf-8").partition("\0")
        error = (code, message)
    return Exchange(
        seq=seq,
        worker=worker,
        due_ns=due_ns,
        sent_ns=None if sent_ns < 0 else sent_ns,
        end_ns=end_ns,
        connect_ns=None if connect_ns < 0 else connect_ns,
        user_ns=user_ns,
        sizes=sizes,
        kernel=kernel,
        data=content[position + error_bytes :],
        error=error,
    )
