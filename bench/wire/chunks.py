"""Chunks of an HTTP body in columns: what nearly all servers send for nearly all of an answer.

A plain chunk is its size in hexadecimal digits, CRLF, its bytes without a CR among them, and CRLF. As long as one
follows the other every second CR ends one, so that all are found and checked in a few passes over the bytes.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]

# Longer sizes are for whoever reads chunk by chunk.
_MOST_DIGITS = 6
_NO_DIGIT = 1 << 32
_DIGITS = np.full(256, _NO_DIGIT, np.int64)
_DIGITS[list(b"0123456789abcdef")] = _DIGITS[list(b"0123456789ABCDEF")] = np.arange(16)


class PlainChunks(NamedTuple):
    """The plain chunks from a byte on until one that is not plain, or the last; that begins at byte `position`.

    `data` is what they bring; its bytes up to `ends[i]` had arrived at `t_ns[i]`, and `read` brought the last of them.
    """

    position: int
    data: bytes
    ends: "array[int]"
    t_ns: "array[int]"
    read: int


def plain_chunks(data: bytes, position: int, ends: Sequence[int], t_ns: Sequence[int], read: int) -> PlainChunks:
    """Take them out of a response whose read i ended at byte `ends[i]` and is stamped `t_ns[i]`, both ascending."""
    octets = np.frombuffer(data, np.uint8)
    starts, stops = _bounds(octets, position)
    if not len(stops):
        return PlainChunks(position, b"", array("q"), array("q"), read)
    read_ends = np.asarray(ends, np.int64)
    before = np.cumsum(stops - starts) - stops  # what of the data comes before a chunk, less where it stops
    known = stops
    # A read that ends within a chunk brings a part of it.
    chunk = np.searchsorted(stops, read_ends)
    chunk[chunk == len(stops)] = 0
    cuts = read_ends[(read_ends > starts[chunk]) & (read_ends < stops[chunk])]
    if len(cuts):
        known = np.unique(np.concatenate([stops, cuts]))
        before = before[np.searchsorted(stops, known)]
    of = np.searchsorted(read_ends, known)
    return PlainChunks(
        int(stops[-1]) + 2,
        b"".join([data[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]),
        array("q", (known + before).tobytes()),
        array("q", np.asarray(t_ns, np.int64)[of].tobytes()),
        int(of[-1]),
    )


def _bounds(octets: NDArray[np.uint8], position: int) -> tuple[Int64s, Int64s]:
    """Where the bytes of each plain chunk start and stop."""
    cr = np.flatnonzero(octets[position:-1] == 0x0D) + position
    cr = cr[: len(cr) // 2 * 2]
    eols, stops = cr[::2], cr[1::2]
    starts = eols + 2
    widths = eols - np.concatenate([[position], stops + 2])[: len(eols)]
    sizes = np.zeros(len(eols), np.int64)
    for place in range(min(_MOST_DIGITS, int(widths.max(initial=0)))):
        sizes += np.where(place < widths, _DIGITS[octets[eols - 1 - place]] << 4 * place, 0)
    plain = (widths > 0) & (widths <= _MOST_DIGITS) & (sizes > 0) & (sizes == stops - starts)
    plain &= (octets[eols + 1] == 0x0A) & (octets[stops + 1] == 0x0A)
    count = len(plain) if plain.all() else int(np.argmin(plain))
    return starts[:count], stops[:count]
