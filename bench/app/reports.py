"""What a folder says, read again: of a run, of repeats of one load, of a sweep."""

from pathlib import Path
from typing import NamedTuple

from analysis.present import to_html
from analysis.present.document import Document
from bench.app import compare, repeat, results
from bench.app.options import Window
from bench.app.sweep import results as sweeps
from bench.app.sweep.study import read_folder
from bench.runs import folder as files


class Decoded(NamedTuple):
    """What was made from captures, the path of its page, and its exit code."""

    document: Document
    page: Path
    code: int


def decode(folder: Path, window: Window | None) -> Decoded:
    """Decode the captures of a run again, or those of each of its repeats. Raises UserError."""
    if results.has_repeats(folder):
        document, code = repeat.decode(folder, window)
        return Decoded(document, repeat.page_of(folder), code)
    summary = results.summarise(folder, window)
    code = results.exit_code(results.recorded_stop(folder), summary)
    return Decoded(results.describe(folder), results.report_of(folder), code)


def has_study(folder: Path) -> bool:
    """Whether a folder is a sweep's."""
    return (folder / files.STUDY_FILE).exists()


def described(folder: Path) -> Document:
    """The document of a folder. Raises UserError for a foreign one."""
    if has_study(folder):
        return sweeps.described(read_folder(folder), folder.absolute())
    return repeat.report(folder) if results.has_repeats(folder) else results.describe(folder)


def write_page(folder: Path, alone: Path | None = None) -> Path:
    """Write its page again, or a self-contained one to the file `alone`; returns its path."""
    if has_study(folder):
        folder = folder.absolute()
        if alone is not None:
            compare.write("--html", alone, to_html.render(described(folder)).encode())
            return alone
        sweeps.conclude(read_folder(folder), folder)
        return sweeps.page_of(folder)
    if results.has_repeats(folder):
        page = alone or repeat.page_of(folder)
        repeat.report(folder, page)
        return page
    return results.write_report(folder, alone)
