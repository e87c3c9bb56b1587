"""When the bytes of an answer arrived, whoever noted it: the packet ring, the kernel for each read, or this client.

What is decoded further up takes `Arrivals` and does not know which.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.packets.join import Joined
from bench.types import Exchange, TakenStamps
from bench.wire.clock import ClockSample

Int64s = NDArray[np.int64]

# No clock is slewed by this much between two samples.
_CLOCK_STEP_NS = 1_000_000
# Of so few reads plain numbers are taken as soon as arrays.
_FEW_READS = 24


class Arrivals(NamedTuple):
    """Bytes up to `ends[i]` had arrived at `t_ns[i]`, both ascending; instants count from the run's start.

    `sent_ns` is when the request left. `lags_ns` is for each read how long after its last byte this client took it,
    empty where nobody but the client has stamped it. `repeated` segments were sent again, or overtaken; None = unknown.
    Of many reads the columns are arrays.
    """

    sent_ns: int | None
    ends: Sequence[int]
    t_ns: Sequence[int]
    lags_ns: Sequence[int]
    stamps: TakenStamps
    repeated: int | None


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """How stamps become nanoseconds since the run's start: the clock's samples (ascending) and the start.

    `stepped` says of each sample that the wall clock was set before the next; `plain` is the same in lists.
    """

    start_ns: int
    times_ns: Int64s
    offsets_ns: Int64s
    stepped: NDArray[np.bool_]
    plain: tuple[list[int], list[int], list[bool]]

    def arrivals(self, exchange: Exchange, joined: Joined | None = None) -> Arrivals:
        """Give when each byte arrived: by the segments it is joined to, else by the best stamp of each read."""
        if joined is not None:
            return self._of_segments(exchange, joined)
        sent_ns = None if exchange.sent_ns is None else exchange.sent_ns - self.start_ns
        ends: Sequence[int]
        if len(exchange.user_ns) <= _FEW_READS:
            ends, (t_ns, lags_ns) = list(accumulate(exchange.sizes)), of_few(self, exchange)
        else:
            ends = _array(np.cumsum(exchange.sizes, dtype=np.int64))
            t_ns, lags_ns = of_many(self, exchange)
        stamps: TakenStamps = "kernel" if lags_ns else "user"
        return Arrivals(sent_ns, ends, t_ns, lags_ns, stamps, None)

    def _of_segments(self, exchange: Exchange, joined: Joined) -> Arrivals:
        start_ns = self.start_ns
        ends: Sequence[int]
        t_ns: Sequence[int]
        lags_ns: Sequence[int]
        if max(len(exchange.user_ns), len(joined.ends)) <= _FEW_READS:
            ends, arrived_ns = joined.ends.tolist(), joined.t_ns.tolist()
            reads = zip(exchange.user_ns, accumulate(exchange.sizes), strict=True)
            lags_ns = [user_ns - arrived_ns[bisect_left(ends, end)] for user_ns, end in reads]
            t_ns = [each - start_ns for each in arrived_ns]
        else:
            last = np.searchsorted(joined.ends, np.cumsum(exchange.sizes))
            lags_ns = _array(np.frombuffer(exchange.user_ns, np.int64) - joined.t_ns[last])
            ends, t_ns = _array(joined.ends), _array(joined.t_ns - start_ns)
        return Arrivals(joined.sent_ns - start_ns, ends, t_ns, lags_ns, "packets", joined.repeated)


def _array(values: Int64s) -> "array[int]":
    return array("q", values.tobytes())


def of_few(watch: Stopwatch, exchange: Exchange) -> tuple[Sequence[int], Sequence[int]]:
    """Give when each read's bytes arrived, and the client's lag for those the kernel stamped.

    The kernel's stamps are of the wall clock; each is mapped by the offset in force when it was read. Between two
    samples with a step of that clock nobody knows which, and our own stamps serve.
    """
    start_ns, kernel, (times_ns, offsets_ns, stepped) = watch.start_ns, exchange.kernel, watch.plain
    if not (kernel and times_ns):
        return [user_ns - start_ns for user_ns in exchange.user_ns], []
    t_ns, lags_ns, latest_ns = list[int](), list[int](), None
    for user_ns, seconds, rest_ns in zip(exchange.user_ns, kernel[::2], kernel[1::2], strict=True):
        wall_ns = seconds * 1_000_000_000 + rest_ns
        # The last sample before the read: the offset drifts by microseconds until the next, a tenth of a second later.
        sample = max(bisect_right(times_ns, user_ns) - 1, 0)
        arrived_ns = user_ns
        if wall_ns > 0 and not stepped[sample]:
            # Nothing is read before it arrives: what the samples' own noise of some 100 ns says else is cut off.
            arrived_ns = min(wall_ns - offsets_ns[sample], user_ns)
            lags_ns.append(user_ns - arrived_ns)
        # Nor may it turn two reads around.
        latest_ns = arrived_ns if latest_ns is None else max(latest_ns, arrived_ns)
        t_ns.append(latest_ns - start_ns)
    return t_ns, lags_ns


def of_many(watch: Stopwatch, exchange: Exchange) -> tuple[Sequence[int], Sequence[int]]:
    """The same of many reads at once."""
    user_ns = np.frombuffer(exchange.user_ns, np.int64)
    if not (exchange.kernel and len(watch.times_ns)):
        return _array(user_ns - watch.start_ns), []
    pairs = np.frombuffer(exchange.kernel, np.int64)
    wall_ns = pairs[::2] * 1_000_000_000 + pairs[1::2]
    sample = np.maximum(np.searchsorted(watch.times_ns, user_ns, "right") - 1, 0)
    kernel_ns = np.minimum(wall_ns - watch.offsets_ns[sample], user_ns)
    stamped = (wall_ns > 0) & ~watch.stepped[sample]
    if not stamped.all():
        kernel_ns = np.where(stamped, kernel_ns, user_ns)
    return _array(np.maximum.accumulate(kernel_ns) - watch.start_ns), _array((user_ns - kernel_ns)[stamped])


def stopwatch(start_ns: int, samples: Sequence[ClockSample]) -> Stopwatch:
    """Make a stopwatch; without samples the kernel's stamps cannot be mapped, and ours serve."""
    times, offsets = np.array(sorted(samples), np.int64).reshape(-1, 2).T
    # The last sample has no next one: what came after it has the offset of the last, and no step is known of.
    stepped = np.abs(np.diff(offsets, append=offsets[-1:])) > _CLOCK_STEP_NS
    return Stopwatch(start_ns, times, offsets, stepped, (times.tolist(), offsets.tolist(), stepped.tolist()))
