"""Whose stamps a load's arrivals have: the best that are permitted, unless the user says which."""

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
    """What was asked for, and the process of a packet ring where there is to be one, else what it lacks."""

    asked: Stamps
    ring: RingProcess | None
    lacks: str | None

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that take stamps beside the load's own."""
        return () if self.ring is None else (self.ring.process.pid,)

    def begin(self, folder: Path, url: str, *, late_reads: bool = True) -> ChosenStamps:
        """Take stamps of all connections to a URL from now on. Raises UserError where those asked for cannot be."""
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
    """Get ready to take stamps; leaving ends what takes them. Raises UserError where those asked for cannot be."""
    missing = lacks() if asked in ("auto", "packets") else None
    if asked == "packets" and missing is not None:
        raise _refused(missing)
    if asked == "kernel" and not KERNEL_STAMPS:
        raise UserError("--stamps kernel: expected on Linux only, other systems stamp no reads; leave it out")
    if asked in ("kernel", "user") or missing is not None:
        yield StampSource(asked, None, missing)
    else:
        with ring_process(folder / LOAD_LOG, secrets) as ring:
            yield StampSource(asked, ring, None)


def said(stamps: ChosenStamps) -> str | None:
    """Give the line for the user of a run that has not the best stamps there are."""
    return None if stamps.lacks is None else f"arrivals have stamps of reads, not of packets: {stamps.lacks}"


def _refused(missing: str) -> UserError:
    return UserError(f"--stamps packets: {missing}; or leave it out, for the best that is permitted")
