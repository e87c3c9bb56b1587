"""When the bytes of an answer arrived, whoever noted it: the packet ring, the kernel for each read, or this client.

What is decoded further up takes `Arrivals` and does not know which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.packets.join import Joined
from bench.types import Exchange, TakenStamps
from bench.wire.clock import ClockSample

Int64s = NDArray[np.int64]

# No clock is slewed by this much between two samples.
_CLOCK_STEP_NS = 1_000_000


class Arrivals(NamedTuple):
    """Bytes up to `ends[i]` had arrived at `t_ns[i]`, both ascending; instants count from the run's start.

    `sent_ns` is when the request left. `lags_ns` is for each read how long after its last byte this client took it,
    empty where nobody but the client has stamped it. `repeated` segments were sent again, or overtaken; None = unknown.
    """

    sent_ns: int | None
    ends: Int64s
    t_ns: Int64s
    lags_ns: Int64s
    stamps: TakenStamps
    repeated: int | None


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """How stamps become nanoseconds since the run's start: the clock's samples (ascending) and the start.

    `stepped` says of each sample that the wall clock was set before the next.
    """

    start_ns: int
    times_ns: Int64s
    offsets_ns: Int64s
    stepped: NDArray[np.bool_]

    def arrivals(self, exchange: Exchange, joined: Joined | None = None) -> Arrivals:
        """Give when each byte arrived: by the segments it is joined to, else by the best stamp of each read."""
        if joined is not None:
            return self._of_segments(exchange, joined)
        sent_ns = None if exchange.sent_ns is None else exchange.sent_ns - self.start_ns
        t_ns, lags_ns = self._of_reads(exchange)
        stamps: TakenStamps = "kernel" if len(lags_ns) else "user"
        ends = np.asarray(exchange.sizes).cumsum(dtype=np.int64)
        return Arrivals(sent_ns, ends, t_ns, lags_ns, stamps, None)

    def _of_segments(self, exchange: Exchange, joined: Joined) -> Arrivals:
        read_ns = np.frombuffer(exchange.user_ns, np.int64)
        last = np.searchsorted(joined.ends, np.cumsum(exchange.sizes))
        lags_ns = read_ns - joined.t_ns[last]
        start_ns = self.start_ns
        return Arrivals(
            joined.sent_ns - start_ns, joined.ends, joined.t_ns - start_ns, lags_ns, "packets", joined.repeated
        )

    def _of_reads(self, exchange: Exchange) -> tuple[Int64s, Int64s]:
        """Give when each read's bytes arrived, and the client's lag for those the kernel stamped.

        The kernel's stamps are of the wall clock; each is mapped by the offset in force when it was read. Between two
        samples with a step of that clock nobody knows which, and our own stamps serve.
        """
        user_ns = np.frombuffer(exchange.user_ns, np.int64)
        if not (exchange.kernel and len(self.times_ns)):
            return user_ns - self.start_ns, user_ns[:0]
        pairs = np.frombuffer(exchange.kernel, np.int64)
        wall_ns = pairs[::2] * 1_000_000_000 + pairs[1::2]
        # The last sample before the read: the offset drifts by microseconds until the next, a tenth of a second later.
        sample = np.maximum(np.searchsorted(self.times_ns, user_ns, "right") - 1, 0)
        # Nothing is read before it arrives: what the samples' own noise of some 100 ns says else is cut off.
        kernel_ns = np.minimum(wall_ns - self.offsets_ns[sample], user_ns)
        stamped = (wall_ns > 0) & ~self.stepped[sample]
        if not stamped.all():
            kernel_ns = np.where(stamped, kernel_ns, user_ns)
        # Nor may it turn two reads around.
        return np.maximum.accumulate(kernel_ns) - self.start_ns, (user_ns - kernel_ns)[stamped]


def stopwatch(start_ns: int, samples: Sequence[ClockSample]) -> Stopwatch:
    """Make a stopwatch; without samples the kernel's stamps cannot be mapped, and ours serve."""
    times, offsets = np.array(sorted(samples), np.int64).reshape(-1, 2).T
    # The last sample has no next one: what came after it has the offset of the last, and no step is known of.
    stepped = np.abs(np.diff(offsets, append=offsets[-1:])) > _CLOCK_STEP_NS
    return Stopwatch(start_ns, times, offsets, stepped)
