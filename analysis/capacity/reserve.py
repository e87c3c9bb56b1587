"""What a server serves from a reserve, which is spent: a limiter's burst, a warm cache, room in a queue, a cool card.

While it lasts more calls keep a bound than ever will again, and a load that ends before says nothing of the rate. It is
found by where the share that is kept falls, and counted in the calls that kept the bound beyond the share of the end.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

_PARTS: Final = 12
# So many standard errors come by chance at the clearest of all places in one run of 400 (Miller and Siegmund,
# Biometrics 38 (1982)).
_CLEAR: Final = 3.8
# A reserve is known by a fall that is blurred by chance: so much longer than it says is surely long enough.
_TO_SPARE: Final = 1.25


def steady_from(keeps: npt.NDArray[np.bool_]) -> int:
    """From which call on the share that keeps a bound falls no more: 0 where it never did, by more than chance."""
    start = 0
    while fall := _fall(keeps[start:]):
        start += fall
    return start


def _fall(keeps: npt.NDArray[np.bool_]) -> int:
    """Before which call the share falls, where what is before it differs most from what is after; 0: nowhere."""
    n, share = len(keeps), float(keeps.mean()) if len(keeps) else 1.0
    if n < 2 * _PARTS or share in (0.0, 1.0):
        return 0
    before = np.arange(n // _PARTS, n - n // _PARTS)
    lead = np.cumsum(keeps - share)[before - 1] / np.sqrt(before * (n - before) / n)
    cut = int(before[np.argmax(lead)])
    inside = keeps - np.where(np.arange(n) < cut, keeps[:cut].mean(), keeps[cut:].mean())
    # Those that miss a bound in one queue miss it together: parts then vary more than calls do (Kish's design effect).
    parts = np.array([part.sum() for part in np.array_split(inside, _PARTS)])
    scatter = float(inside @ inside)
    together = max(1.0, float(parts @ parts) / scatter) if scatter else 1.0
    return cut if lead.max() > _CLEAR * math.sqrt(share * (1 - share) * together) else 0


def calls_until_spent(reserve: float, wanted: float, precision: float) -> float:
    """How many calls spend a reserve at a rate that is higher by `precision` than one that keeps the wanted share."""
    # Of each call at that rate so much is taken from the reserve: what the server keeps there is below the share.
    return _TO_SPARE * reserve / (1 - wanted / (1 + precision))
