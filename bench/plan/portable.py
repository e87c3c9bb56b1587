"""Functions that give the same bits on every machine, so that every machine plans the same.

Those of libraries differ in the last bit from CPU to CPU. Here are only sums, products and quotients, which IEEE 754
rounds in one way.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LN2: Final = float.fromhex("0x1.62e42fefa39efp-1")
# Its two halves have few enough bits that a whole multiple of the first is exact.
_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
_ROOT_HALF: Final = float.fromhex("0x1.6a09e667f3bcdp-1")


def exponential(x: Floats) -> Floats:
    """e^x for x of 0 and less to 1e-15."""
    x = np.maximum(x, -700.0)
    k = np.rint(x / _LN2)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # Taylor's, of |r| up to ln 2 / 2, where the fifteenth term is below 1e-18; by Horner, the smallest terms first.
    series = np.ones_like(r)
    for power in range(14, 0, -1):
        series = 1 + series * r / power
    return np.ldexp(series, k.astype(np.int32))


def logarithm(x: Floats) -> Floats:
    """Natural logarithms of positive numbers to 1e-15.

    ln(m 2^k) = k ln 2 + 2 artanh((m - 1) / (m + 1)), with m between sqrt(1/2) and sqrt(2).
    """
    m, k = np.frexp(x)
    small = m < _ROOT_HALF
    m, k = np.where(small, 2 * m, m), k - small
    s = (m - 1) / (m + 1)
    square = s * s
    series = np.zeros_like(s)
    for power in range(21, 0, -2):
        series = series * square + 1 / power
    return np.asarray(k * _LN2 + 2 * s * series, np.float64)
