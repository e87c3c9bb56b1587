"""What a terminal shows: a Screen to print on, and a Document on it."""

import csv
import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from analysis.present import to_csv, to_json, to_junit, to_markdown
from analysis.present.document import (
    Block,
    Cell,
    Column,
    Document,
    Fact,
    Facts,
    Figures,
    Headline,
    Note,
    Notes,
    Prose,
    Section,
    Table,
    Tone,
    visible,
)
from bench import app
from bench.cli.base import echo
from bench.process import streams as terminal
from bench.process.printable import printable

_LABEL_COLUMNS = 12
_GAP = "  "
_LEAST_WRAPPED = 20
_ROWS_AT_ONCE = 1_000
_STYLES: dict[Tone, str] = {
    "": "", "good": "green", "warn": "yellow", "bad": "red bold", "quiet": "dim", "strong": "bold"
}  # fmt: skip


class Screen(Console):
    """Standard output; if its reader leaves, the run continues and nothing more is printed.

    Text from outside never controls the terminal, and `[INST]` in it is not markup.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the pieces to draw; terminal control comes only from rich."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else piece._replace(text=printable(piece.text))

    def on_broken_pipe(self) -> None:
        """Discard everything from now on."""
        terminal.silence(self.file)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does; a full disk behind the output does not end a measurement."""
        try:
            super().print(*objects, **options)
        except OSError as problem:
            terminal.lose(self.file, problem)


def deliver(
    document: Document,
    form: Literal["text", "markdown", "csv"],
    *,
    as_json: bool = False,
    screen: Console | None = None,
    places: Mapping[str, Path] = {},
    junit: Path | None = None,
) -> None:
    """Print a document in the requested form: as text on the given screen, followed by its path.

    Its cases are also written to the file `junit`.
    """
    if junit is not None:
        app.compare.write("--junit", junit, to_junit.render(document))
    if as_json:
        echo(to_json.render(document))
    elif form == "markdown":
        echo(to_markdown.render(document))
    elif form == "csv":
        echo(to_csv.render(document).rstrip("\n"))
    else:
        show(screen or Screen(), document, places)


def print_rows(rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV."""
    rows = iter(rows)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(some)
        echo(text.getvalue().removesuffix("\n"))


def show(screen: Console, document: Document, places: Mapping[str, Path] = {}) -> None:
    """Print a document except for what only pages show: the verdict with its reasons, the warnings, the blocks, paths.

    On a terminal, whose first lines have scrolled away by then, the verdict is repeated at the end.
    """
    if document.title:
        show_fact(screen, "", document.title, "strong", indent=0)
    if document.headline is not None:
        show_headline(screen, document.headline)
    _show_notes(screen, document.warnings, "note", "warn")
    headed = bool(document.title or document.headline or document.warnings)
    _show_blocks(screen, document.blocks, apart=headed)
    if headed and document.blocks:
        screen.print()
    for label, place in places.items():
        show_fact(screen, label, str(place))
    if document.headline is not None and document.blocks and screen.is_terminal:
        show_fact(screen, "verdict", document.headline.text, document.headline.tone)


def show_headline(screen: Console, headline: Headline) -> None:
    """Print a verdict with its reasons."""
    show_fact(screen, "verdict", headline.text, headline.tone)
    _show_notes(screen, headline.reasons)


def show_fact(screen: Console, label: str, text: str, tone: Tone = "", indent: int = _LABEL_COLUMNS) -> None:
    """Print a labelled line; a terminal wraps it with a hanging indent, elsewhere it stays one line."""
    before = f"{label}{_GAP}" if label and len(label) >= indent else label.ljust(indent)
    for number, line in enumerate(folded(text, _columns(screen), before, indent)):
        shown = Text(line)
        shown.stylize(_STYLES[tone], 0 if number else len(before))
        screen.print(shown, soft_wrap=True)


def say(screen: Console, line: str) -> None:
    """Print a line; a terminal wraps it between words."""
    for part in folded(line, _columns(screen), indent=len(_GAP)):
        screen.print(Text(part), soft_wrap=True)


def folded(text: str, width: int, before: str = "", indent: int = 0) -> list[str]:
    """A text after a prefix, in lines of at most `width` columns.

    Words, paths and numbers are not broken: one that is too wide gets a line of its own, starting further to the left
    if it must.
    """
    lines = [before]
    for word in re.findall(r"\s*\S+", text):
        if cell_len(lines[-1] + word) <= width:
            lines[-1] += word
        else:
            bare = word.strip()
            lines.append(" " * max(0, min(indent, width - cell_len(bare))) + bare)
    return [line.rstrip() for line in lines if line.strip()] or [""]


def _columns(screen: Console) -> int:
    """The maximum width of a line; unlimited if this is not a terminal."""
    return screen.width if screen.is_terminal else sys.maxsize


def _show_blocks(screen: Console, blocks: Sequence[Block], *, apart: bool) -> None:
    """Print blocks, separated by a blank line unless they are plain lines; `apart`: before the first as well."""
    above: Block | None = None
    for block in visible(blocks, "terminal"):
        stands_alone = isinstance(block, Table | Section) or isinstance(above, Table | Section)
        if stands_alone and (above or apart):
            screen.print()
        _show_block(screen, block)
        above = block


def _show_block(screen: Console, block: Block) -> None:
    match block:
        case Section(title=title, blocks=inner, tone=tone):
            if title:
                show_fact(screen, "", title, tone or "strong", indent=0)
            _show_blocks(screen, inner, apart=False)
        case Facts(facts=facts):
            _show_facts(screen, facts)
        case Notes(notes=notes, label=label):
            _show_notes(screen, notes, label, indent=_LABEL_COLUMNS if label else 0)
        case Prose(paragraphs=paragraphs, style=style):
            for paragraph in paragraphs:
                show_fact(screen, "", paragraph, "quiet" if style == "quiet" else "", indent=0)
        case Table():
            for line in table_lines(block, _columns(screen)):
                screen.print(line, soft_wrap=True)
        case Figures():
            pass


def _show_facts(screen: Console, facts: Sequence[Fact]) -> None:
    longest = max(len(fact.label) for fact in facts) + len(_GAP)
    indent = max(_LABEL_COLUMNS, min(longest, _columns(screen) // 3))
    for fact in facts:
        note = f" ({fact.note})" if fact.note else ""
        show_fact(screen, fact.label, f"{fact.text}{fact.unit and f' {fact.unit}'}{note}", fact.tone, indent)


def _show_notes(
    screen: Console, notes: Sequence[Note], label: str = "", tone: Tone = "", indent: int = _LABEL_COLUMNS
) -> None:
    for note in notes:
        text = f"{note.about}: {note.text}" if note.about else note.text
        show_fact(screen, label, text, note.tone or tone, indent)


# --- tables -----------------------------------------------------------------------------------------------------


def table_lines(table: Table, width: int) -> Iterator[Text]:
    """A table as lines: columns under their names, without those that do not fit.

    If too many columns are mandatory, the name of a row goes on a line of its own. Words, paths and numbers are never
    broken: whatever still does not fit makes the line longer.
    """
    columns = table.columns
    texts = [_aligned([_text(row.cells[i]) for row in table.rows], column) for i, column in enumerate(columns)]
    natural = [max(map(cell_len, (column.name, *texts[i]))) for i, column in enumerate(columns)]
    least = [
        _least(column.name, texts[i], natural[i]) if column.wraps else natural[i] for i, column in enumerate(columns)
    ]
    shown, is_apart = _shown(columns, least, width)
    before = _GAP if is_apart else ""
    width -= len(before)
    widths = _widened(shown, least, natural, width)
    if table.caption:
        yield from (Text(line, "dim") for line in folded(table.caption, width))
    if is_apart:
        yield Text(columns[0].name, "bold")
    yield _line(before, [(columns[i].name, i, "") for i in shown], widths, columns, "bold")
    for number, row in enumerate(table.rows):
        if is_apart:
            own = _STYLES[row.cells[0].tone] or _STYLES[row.tone]
            yield from (Text(line, own) for line in folded(texts[0][number].strip(), width))
        cells = [_wrapped(texts[i][number], widths[i], columns[i]) for i in shown]
        styles = [_STYLES[row.cells[i].tone] for i in shown]
        for line in zip_longest(*cells, fillvalue=""):
            yield _line(before, list(zip(line, shown, styles, strict=True)), widths, columns, _STYLES[row.tone])
    gone = [column.name for i, column in enumerate(columns) if i not in shown and not (is_apart and i == 0)]
    if gone:
        yield from (Text(line, "dim") for line in folded(f"not shown for want of room: {', '.join(gone)}", width))


def _widened(shown: Sequence[int], least: Sequence[int], natural: Sequence[int], width: int) -> dict[int, int]:
    """The width of each column: spare room goes to those that can use it."""
    spare, widths = width - _together([least[i] for i in shown]), dict[int, int]()
    for i in shown:
        widths[i] = min(natural[i], least[i] + max(0, spare))
        spare -= widths[i] - least[i]
    return widths


def _least(name: str, texts: Sequence[str], natural: int) -> int:
    """The minimum width of a wrapping column: its name, which does not wrap, and its longest word."""
    words = (cell_len(word) for text in texts for word in text.split())
    return min(natural, max(_LEAST_WRAPPED, cell_len(name), *words))


def _shown(columns: Sequence[Column], widths: Sequence[int], width: int) -> tuple[list[int], bool]:
    """The columns that fit, and whether the first goes on lines of its own.

    Optional columns have been dropped by then. If the others still do not fit, the first gets its own lines; if that
    does not help, others are dropped, and the first gets its own lines only if next to nothing would be left beside it.
    """
    every, beside = list(range(len(columns))), list(range(1, len(columns)))
    may_go = sorted((i for i in every if columns[i].drop), key=lambda i: (columns[i].drop, -i))
    # The last column holds the result of the others, so it stays.
    must_go = [i for i in (*beside[-2::-1], *beside[-1:]) if not columns[i].drop]
    for going, shown, is_apart, least in (
        (may_go, every, False, 1), (may_go, beside, True, 1), ([*may_go, *must_go], every, False, 3),
        ([*may_go, *must_go], beside, True, 0),
    ):  # fmt: skip
        room = width - len(_GAP) * is_apart
        found = _fitting(shown, going, widths, room)
        if len(found) >= least and _together([widths[i] for i in found]) <= room:
            return found, is_apart
    return (found, True) if beside else (every, False)


def _fitting(shown: Sequence[int], going: Iterable[int], widths: Sequence[int], width: int) -> list[int]:
    """The columns that are left when enough have been dropped, in their order, for the others to fit."""
    left = list(shown)
    for i in going:
        if len(left) > 1 and i in left and _together([widths[j] for j in left]) > width:
            left.remove(i)
    return left


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _line(
    before: str,
    cells: Sequence[tuple[str, int, str]],
    widths: Mapping[int, int],
    columns: Sequence[Column],
    style: str,
) -> Text:
    """A line of (text, column, style) cells."""
    line = Text(before, style=style)
    for text, i, own in cells:
        missing = " " * (widths[i] - cell_len(text))
        line.append(text + missing if columns[i].align == "left" else missing + text, own or None).append(_GAP)
    line.rstrip()
    return line


def _text(cell: Cell) -> str:
    """What a terminal shows of a cell, on one line."""
    text = cell.terminal or (f"{cell.text}, {cell.unit}" if cell.unit else cell.text)
    return printable(text.replace("\n", " ").replace("\t", " "))


def _aligned(texts: Sequence[str], column: Column) -> list[str]:
    """The texts of a column, with decimals padded so that their points align."""
    if column.align != "decimal":
        return list(texts)
    places = [len(found[0]) if (found := re.search(r"\.\d+$", text)) else 0 for text in texts]
    return [text + " " * (max(places) - own) for text, own in zip(texts, places, strict=True)]


def _wrapped(text: str, width: int, column: Column) -> list[str]:
    if not column.wraps:
        return [text]
    return folded(text, width)
