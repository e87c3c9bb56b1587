"""The page of all results: newest first, to be filtered, sorted and compared; its lines can be read back from it.

The lines stand in it as data, and become a table in the browser: ten thousand of them, each set as text and no more.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

import orjson
from markupsafe import Markup

from analysis.listing import COMPARABLE, ListedResult
from analysis.present import pages
from bench.runs.sections import load

MARK: Final = "bench.py runs, version 1"
"""What tells this page from others; its version is that of its data."""
_BEGIN: Final = '<script type="application/json" id="results">'
_COLUMNS: Final = tuple(field.name for field in fields(ListedResult) if field.name != "other")


def render(lines: Sequence[ListedResult], root: str) -> str:
    """The page of these lines; `root` is what commands call the folder in which it lies."""
    rows = [[getattr(line, name) for name in _COLUMNS] for line in lines]
    content = orjson.dumps({"root": root, "columns": _COLUMNS, "rows": rows}).decode()
    return pages.render(
        "index.html",
        title=f"Runs in {root}",
        mark=MARK,
        begin=Markup(_BEGIN),
        content=Markup(content.replace("<", "\\u003c")),
        comparable=COMPARABLE,
    )


def read(page: bytes) -> tuple[ListedResult, ...]:
    """The lines of a page that `render` made. Raises UserError where they are not what this version writes."""
    _, _, rest = page.partition(_BEGIN.encode())
    found = orjson.loads(rest.partition(b"</script>")[0])
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    return load(tuple[ListedResult, ...], rows, "index.html")
