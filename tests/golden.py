"""Files that hold what people read, word for word: `GOLDEN=write pytest tests/analysis/present` writes them anew."""

import difflib
import io
import os
import re
from pathlib import Path

from analysis.present import to_html, to_markdown
from analysis.present.document import Document
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
