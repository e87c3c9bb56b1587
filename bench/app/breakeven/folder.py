"""The folder of `breakeven --out`: breakeven.json, the page, and a page for each figure."""

from pathlib import Path

from analysis.breakeven import written
from analysis.breakeven.comparison import CostComparison
from analysis.present import breakeven_page
from bench.runs import folder as files
from bench.types import UserError

BREAKEVEN = "breakeven"


def write(folder: Path, comparison: CostComparison) -> Path:
    """Write everything about a comparison; returns the page's path. Raises UserError if the folder is not writable."""
    figures = folder / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"--out {folder}: {problem.strerror}; choose a folder that can be written") from None
    files.write_json(folder / f"{BREAKEVEN}.json", written.plain(comparison))
    for name, figure_page in breakeven_page.figure_pages(comparison).items():
        files.write_text(figures / f"{name}.html", figure_page)
    files.write_text(folder / f"{BREAKEVEN}.html", breakeven_page.render(comparison))
    return folder / f"{BREAKEVEN}.html"
