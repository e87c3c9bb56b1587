"""capacity.json as whoever reads it needs it: what the search found, and its runs."""

from dataclasses import dataclass
from pathlib import Path

from analysis.capacity.search import Capacity
from bench.runs import folder as files
from bench.runs.sections import JsonSection, load


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedRun(JsonSection):
    """A run of the search, in requests/s, and its folder within the search's."""

    rate_per_s: float
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityFile(JsonSection):
    """What the file has; `capacity` is None until the search has come to its end."""

    capacity: Capacity | None = None
    probes: tuple[SearchedRun, ...] = ()


def read(folder: Path) -> CapacityFile:
    """Read a search's file. Raises UserError where there is none, or one of another version."""
    return load(CapacityFile, files.read_json(folder, files.CAPACITY), folder / files.CAPACITY)
