"""Random bits as a pure function of (seed, purpose, index): every worker and every machine draws the same.

They are SHAKE-128's, a standard that no library version can change, and cost about a microsecond a stream: a
generator of NumPy's takes twenty times that to set up, and load generators set up two for every request.
"""

import hashlib
import struct
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Purpose = Literal[
    "arrivals",
    "call",
    "fresh words",
    "prefix",
    "fresh prefix words",
    "session",
    "turn words",
    "answer words",
    "block",
    "dataset",
    "class",
    "opening",
    "group prefix",
    "fresh group words",
    "image",
    "question",
    "passages",
]


class Stream:
    """Bits in order; made by `stream`."""

    __slots__ = ("_taken", "_xof")

    def __init__(self, key: bytes) -> None:
        self._xof = hashlib.shake_128(key)
        self._taken = 0

    def take(self, count: int) -> NDArray[np.uint64]:
        """Give the next `count` words of 64 bits; a longer draw begins with the shorter."""
        start, self._taken = self._taken, self._taken + max(count, 0)
        return np.frombuffer(self._xof.digest(8 * self._taken), "<u8", offset=8 * start)

    def few(self, count: int) -> tuple[int, ...]:
        """The same as plain numbers, which for a few is several times as fast."""
        start, self._taken = self._taken, self._taken + max(count, 0)
        return struct.unpack_from(f"<{self._taken - start}Q", self._xof.digest(8 * self._taken), 8 * start)


def stream(seed: int, purpose: Purpose, index: int = 0, salt: int = 0) -> Stream:
    """Independent bits for every combination of arguments."""
    return Stream(f"{purpose}:{seed}:{index}:{salt}".encode())


def fraction(bits: int) -> float:
    """64 bits as a float in [0, 1), as `uniform` makes it."""
    return (bits >> 11) * 2.0**-53


def uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The bits as floats in [0, 1); 53 of the 64 are all that a float can hold."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
