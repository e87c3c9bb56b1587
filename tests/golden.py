"""Files that hold what people read, word for word: `GOLDEN=write pytest tests/analysis/present` writes them anew."""

import difflib
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.cells import cell_len

from analysis.present import to_html, to_markdown
from analysis.present.document import Block, Document, Section, Table
from bench.cli.output import Screen, show

FOLDER = Path(__file__).parent / "goldens"
WIDTHS = (100, 60)


def same_as_before(name: str, document: Document) -> None:
    """Fail unless each place shows the document as its golden file has it."""
    found = {
        f"{name}.txt": "".join(f"--- {width} columns ---\n{on_terminal(document, width)}" for width in WIDTHS),
        f"{name}.md": to_markdown.render(document),
        f"{name}.html": without_scripts(to_html.render(document)),
    }
    for file, text in found.items():
        _check(FOLDER / file, text)
    fits_every_terminal(document)


def fits_every_terminal(document: Document) -> None:
    """Fail unless a terminal of whatever width breaks no word, path or number, and no line is wider that could fit."""
    whole = set(on_terminal(document).split())
    names = {f"{name}{end}" for name in columns_of(document.blocks) for end in ("", ",")}
    whole |= {word for name in names for word in name.split()} | {"not", "shown", "for", "want", "of", "room:"}
    for width in (40, 48, 60, 72, 88, 100, 133, 200):
        for line in on_terminal(document, width).splitlines():
            assert set(line.split()) <= whole, f"broken at {width} columns: {line}"
            assert cell_len(line) <= width or len(line.split()) == 1, f"wider than {width} columns: {line}"


def columns_of(blocks: Sequence[Block]) -> Iterator[str]:
    """The names of all columns."""
    for block in blocks:
        if isinstance(block, Table):
            yield from (column.name for column in block.columns)
        elif isinstance(block, Section):
            yield from columns_of(block.blocks)


def _check(path: Path, text: str) -> None:
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
        return
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    changes = "\n".join(difflib.unified_diff(before.splitlines(), text.splitlines(), path.name, "now", lineterm=""))
    assert text == before, f"{changes}\nif this is as it should be: GOLDEN=write pytest {Path(__file__).parent}"


def on_terminal(document: Document, width: int | None = None) -> str:
    """What a terminal so wide shows, without its colours; without a width what a file gets."""
    screen = Screen(file=io.StringIO(), force_terminal=width is not None, color_system=None, width=width)
    show(screen, document)
    return screen.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def without_scripts(page: str) -> str:
    """A page as its words and its outline; scripts, styles and the data of figures have tests of their own."""
    return re.sub(r"(<(script|style)[^>]*>).*?(</\2>)", r"\1\3", page, flags=re.S)
