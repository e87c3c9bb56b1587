"""A Document as one HTML file that needs no network. The template escapes all text that a Document holds."""

from collections.abc import Callable

from analysis.present import pages
from analysis.present.document import Block, Document, visible
from analysis.present.pages import ALONE, PagePlace


def render(document: Document, place: PagePlace = ALONE) -> str:
    """The document as a page, with links to those around it."""
    return pages.render(
        "page.html",
        place=place,
        title=document.title,
        document=document,
        visible=_visible,
        identity=_identities(),
        chart=pages.chart,
    )


def _visible(blocks: tuple[Block, ...]) -> list[tuple[str, Block]]:
    """The blocks that a page shows, each with the name of the macro that draws it."""
    return [(type(block).__name__.lower(), block) for block in visible(blocks, "page")]


def _identities() -> Callable[[str], str]:
    """Give a function from titles to identities of elements, of which no two are equal."""
    given: set[str] = set()

    def identity(title: str) -> str:
        base = "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split())
        number = 1
        while (name := base if number == 1 else f"{base}-{number}") in given:
            number += 1
        given.add(name)
        return name

    return identity
