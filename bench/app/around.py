"""Where a page lies among others: which pages it links to, and whose copy of the chart library it uses.

The page of a sweep, of repeats or of a search is the one that people send to others, so it embeds the library. The
reports of its runs are many: they share the copy in the campaign's folder. The report of a single run embeds it. All
links are relative, so that a folder can be moved, or served, as a whole.
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
"""How many folders above a page may belong to it: results / study / contender / search / run."""
_CAMPAIGNS: Final = {
    files.STUDY_FILE: Link("the study", files.STUDY_PAGE),
    files.CAPACITY: Link("the search", files.CAPACITY_PAGE),
    files.REPEATS: Link("all repeats", files.REPEATS_PAGE),
    files.AB: Link("both sides", files.AB_PAGE),
}
"""The file that marks a campaign's folder from the start, and the page written at its end."""


def around(page: Path) -> PagePlace:
    """Where a page lies. Only file names are looked at, because the pages above may be written later."""
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
    """Write a document as a page, with links to the pages around it. Raises UserError if it cannot be written."""
    files.write_text(page, to_html.render(document, around(page)))


def share_library(campaign: Path) -> None:
    """Put the chart library into a campaign's folder for the reports of its runs, unless a folder above has it."""
    if not any(_has_library(each) for each in campaign.absolute().parents[:_FAR]):
        chart_library.copy_to(campaign)


def _has_library(folder: Path) -> bool:
    return (folder / files.CAMPAIGN).exists() and (folder / chart_library.BUNDLE.name).exists()


def _href(target: Path, folder: Path) -> str:
    return quote(os.path.relpath(target, folder))
