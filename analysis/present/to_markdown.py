"""A Document as markdown, for a comment that a CI job leaves."""

import re
from collections.abc import Iterator, Sequence

from analysis.present.document import (
    Block,
    Cell,
    Document,
    Fact,
    Facts,
    Figures,
    Note,
    Notes,
    Prose,
    Section,
    Table,
    visible,
)
from bench.process.printable import printable

TITLE_LEVEL = 3


def render(document: Document) -> str:
    """The whole document but for what only pages show; tables are GitHub's."""
    parts = [f"{'#' * TITLE_LEVEL} {plain(document.title)}"]
    if document.headline is not None:
        parts += [f"**{plain(document.headline.text)}**", *_listed(document.headline.reasons)]
    parts += [*_listed(document.warnings, "**Note:** "), *_blocks(document.blocks, TITLE_LEVEL + 1)]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text with what markdown or HTML would act on made literal and on one line."""
    # Beside markdown's own marks: GitHub makes people of @name, issues of #1 and entities of &lt;.
    return re.sub(r"([\\`*_\[\]<>|#@!~&])", r"\\\1", " ".join(printable(text).split()))


def _blocks(blocks: Sequence[Block], level: int) -> Iterator[str]:
    for block in visible(blocks, "markdown"):
        match block:
            case Section(title=title):
                if title:
                    yield f"{'#' * level} {plain(title)}"
                yield from _blocks(block.blocks, level + bool(title))
            case Facts(facts=facts):
                yield "\n".join(f"- {plain(fact.label)}: {plain(_value(fact))}" for fact in facts)
            case Notes(notes=notes):
                yield from _listed(notes)
            case Prose(paragraphs=paragraphs):
                yield "\n\n".join(map(plain, paragraphs))
            case Table():
                yield from _table(block)
            case Figures():
                pass


def _listed(notes: Sequence[Note], before: str = "") -> list[str]:
    """The notes as one list, nothing where there is none; a code among them stands as code."""
    lines = (f"- {before}{f'{_name(note.about)}: ' if note.about else ''}{plain(note.text)}" for note in notes)
    return ["\n".join(lines)] if notes else []


def _name(about: str) -> str:
    return f"`{about}`" if re.fullmatch(r"\w+", about) else plain(about)


def _value(fact: Fact) -> str:
    return fact.text + (f" {fact.unit}" if fact.unit else "") + (f" ({fact.note})" if fact.note else "")


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield plain(table.caption)
    head = [plain(column.name) for column in table.columns]
    rule = [":---" if column.align == "left" else "---:" for column in table.columns]
    lines = [head, rule, *([_cell(cell) for cell in row.cells] for row in table.rows)]
    yield "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(cell: Cell) -> str:
    text = plain(cell.text + (f", {cell.unit}" if cell.unit else "") + (f" ({cell.interval})" if cell.interval else ""))
    return f"**{text}**" if cell.tone in ("good", "bad") else text
