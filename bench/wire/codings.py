"""Content codings that servers and proxies use though none was asked for: a stamped body is unpacked read by read.

A byte of the unpacked body has the stamp of the read whose bytes made it known. What a compressor holds back until it
has more, or is told to flush, therefore comes as late as it came to any client.
"""

import codecs
import zlib
from collections.abc import Callable, Iterator, Sequence

import brotli
import zstandard

from bench.process.printable import printable
from bench.types import Body

MOST_BYTES = 64 << 20
"""Of an unpacked body; a few kilobytes can hold gigabytes of blanks."""
MOST_CODINGS = 4
_STEP = 1 << 20
# A decompressor that cannot be told where to stop makes 128 KiB of four bytes at most: this is 32 MiB at once.
_SLICE = 1 << 10
_WINDOW = 8 << 20  # RFC 9659: the most that a zstd stream on the web may need

Unpack = Callable[[bytes], Iterator[bytes]]


class _TooLarge(Exception):
    """The body unpacks to more than anyone sends."""


def unpacked(body: Body, codings: Sequence[str]) -> tuple[Body, str | None]:
    """The body freed of its codings, named in the order in which they were applied, and what was wrong with it.

    Of a body that is broken or cut short that is what could be unpacked before. A text under a coding of an unknown
    name was not packed at all.
    """
    unknown = [name for name in codings if name not in CODINGS]
    if unknown and _is_text(body.data):
        return body, None  # "none", "utf-8", "binary": names of no coding at all, which clients read over
    if unknown or len(codings) > MOST_CODINGS:
        return Body(b"", [], []), f"its content coding is not known: {printable(', '.join(codings)[:80])}"
    unpack = _chain([CODINGS[name]() for name in reversed(codings)])
    pieces: list[bytes] = []
    ends: list[int] = []
    t_ns: list[int] = []
    total = start = 0
    fault = None
    for end, stamp in zip(body.ends, body.t_ns, strict=True):
        known = total
        try:
            for at in range(start, end, _SLICE):
                for piece in unpack(body.data[at : min(at + _SLICE, end)]):
                    pieces.append(piece)
                    total += len(piece)
        except (zlib.error, brotli.error, zstandard.ZstdError) as problem:
            fault = f"its content coding ({', '.join(codings)}) is broken: {problem}"
        except _TooLarge:
            fault = f"it unpacks to more than {MOST_BYTES >> 20} MiB"
        if total > known:
            ends.append(total)
            t_ns.append(stamp)
        if fault:
            break
        start = end
    return Body(b"".join(pieces), ends, t_ns), fault


def _is_text(data: bytes) -> bool:
    """Whether a body is UTF-8, be it cut inside a character: what was packed is not."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _chain(unpacks: Sequence[Unpack]) -> Unpack:
    """One after another, and none of them without end."""
    made = [0] * len(unpacks)

    def run(data: bytes, layer: int = 0) -> Iterator[bytes]:
        for piece in unpacks[layer](data):
            made[layer] += len(piece)
            if made[layer] > MOST_BYTES:
                raise _TooLarge
            if piece and layer + 1 < len(unpacks):
                yield from run(piece, layer + 1)
            elif piece:
                yield piece

    return run


def _gzip() -> Unpack:
    return _inflate(16 + zlib.MAX_WBITS)


def _inflate(window_bits: int) -> Unpack:
    """Of any number of members, one after another; what follows the last and is none is passed over, as clients do."""
    member = zlib.decompressobj(window_bits)
    is_whole = is_over = False

    def unpack(data: bytes) -> Iterator[bytes]:
        nonlocal member, is_whole, is_over
        while not is_over:
            if member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                member, is_whole = zlib.decompressobj(window_bits), True
            try:
                piece = member.decompress(data, _STEP)
            except zlib.error:
                if not is_whole:
                    raise
                is_over = True
                return
            is_whole = is_whole and not piece
            yield piece
            data = member.unused_data if member.eof else member.unconsumed_tail
            if not data and len(piece) < _STEP:
                return

    return unpack


def _deflate() -> Unpack:
    """With zlib's head, as the standard has it, or without, as some send it."""
    unpack: Unpack | None = None
    head = b""

    def decide(data: bytes) -> Iterator[bytes]:
        nonlocal unpack, head
        if unpack is None:
            head = data = head + data
            if len(data) < 2:
                return
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            unpack = _inflate(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        yield from unpack(data)

    return decide


def _brotli() -> Unpack:
    decompressor = brotli.Decompressor()

    def unpack(data: bytes) -> Iterator[bytes]:
        yield decompressor.process(data, output_buffer_limit=_STEP)
        while not decompressor.can_accept_more_data():
            yield decompressor.process(b"", output_buffer_limit=_STEP)

    return unpack


def _zstd() -> Unpack:
    frame = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj(read_across_frames=True)

    def unpack(data: bytes) -> Iterator[bytes]:
        yield frame.decompress(data)

    return unpack


CODINGS: dict[str, Callable[[], Unpack]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
