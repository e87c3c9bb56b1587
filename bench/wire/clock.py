"""The one place that reads clocks: monotonic nanoseconds, and how the kernel's wall-clock stamps map onto them."""

import sys
import time
from typing import NamedTuple

KERNEL_STAMPS = sys.platform == "linux"
"""Whether the kernel can note when what is read of a socket has arrived."""

now_ns = time.monotonic_ns
cpu_s = time.process_time

# Whatever interrupts the three reads makes the bracket wide; of five tries one is nearly always left alone.
_BRACKETS = 5


class ClockSample(NamedTuple):
    """At monotonic `t_ns` the wall clock was ahead by `offset_ns`."""

    t_ns: int
    offset_ns: int


def sample() -> ClockSample:
    """Read both clocks between two reads of the monotonic one and keep the tightest of a few tries."""
    tightest = None
    for _ in range(_BRACKETS):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if tightest is None or after - before < tightest[0]:
            tightest = (after - before, ClockSample(after, wall - (before + after) // 2))
    assert tightest is not None
    return tightest[1]
