"""Two sides of runs that are there already: found, read and compared."""

from collections.abc import Sequence
from pathlib import Path

from analysis.compare import comparison
from analysis.compare.comparison import Comparison, Run
from analysis.compare.measures import thresholds
from analysis.run import summary as summaries
from bench.app.results import requests_of
from bench.runs import folder as files
from bench.runs import manifest
from bench.types import UserError


def runs_in(side: str, given: str) -> list[Path]:
    """The run folders that an argument names."""
    found: list[Path] = []
    for path in [Path(given)] if Path(given).exists() else map(Path, filter(None, given.split(","))):
        if not path.is_dir():
            raise UserError(f"{side} {path}: expected a run folder, a folder of runs, or several with commas between")
        inside = (
            [path] if (path / files.RUN).exists() else sorted(inner.parent for inner in path.glob(f"*/{files.RUN}"))
        )
        if not inside:
            raise UserError(f"{side} {path}: there is no run in it: expected {files.RUN}, or folders that have one")
        found += [run for run in inside if run not in found]
    return found


def compare_runs(
    base: Sequence[Path],
    candidate: Sequence[Path],
    threshold: Sequence[str] = (),
    *,
    different_plans: bool = False,
    untrusted: bool = False,
) -> Comparison:
    """Compare the runs of two sides; one on each side by its requests, more by their runs.

    Raises UserError for runs that cannot be compared, unless that is asked for.
    """
    limits = thresholds(threshold)
    first, second = ([read(folder) for folder in side] for side in (base, candidate))
    warnings = comparison.check(first, second, different_plans=different_plans, untrusted=untrusted)
    tables = (requests_of(base[0]), requests_of(candidate[0])) if len(base) == 1 else None
    return comparison.compare(first, second, limits, tables, warnings)


def read(folder: Path) -> Run:
    """Read a run's folder, as far as a comparison needs it."""
    return Run(str(folder), manifest.read(folder), summaries.read(folder))


def write(flag: str, path: Path, content: bytes) -> None:
    """Write to the file that a flag names."""
    check_folder_of(flag, path)
    files.write_text(path, content)


def check_folder_of(flag: str, path: Path) -> None:
    """Raise UserError where there is no folder for the file that a flag names."""
    if not path.parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {path.parent}; make it first")
