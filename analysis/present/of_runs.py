"""What lies in a folder of results as a Document: a row for each run and each folder of runs, newest first."""

from collections.abc import Sequence
from typing import Any

from analysis.listing import BROKEN, FIGURES, UNFINISHED, ListedResult
from analysis.present.document import TONES, Cell, Column, Document, Prose, Row, Table, row
from analysis.wording import DASH, count, dollars, number
from bench.runs.sections import dump

MOST_ROWS = 40
"""On a terminal, unless all are asked for."""
COLUMNS = (
    Column("folder", "left"),
    Column("begun (UTC)", "left", drop=9),
    Column("kind", "left", drop=10),
    Column("backend", "left", drop=7),
    Column("model", "left", drop=8),
    Column("scenario", "left", drop=3),
    Column("load", "left", drop=6),
    Column("verdict", "left"),
    Column("ttft p50, ms", drop=5),
    Column("p99, ms", drop=2),
    Column("tokens/s", drop=4),
    Column("$/M tokens", drop=1),
)


def document(lines: Sequence[ListedResult], root: str, *, shows_all: bool) -> Document:
    """The newest of the lines, or all; programs get all."""
    shown = lines if shows_all else lines[:MOST_ROWS]
    rest = len(lines) - len(shown)
    below = f"{count(rest, 'more folder')}: --all" if rest else ""
    if not lines:
        below = f"{root} has no runs yet; bench.py run makes one"
    return Document(
        title="",
        blocks=(Table(COLUMNS, tuple(map(_row, shown))), Prose((below,) if below else (), "quiet")),
        data=[_plain(line, root) for line in lines],
    )


def _row(line: ListedResult) -> Row:
    tone = TONES.get(line.status, "bad" if line.status == BROKEN else "quiet" if line.status == UNFINISHED else "")
    return row(
        line.name,
        line.created_at[:16].replace("T", " "),
        line.kind,
        *(text or DASH for text in (line.backend, line.model, line.scenario, line.load)),
        Cell(line.status, tone=tone, why=line.said),
        *(number(value) for value in (line.ttft_ms_p50, line.ttft_ms_p99, line.output_tokens_per_s)),
        dollars(line.usd_per_million_output_tokens),
    )


def _plain(line: ListedResult, root: str) -> dict[str, Any]:
    """A line for programs: null is unknown, texts and figures alike."""
    found = {name: value for name, value in dump(line).items() if name not in ("stamps", "typeable")}
    texts = {name: value or None for name, value in found.items() if name not in ("name", "runs", *FIGURES)}
    return {"folder": f"{root}/{line.name}", **found, **texts}
