"""Sides of existing runs: found, read and compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from analysis.compare import comparable
from analysis.compare.comparison import Comparison, Run, compare
from analysis.compare.field import FieldComparison, compare_all
from analysis.compare.measures import MEASURES as MEASURES
from analysis.compare.measures import thresholds
from analysis.listing import COMPARABLE, StudyHead
from analysis.present import to_html
from analysis.present.comparison_figures import sections
from analysis.present.of_field import document_of, labels
from analysis.run import summary as summaries
from bench.app.listing import folder_of
from bench.app.options import JudgeOptions
from bench.app.results import requests_of
from bench.runs import folder as files
from bench.runs import manifest
from bench.runs.sections import load
from bench.types import UserError

MOST_SIDES: Final = 16


def runs_of_sides(given: Sequence[str]) -> list[list[Path]]:
    """The run folders of each side, the base first; a sweep's folder gives one side per contender.

    Raises UserError for fewer than two sides.
    """
    found = list[list[Path]]()
    for side, text in zip(comparable.side_names(max(2, len(given))), given, strict=False):
        folder = Path(folder_of(text, *COMPARABLE))
        found += _contenders(folder) if (folder / files.STUDY).exists() else [runs_in(side, text)]
    if len(found) < 2:
        raise UserError(
            f"{given[0]}: expected a second side; give another run, or a sweep of two contenders with results"
        )
    return found


def _contenders(sweep: Path) -> list[list[Path]]:
    """The runs of each contender of a sweep, at the load of its table. Raises UserError if there are none."""
    content = files.read_json(sweep, files.STUDY)
    try:
        study = load(StudyHead, content, sweep / files.STUDY)
    except UserError:
        raise UserError(
            f"{sweep / files.STUDY}: not written by this version of sweep; write it again with: bench.py report {sweep}"
        ) from None
    cells = [cell for contender in study.contenders for cell in contender.loads if cell.load == study.main_load]
    sides = [[sweep / run.folder for run in cell.runs] for cell in cells if cell.runs]
    if not sides:
        raise UserError(f"{sweep}: no contender has results at {study.main_load}")
    return sides


def runs_in(side: str, given: str) -> list[Path]:
    """The run folders that an argument names."""
    found: list[Path] = []
    parts = [given] if Path(given).exists() else filter(None, given.split(","))
    for path in (Path(folder_of(part, *COMPARABLE)) for part in parts):
        if not path.is_dir():
            raise UserError(f"{side} {path}: expected a run folder, a folder of runs, or several with commas between")
        inside = (
            [path] if (path / files.RUN).exists() else sorted(inner.parent for inner in path.glob(f"*/{files.RUN}"))
        )
        if not inside:
            raise UserError(f"{side} {path}: no run found; expected {files.RUN} in it or in its folders")
        found += [run for run in inside if run not in found]
    return found


def compare_runs(sides: Sequence[Sequence[Path]], options: JudgeOptions) -> Comparison | FieldComparison:
    """Compare two sides, or every pair of more: by their requests if each has one run, by their runs otherwise.

    Raises UserError for runs that cannot be compared, unless that is allowed.
    """
    if len(sides) > MOST_SIDES:
        raise UserError(f"{len(sides)} sides: expected {MOST_SIDES} at most")
    limits, read_sides = thresholds(options.threshold), [[read(folder) for folder in side] for side in sides]
    warnings = checked(read_sides, options)
    tables = [requests_of(side[0]) for side in sides] if len(sides[0]) == 1 else None
    if len(sides) > 2:
        return compare_all(read_sides, limits, tables, warnings)
    (base, candidate), pair = read_sides, None if tables is None else (tables[0], tables[1])
    return compare(base, candidate, limits, pair, warnings)


def checked(sides: Sequence[Sequence[Run]], options: JudgeOptions) -> tuple[str, ...]:
    """The reservations about comparing these sides. Raises UserError for those that the options do not allow."""
    return comparable.check(*sides, different_plans=options.different_plans, untrusted=options.untrusted)


def read(folder: Path) -> Run:
    """Read as much of a run's folder as a comparison needs."""
    return Run(str(folder), manifest.read(folder), summaries.read(folder))


def write_page(path: Path, found: Comparison | FieldComparison, sides: Sequence[Sequence[Path]]) -> None:
    """Write the page of a comparison, with the distributions of all sides."""
    tables = ([requests_of(folder) for folder in side] for side in sides)
    figures = sections(dict(zip(labels(found), tables, strict=True)))
    write("--html", path, to_html.render(document_of(found, figures)).encode())


def write(flag: str, path: Path, content: bytes) -> None:
    """Write to the file named by a flag."""
    check_folder_of(flag, path)
    files.write_text(path, content)


def check_folder_of(flag: str, path: Path) -> None:
    """Raise UserError if the folder of the file named by a flag does not exist."""
    if not path.parent.is_dir():
        raise UserError(f"{flag} {path}: the folder {path.parent} does not exist; create it first")
