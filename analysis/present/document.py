"""What a result says, apart from where it is read: a Document, which each renderer shows in its own way.

A result is a function that makes a Document (the modules `of_*`); the renderers (`to_html`, `to_markdown`, `to_json`,
`to_junit`, and bench/cli/output.py for the terminal) know no result. Text in a Document is as it came: each renderer
makes literal what its own reader would act on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from analysis.wording import together

if TYPE_CHECKING:
    from analysis.present.figure import Figure
    from analysis.run.summary import RunVerdict

T = TypeVar("T")
Place = Literal["terminal", "markdown", "page"]
Tone = Literal["", "good", "warn", "bad", "quiet", "strong"]
Align = Literal["left", "right", "decimal"]
CaseOutcome = Literal["passed", "failed", "skipped"]

EVERYWHERE: Final[frozenset[Place]] = frozenset({"terminal", "markdown", "page"})
PAGE: Final[frozenset[Place]] = frozenset({"page"})
WRITTEN: Final[frozenset[Place]] = frozenset({"markdown", "page"})
TONES: Final[Mapping[str, Tone]] = {
    **dict.fromkeys(("valid", "better", "passed", "met"), "good"),
    **dict.fromkeys(("suspect", "not verifiable", "inconclusive", "undecided", "not judged"), "warn"),
    **dict.fromkeys(("invalid", "worse", "different", "failed", "missed", "saturated"), "bad"),
    "same": "quiet",
}
"""How every status of every verdict looks, wherever it stands."""


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence, and the code or the names that it is about."""

    text: str
    about: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Headline:
    """A verdict: its status as programs know it, what it means in a sentence, and why."""

    status: str
    text: str
    reasons: tuple[Note, ...] = ()

    @property
    def tone(self) -> Tone:
        """How the status looks."""
        return TONES.get(self.status, "")


@dataclass(frozen=True, slots=True)
class Fact:
    """One value with its name; `note` says how sure it is, `code` the name that files have for it.

    `anchor` is what a link in a cell points to.
    """

    label: str
    text: str
    unit: str = ""
    note: str = ""
    code: str = ""
    anchor: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values under each other; as tiles a page shows them large, side by side."""

    facts: tuple[Fact, ...]
    tiles: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """`drop`: when the table is wider than a terminal, columns go in this order, 1 first; 0 never goes.

    Only a column that wraps may be broken into lines, between its words.
    """

    name: str
    align: Align = "right"
    drop: int = 0
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in a table: its unit, its interval, why it is what it is, where it leads.

    A terminal shows the text and the unit, or what it is given instead.
    """

    text: str
    unit: str = ""
    interval: str = ""
    why: str = ""
    link: str = ""
    terminal: str = ""
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A cell for each column; the first names the row."""

    cells: tuple[Cell, ...]
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; `caption` says what of."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Notes:
    """Sentences of equal weight, as a list; a label stands before them where there is room for one."""

    notes: tuple[Note, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs. Those that lead are large on a page, quiet ones explain what stands above them."""

    paragraphs: tuple[str, ...]
    style: Literal["", "lead", "quiet"] = ""


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure on a page; a wide one takes a whole row."""

    name: str
    title: str
    figure: "Figure"
    wide: bool = True


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures, and the titles of those that there was nothing to draw in. Only pages show them."""

    drawn: tuple[PageFigure, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks under a title; `on` says where they show. On a page a folded one opens by a click, a boxed stands out."""

    title: str
    blocks: "tuple[Block, ...]"
    on: frozenset[Place] = EVERYWHERE
    folded: bool = False
    boxed: bool = False
    tone: Tone = ""


Columns = Sequence[tuple[Column, Callable[[T], str | Cell]]]
"""The columns of a table, each with what it says of a row's thing."""

Block = Facts | Table | Notes | Prose | Figures | Section


@dataclass(frozen=True, slots=True)
class JUnitCase:
    """What a CI system counts: `kind` is the sort of failure, `detail` its text where that differs from the message."""

    name: str
    outcome: CaseOutcome
    message: str = ""
    kind: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """All that a result has to say, in the order in which it is read: title, verdict, warnings, blocks.

    `kind` says what sort of result it is, `suite` is its name in JUnit, `data` what programs get of it: plain values
    with full digits, None for unknown; `records` are those of its main table for CSV, flat and with equal keys.
    `footer` names it on a page's last line.
    """

    title: str
    kind: str = ""
    headline: Headline | None = None
    warnings: tuple[Note, ...] = ()
    blocks: tuple[Block, ...] = ()
    footer: str = ""
    data: Any = None
    records: tuple[Mapping[str, Any], ...] = ()
    suite: str = ""
    cases: tuple[JUnitCase, ...] = field(default=())


def facts(rows: Sequence[tuple[str, str]]) -> Facts:
    return Facts(tuple(Fact(*row) for row in rows))


def row(*cells: str | Cell, tone: Tone = "") -> Row:
    """A row from its cells; text alone is a cell."""
    return Row(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells), tone)


def table(columns: Columns[T], of: Iterable[T], caption: str = "", tone: Callable[[T], Tone] = lambda _: "") -> Table:
    """A table with a row for each thing, in the tone that it is given."""
    rows = tuple(Row(cells(columns, each), tone(each)) for each in of)
    return Table(tuple(column for column, _ in columns), rows, caption)


def cells(columns: Columns[T], of: T) -> tuple[Cell, ...]:
    """What the columns say of one thing."""
    return row(*(written(of) for _, written in columns)).cells


def texts(columns: Columns[T], of: T) -> tuple[str, ...]:
    """The same as text alone."""
    return tuple(cell.text for cell in cells(columns, of))


def judged(verdict: "RunVerdict", text: str) -> Headline:
    return Headline(verdict.status, text, tuple(Note(reason.message, reason.code) for reason in verdict.reasons))


def about_same(reasons: Iterable[tuple[str, str | None]]) -> tuple[Note, ...]:
    """Notes from (name, why), those with one reason together; without a reason there is nothing to note."""
    names = together((why, name) for name, why in reasons if why)
    return tuple(Note(why, ", ".join(of), "quiet") for why, of in names.items())


def visible(blocks: Sequence[Block], place: Place) -> tuple[Block, ...]:
    """The blocks that a place shows, of those that have something in them."""
    return tuple(block for block in blocks if _has_content(block, place))


def _has_content(block: Block, place: Place) -> bool:
    match block:
        case Section(blocks=blocks, on=on):
            return place in on and bool(visible(blocks, place))
        case Figures():
            # Also without any: a page says which of them there was nothing to draw in.
            return place == "page"
        case Facts(facts=parts) | Table(rows=parts) | Notes(notes=parts) | Prose(paragraphs=parts):
            return bool(parts)
