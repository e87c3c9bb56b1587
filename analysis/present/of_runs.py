"""What lies in a folder of results as a Document: a row for each run and each folder of runs, newest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.listing import BROKEN, FIGURES, UNFINISHED, ListedResult
from analysis.present.document import TONES, Cell, Column, Columns, Document, Prose, Tone, table
from analysis.wording import DASH, count, dollars, number
from bench.runs.sections import dump

MOST_ROWS = 40
"""Shown on a terminal unless --all is given."""
_TONES: Mapping[str, Tone] = {**TONES, BROKEN: "bad", UNFINISHED: "quiet"}
COLUMNS: Columns[ListedResult] = (
    (Column("folder", "left"), lambda line: line.name),
    (Column("begun (UTC)", "left", drop=9), lambda line: line.created_at[:16].replace("T", " ")),
    (Column("kind", "left", drop=10), lambda line: line.kind),
    (Column("backend", "left", drop=7), lambda line: line.backend or DASH),
    (Column("model", "left", drop=8), lambda line: line.model or DASH),
    (Column("scenario", "left", drop=3), lambda line: line.scenario or DASH),
    (Column("load", "left", drop=6), lambda line: line.load or DASH),
    (Column("verdict", "left"), lambda line: Cell(line.status, tone=_TONES.get(line.status, ""), why=line.said)),
    (Column("ttft p50, ms", drop=5), lambda line: number(line.ttft_ms_p50)),
    (Column("p99, ms", drop=2), lambda line: number(line.ttft_ms_p99)),
    (Column("tokens/s", drop=4), lambda line: number(line.output_tokens_per_s)),
    (Column("$/M tokens", drop=1), lambda line: dollars(line.usd_per_million_output_tokens)),
)


def document(lines: Sequence[ListedResult], root: str, *, shows_all: bool) -> Document:
    """The newest lines, or all of them; JSON always has all."""
    shown = lines if shows_all else lines[:MOST_ROWS]
    rest = len(lines) - len(shown)
    below = f"{count(rest, 'more folder')}: --all" if rest else ""
    if not lines:
        below = f"{root} has no runs yet; bench.py run makes one"
    return Document(
        title="",
        blocks=(table(COLUMNS, shown), Prose((below,) if below else (), "quiet")),
        data=[_plain(line, root) for line in lines],
    )


def _plain(line: ListedResult, root: str) -> dict[str, Any]:
    """A line for programs: null is unknown, texts and figures alike."""
    found = {name: value for name, value in dump(line).items() if name not in ("stamps", "typeable")}
    texts = {name: value or None for name, value in found.items() if name not in ("name", "runs", *FIGURES)}
    return {"folder": f"{root}/{line.name}", **found, **texts}
