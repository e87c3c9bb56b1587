"""`bench.py compare`: is the candidate slower or dearer than the base? The gate of a CI job."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import OneOf, with_options
from bench.exit_codes import EXIT_OBJECTIVE_MISSED
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.compare.comparison import Comparison, Run

JUDGED = (
    click.option("--threshold", multiple=True, help="Least change that matters: ttft_ms:p99=5%. Repeatable."),
    click.option("--inconclusive", type=OneOf(["pass", "fail"]), default="pass", help="What it is to a gate.  [pass]"),
    click.option("--different-plans", is_flag=True, help="Compare although other requests were measured."),
    click.option("--untrusted", is_flag=True, help="Compare runs although their verdict is invalid."),
    click.option("--format", "form", type=OneOf(["text", "markdown"]), default="text", help="[text]"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file."),
)
"""How two sides are judged and how that is told: options of every command that compares."""


@click.command()
@click.argument("base")
@click.argument("candidate")
@with_options(JUDGED)
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with both distributions to this file.")
def compare(base: str, candidate: str, **options: Any) -> int:
    """Say whether CANDIDATE is slower or dearer than BASE.

    Each is a run folder, a folder of runs, or several of these with commas between. One run on each side is compared
    by its requests; with three and more on both sides the run is the unit, which is surer. Exits with 1 where any
    measure is worse.

    \b
    bench.py compare results/before results/after
    bench.py compare results/a1,results/a2,results/a3 results/b1,results/b2,results/b3 --threshold ttft_ms:p99=5%
    """
    from analysis.present import to_junit
    from analysis.present.of_comparison import document
    from bench.cli.output import deliver

    sides = _runs("BASE", base), _runs("CANDIDATE", candidate)
    found = _compare(sides, options)
    shown = document(found, inconclusive=options["inconclusive"])
    if options["junit"]:
        write("--junit", options["junit"], to_junit.render(shown))
    if options["html"]:
        from analysis.present import to_html
        from analysis.present.comparison_figures import sections

        tables = ([requests_of(folder) for folder in side] for side in sides)
        write("--html", options["html"], to_html.render(document(found, sections(found, *tables))).encode())
    deliver(shown, options["form"], as_json=options["as_json"])
    return EXIT_OBJECTIVE_MISSED if found.failing(options["inconclusive"]) else 0


def _runs(side: str, given: str) -> list[Path]:
    """The run folders that an argument names."""
    from bench.runs import folder as files

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


def _compare(sides: tuple[list[Path], list[Path]], options: dict[str, Any]) -> "Comparison":
    from analysis.compare import comparison
    from analysis.compare.measures import thresholds

    limits = thresholds(options["threshold"])
    base, candidate = ([read(folder) for folder in side] for side in sides)
    warnings = comparison.check(
        base, candidate, different_plans=options["different_plans"], untrusted=options["untrusted"]
    )
    tables = (requests_of(sides[0][0]), requests_of(sides[1][0])) if len(base) == 1 else None
    return comparison.compare(base, candidate, limits, tables, warnings)


def read(folder: Path) -> "Run":
    """Read a run's folder, as far as a comparison needs it."""
    from analysis.compare.comparison import Run
    from bench.runs import folder as files

    return Run(str(folder), files.read_json(folder, files.RUN), files.read_json(folder, files.SUMMARY))


def requests_of(folder: Path) -> Any:
    """Read requests.parquet of a run's folder."""
    from bench.runs.records import read_requests

    try:
        return read_requests(folder)
    except FileNotFoundError:
        raise UserError(f"{folder} has no requests.parquet; make it with: bench.py decode {folder}") from None


def write(flag: str, path: Path, content: bytes) -> None:
    """Write to the file that a flag names."""
    from bench.runs import folder as files

    check_folder_of(flag, path)
    files.write_text(path, content)


def check_folder_of(flag: str, path: Path) -> None:
    """Raise UserError where there is no folder for the file that a flag names."""
    if not path.parent.is_dir():
        raise UserError(f"{flag} {path}: there is no folder {path.parent}; make it first")
