"""Random bits as a pure function of (seed, purpose, index): every worker and every machine draws the same.

Only the raw output of Philox is used, which NumPy promises never to change; its distributions may change between
versions, so ours are made from these bits.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Purpose = Literal["arrivals", "call", "fresh words", "prefix", "fresh prefix words"]
_NUMBER: dict[Purpose, int] = {"arrivals": 0, "call": 1, "fresh words": 2, "prefix": 3, "fresh prefix words": 4}
_WORD = 2**64


def stream(seed: int, purpose: Purpose, index: int = 0, salt: int = 0) -> np.random.Philox:
    """Independent bits for every combination of arguments; seed and salt count modulo 2**64."""
    key = np.array((seed % _WORD, salt % _WORD), np.uint64)
    # Philox counts up from the first word, which each stream therefore has to itself.
    counter = np.array((0, index, _NUMBER[purpose], 0), np.uint64)
    return np.random.Philox(key=key, counter=counter)


def uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The bits as floats in [0, 1); 53 of the 64 are all that a float can hold."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
