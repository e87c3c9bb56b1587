"""Where a page lies among others: which of them it links to, and whose charts' library it uses.

The page of a sweep, of repeats or of a search is what people send to others, and carries the library. The reports of
their runs are many: they take it from the campaign's folder, where it lies once. The report of a run on its own carries
it. All addresses are relative, so that a folder can be moved, or served, as a whole.
"""

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote

from analysis.present import chart_library, to_html
from analysis.present.document import Document
from analysis.present.pages import Link, PagePlace
from bench.app.listing import ROOT
from bench.runs import folder as files

_FAR: Final = 6
"""So many folders above a page may belong to it: a run of a search of a contender of a study in a folder of results."""
_CAMPAIGNS: Final = {
    files.STUDY_FILE: Link("the study", files.STUDY_PAGE),
    files.CAPACITY: Link("the search", files.CAPACITY_PAGE),
    files.REPEATS: Link("all repeats", files.REPEATS_PAGE),
    files.AB: Link("both sides", files.AB_PAGE),
}
"""What a campaign's folder has from its beginning, and the page that it has at its end."""


def around(page: Path) -> PagePlace:
    """Where a page lies. Only names of files are looked at: pages above it may be written after it."""
    folder = page.absolute().parent
    above = folder.parents[:_FAR]
    library = next((each / chart_library.BUNDLE.name for each in above if _has_library(each)), None)
    links = [
        Link(link.text, _href(each / link.href, folder))
        for each in above
        for marker, link in _CAMPAIGNS.items()
        if (each / files.CAMPAIGN).exists() and (each / marker).exists()
    ]
    root = next((each for each in above if each == ROOT.absolute() or (each / files.INDEX).exists()), None)
    links += [] if root is None else [Link("all runs", _href(root / files.INDEX, folder))]
    return PagePlace(_href(library, folder) if library else None, tuple(reversed(links)), f"{folder.name}/{page.name}")


def write_page(page: Path, document: Document) -> None:
    """Write a document as a page, with links to those around it. Raises UserError when the disk does not take it."""
    files.write_text(page, to_html.render(document, around(page)))


def share_library(campaign: Path) -> None:
    """Lay the charts' library into a campaign's folder for the reports of its runs, unless it lies above already."""
    if not any(_has_library(each) for each in campaign.absolute().parents[:_FAR]):
        chart_library.copy_to(campaign)


def _has_library(folder: Path) -> bool:
    return (folder / files.CAMPAIGN).exists() and (folder / chart_library.BUNDLE.name).exists()


def _href(target: Path, folder: Path) -> str:
    return quote(os.path.relpath(target, folder))
