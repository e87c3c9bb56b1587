"""Where a load's arrival stamps come from: the best permitted source, unless the user chooses."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.app.options import Stamps
from bench.packets.watch import NotWatched, RingProcess, lacks, ring_process
from bench.runs.folder import LOAD_LOG, SEGMENTS
from bench.runs.manifest import ChosenStamps
from bench.types import UserError
from bench.wire.clock import KERNEL_STAMPS
from bench.wire.endpoint import endpoint


@dataclass(frozen=True, slots=True)
class StampSource:
    """The kind asked for, and the packet ring's process if there is one, else what it lacks."""

    asked: Stamps
    ring: RingProcess | None
    lacks: str | None

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes beside the load that take stamps."""
        return () if self.ring is None else (self.ring.process.pid,)

    def begin(self, folder: Path, url: str, *, late_reads: bool = True) -> ChosenStamps:
        """Take stamps of all connections to a URL from now on. Raises UserError if those requested are unavailable."""
        missing = self.lacks
        if self.ring is not None:
            try:
                self.ring.watch(folder / SEGMENTS, endpoint(url))
            except NotWatched as problem:
                missing = str(problem)
                if self.asked == "packets":
                    raise _refused(missing) from None
            else:
                return ChosenStamps(asked=self.asked, taken="packets", late_reads=late_reads)
        is_kernels = KERNEL_STAMPS and self.asked != "user"
        return ChosenStamps(asked=self.asked, taken="kernel" if is_kernels else "user", lacks=missing)


@contextmanager
def stamp_source(asked: Stamps, folder: Path, secrets: Sequence[str] = ()) -> Iterator[StampSource]:
    """Prepare to take stamps; leaving the context stops it. Raises UserError if the requested ones are unavailable."""
    missing = lacks() if asked in ("auto", "packets") else None
    if asked == "packets" and missing is not None:
        raise _refused(missing)
    if asked == "kernel" and not KERNEL_STAMPS:
        raise UserError("--stamps kernel: only Linux supports it; leave it out")
    if asked in ("kernel", "user") or missing is not None:
        yield StampSource(asked, None, missing)
    else:
        with ring_process(folder / LOAD_LOG, secrets) as ring:
            yield StampSource(asked, ring, None)


def note(stamps: ChosenStamps) -> str | None:
    """The note for a run that lacks the best stamps."""
    return None if stamps.lacks is None else f"arrivals are timestamped per read, not per packet: {stamps.lacks}"


def _refused(missing: str) -> UserError:
    return UserError(f"--stamps packets: {missing}; or leave it out to use the best permitted")
