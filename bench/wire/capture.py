"""The capture file: what came over the wire, appended as each request ends, readable to the last whole frame.

A file is a row of frames (`bench.wire.frames`). What came of several short exchanges is compressed together, in a frame
before theirs: any one can be decoded without the others, but for those few.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import zstandard

from bench.process.secrets import blank
from bench.types import Exchange, WirePlace
from bench.wire.clock import ClockSample
from bench.wire.frames import FrameReader, FrameWriter, frame_at
from bench.wire.redact import blanker

# These numbers and layouts stand in files that are years old: new kinds come behind, and none changes its meaning.
_META, _START, _CLOCK, _EXCHANGE, _DROP, _END, _REFUSED, _SESSION_END, _PLACED_EXCHANGE, _CONTENTS, _ENTRY = range(11)

_EXCHANGES = (_EXCHANGE, _PLACED_EXCHANGE, _ENTRY)

_START_BODY = struct.Struct("<q")
_CLOCK_BODY = struct.Struct("<qq")
_DROP_BODY = struct.Struct("<qq")
# seq, due, sent, end, connect (-1 = none), reads, bytes of kernel stamps, length of the error text
_EXCHANGE_HEAD = struct.Struct("<qqqqqIII")
# Of an exchange whose place is known: the server's address, our port, bytes of TLS records, request end, answer start
_PLACE = struct.Struct("<16sHxxIqq")
# Of one whose content lies among others': where it begins there, how long it is, how far before this frame theirs is
_PART = struct.Struct("<III")
_ENTRY_BODY = struct.Struct(_EXCHANGE_HEAD.format + (_PLACE.format + _PART.format).replace("<", ""))
_SEQ = struct.Struct("<q")
# So much is compressed at a time: it takes less than a tenth of a millisecond, in which nothing is sent or read.
_GROUP_BYTES = 16 << 10
_NOWHERE = WirePlace(b"", 0, 0, 0, None)


@lru_cache(maxsize=256)
def _stamps_and_sizes(reads: int) -> struct.Struct:
    """The layout of an answer's own stamps, and of how many bytes each read brought."""
    return struct.Struct(f"={reads}q{reads}I")


class Received:
    """What one request has received, read by read: our stamps, the kernel's timespecs as they came, the bytes.

    `records` are those of `bench.types.WirePlace`, None without TLS.
    """

    __slots__ = ("kernel", "parts", "records", "user_ns")

    def __init__(self) -> None:
        # A list: to append to a flat buffer of numbers takes ten times as long, to pack them once a tenth of that.
        self.user_ns: list[int] = []
        self.kernel = bytearray()
        self.parts: list[bytes] = []
        self.records: array[int] | None = None


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
    offsets: "array[int]"
    seqs: "array[int]"
    session_ends: list[int]
    position: int
    torn_bytes: int


class CaptureWriter:
    """Appends frames to a new file; `secrets` are keys that answers may repeat and the file must not.

    With `gathers` many requests are compressed and written at once, with the next reading of the clocks at the latest.
    """

    def __init__(
        self, path: Path, meta: Mapping[str, object], secrets: Sequence[str] = (), *, gathers: bool = False
    ) -> None:
        self._frames = FrameWriter(path)
        # Level -1 still makes a token stream some ten times smaller; above it short answers take twice the time, to be
        # a tenth smaller.
        self._compress = zstandard.ZstdCompressor(level=-1).compress
        self._secrets = secrets
        self._blank = blanker(secrets)
        self._group_bytes = _GROUP_BYTES if gathers else 0
        # Of the exchanges that are not compressed yet their entries' first values, and all their contents' pieces.
        self._entries: list[tuple[Any, ...]] = []
        self._pieces: list[bytes | bytearray] = []
        self._length = 0
        self._append(_META, orjson.dumps(meta))

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
        place: WirePlace | None = None,
    ) -> None:
        """Append one finished request."""
        # An error's message may quote the server, and the server our key.
        text = b"" if error is None else blank("\0".join(error), self._secrets).encode("utf-8", "replace")
        parts, kernel = received.parts, received.kernel
        reads = len(parts)
        sizes = [*map(len, parts)]
        if self._blank is not None:
            parts = [self._blank(b"".join(parts))]
        server, port, request_end, answer_start, records = place or _NOWHERE
        held = b"" if records is None else records.tobytes()
        self._pieces += (_stamps_and_sizes(reads).pack(*received.user_ns, *sizes), kernel, held, text, *parts)
        start, stamps = self._length, len(kernel)
        self._length = end = start + 12 * reads + stamps + len(held) + len(text) + sum(sizes)
        sent = -1 if sent_ns is None else sent_ns
        connect = -1 if connect_ns is None else connect_ns
        head = (seq, due_ns, sent, end_ns, connect, reads, stamps, len(text))
        self._entries.append((*head, server, port, len(held), request_end, answer_start, start, end - start))
        if end >= self._group_bytes:
            self._seal()
            if not self._group_bytes:
                self._frames.write()

    def write(self) -> None:
        """Have what was appended on disk."""
        self._seal()
        self._frames.write()

    def _append(self, kind: int, payload: bytes) -> None:
        self._seal()
        self._frames.append(kind, payload)

    def _seal(self) -> None:
        """Compress what has been gathered, and give it to the file: the contents of all, then an entry of each."""
        entries, pieces = self._entries, self._pieces
        if not entries:
            return
        self._entries, self._pieces, self._length = [], [], 0
        append, pack = self._frames.append_soon, _ENTRY_BODY.pack
        before = append(_CONTENTS, self._compress(b"".join(pieces)))
        for entry in entries:
            before += append(_ENTRY, pack(*entry, before))

    def close(self, end: Mapping[str, object]) -> None:
        """Append the closing frame, which says that nothing is missing, and close the file."""
        try:
            self._append(_END, orjson.dumps(end))
        finally:
            self._frames.close()


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
    # Lists would take five times as much of a million calls.
    offsets, seqs = array("q"), array("q")
    session_ends: list[int] = []
    # Of an exchange its number is enough to plan the decoding, which reads and checks it whole, one at a time.
    frames = FrameReader(path, start, {**dict.fromkeys(_EXCHANGES, _SEQ.size), _CONTENTS: 0})
    for position, kind, payload in frames:
        if kind in _EXCHANGES:
            offsets.append(position)
            seqs.append(_SEQ.unpack(payload)[0])
        elif kind == _META:
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
    if start == 0 and not meta:
        raise ValueError(f"{path} is not a capture file")
    return Capture(
        meta,
        start_ns,
        clock,
        drops,
        refusals,
        end,
        offsets,
        seqs,
        session_ends,
        frames.position,
        frames.torn_bytes,
    )


def exchanges(path: Path, offsets: Iterable[int], worker: int) -> Iterator[Exchange]:
    """Read the exchanges at these offsets. Raises UserError on a damaged frame."""
    decompress = zstandard.ZstdDecompressor().decompress
    with path.open("rb") as file:
        contents, contents_at = b"", -1
        for position in offsets:
            _, kind, payload = frame_at(file, position)
            head = _EXCHANGE_HEAD.unpack_from(payload)
            at = _EXCHANGE_HEAD.size
            where = None if kind == _EXCHANGE else _PLACE.unpack_from(payload, at)
            if kind != _ENTRY:
                yield _unpack(head, where, decompress(payload[at + (_PLACE.size if where else 0) :]), worker)
                continue
            start, length, before = _PART.unpack_from(payload, at + _PLACE.size)
            if position - before != contents_at:
                contents_at = position - before
                contents = decompress(frame_at(file, contents_at).payload)
            yield _unpack(head, where if where and where[1] else None, contents[start : start + length], worker)


def _unpack(head: tuple[int, ...], where: tuple[Any, ...] | None, content: bytes, worker: int) -> Exchange:
    seq, due_ns, sent_ns, end_ns, connect_ns, reads, kernel_bytes, error_bytes = head
    server, port, records_bytes, request_end, answer_start = where or (b"", 0, 0, 0, 0)
    user_ns, kernel, sizes, records = array("q"), array("q"), array("I"), array("q")
    position = 0
    # The error's text is the one part without a count of its own: the body is whatever follows it.
    widths = ((user_ns, 8 * reads), (sizes, 4 * reads), (kernel, kernel_bytes), (records, records_bytes))
    for stamps, width in widths:
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
        place=WirePlace(server, port, request_end, answer_start, records or None) if where else None,
    )
