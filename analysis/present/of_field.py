"""A comparison of more than two sides as a Document: which may be best, what changed from the base, every pair."""

from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any, Final, get_args

from analysis.compare.comparison import Comparison, Inconclusive
from analysis.compare.field import FieldComparison, Finding
from analysis.compare.measures import MEASURES
from analysis.present import of_comparison
from analysis.present.document import (
    PAGE,
    TONES,
    Cell,
    Column,
    Columns,
    Document,
    Headline,
    JUnitCase,
    Note,
    Prose,
    Section,
    Table,
    cells,
    facts,
    row,
    table,
)
from analysis.present.of_comparison import (
    COLUMNS,
    UNITS,
    case_of,
    changes_of,
    changes_table,
    headline,
    named,
    records_of,
    shown_value,
    side,
    tally,
)
from analysis.stats.changes import FAMILY_ERROR
from analysis.wording import count
from bench.runs.sections import pick

SCHEMA: Final = 1
FAMILY: Final = (
    "p is adjusted for all measures of all pairs together (Holm): if all sides are equal, at most one study in "
    "twenty reports any difference. Each interval is for its own pair and measure alone."
)
BEST: Final = "may be best: no other side is surely better by a margin that matters."


def labels(found: Comparison | FieldComparison) -> tuple[str, ...]:
    """What the sides are called in tables and figures: the base first."""
    return ("base", "candidate") if isinstance(found, Comparison) else tuple(ascii_uppercase[: len(found.sides)])


def document_of(
    found: Comparison | FieldComparison, figures: Sequence[Section] = (), inconclusive: Inconclusive = "pass"
) -> Document:
    """A comparison of two sides, or of more."""
    if isinstance(found, Comparison):
        return of_comparison.document(found, figures, inconclusive)
    return document(found, figures, inconclusive)


def document(found: FieldComparison, figures: Sequence[Section] = (), inconclusive: Inconclusive = "pass") -> Document:
    """The comparison with the figures given; `inconclusive` says what such a measure is to a gate."""
    letters = labels(found)
    named_pairs = [(letters[i], letters[j], comparison) for (i, j), comparison in found.pairs.items()]
    return Document(
        title=f"{count(len(letters), 'side')} compared",
        kind="Comparison of runs",
        headline=Headline(found.verdict, _headline(found)),
        warnings=tuple(map(Note, found.warnings)),
        blocks=(
            facts([(letter, side(runs)) for letter, runs in zip(letters, found.sides, strict=True)]),
            Section("Side by side", (_side_by_side(found, letters),)),
            Section("Against A", (_against_base(found, letters),)),
            Section("What differs", (_differing(found, letters) or Prose(("Nothing surely does.",), "quiet"),)),
            *figures,
            *(
                Section(f"{first} to {second}: {tally(comparison)}", (changes_table(comparison),), PAGE, folded=True)
                for first, second, comparison in named_pairs
            ),
            Section("Method", (Prose((UNITS[found.unit], FAMILY), "quiet"),)),
        ),
        data=_data(found, letters),
        records=tuple(record for pair in named_pairs for record in records_of(*pair)),
        suite="compare",
        cases=tuple(_cases(found, letters, inconclusive)),
    )


def _headline(found: FieldComparison) -> str:
    counts, pairs = found.found, len(found.pairs)
    measures = count(len(found.measures()), "measure")
    return (
        f"Of {measures} between {count(len(found.sides), 'side')} ({count(pairs, 'pair')}): "
        f"{counts['differs']} differ, {counts['same']} same, {counts['inconclusive']} inconclusive."
    )


def _side_by_side(found: FieldComparison, letters: Sequence[str]) -> Table:
    columns = (Column("measure", "left"), *(Column(letter) for letter in letters), Column("may be best", "left"))
    rows = []
    for name in found.measures():
        best = found.may_be_best(name)
        # Where all may be best nothing is marked: that says nothing of any.
        all_may = len(best) == len(letters)
        marked = () if all_may else best
        values = [
            Cell(shown_value(MEASURES[name], found.value(place, name)), tone="good" if place in marked else "")
            for place in range(len(letters))
        ]
        places = "any" if all_may else " ".join(letters[place] for place in best)
        rows.append(row(name, *values, places))
    return Table(columns, tuple(rows), f"Geometric means over each side's runs, arithmetic means for shares; {BEST}")


def _against_base(found: FieldComparison, letters: Sequence[str]) -> Table:
    columns: Columns[tuple[str, Comparison]] = (
        (Column("side", "left"), lambda each: each[0]),
        (Column("verdict", "left"), lambda each: Cell(each[1].verdict, tone=TONES[each[1].verdict])),
        (Column("found", "left", wraps=True), lambda each: headline(each[1]).partition(": ")[2]),
    )
    return table(columns, zip(letters[1:], found.against_base, strict=True))


def _differing(found: FieldComparison, letters: Sequence[str]) -> Table | None:
    """The changes that are sure, from whichever side is named first to the other."""
    name, _, _, *others = (column for column, _ in COLUMNS)
    columns = (
        Column("from", "left"), Column("to", "left"), name, Column("from", "decimal", drop=4),
        Column("to", "decimal", drop=4), *others,
    )  # fmt: skip
    rows = tuple(
        row(letters[i], letters[j], *cells(COLUMNS, change))
        for (i, j), comparison in found.pairs.items()
        for change in comparison.changes
        if change.verdict in ("better", "worse")
    )
    return Table(columns, rows) if rows else None


def _data(found: FieldComparison, letters: Sequence[str]) -> dict[str, Any]:
    counts = found.found
    return {
        "schema": SCHEMA,
        **pick(found, "verdict", "unit"),
        "family_error": round(FAMILY_ERROR, 6),
        "found": {outcome: counts[outcome] for outcome in get_args(Finding)},
        "sides": [
            {"name": letter, "runs": [named(run) for run in runs]}
            for letter, runs in zip(letters, found.sides, strict=True)
        ],
        "warnings": list(found.warnings),
        "measures": [
            {
                "measure": name,
                "values": {letter: found.value(place, name) for place, letter in enumerate(letters)},
                "may_be_best": [letters[place] for place in found.may_be_best(name)],
            }
            for name in found.measures()
        ],
        "pairs": [
            {
                "base": letters[i],
                "candidate": letters[j],
                "verdict": comparison.verdict,
                "changes": changes_of(comparison),
            }
            for (i, j), comparison in found.pairs.items()
        ],
    }


def _cases(found: FieldComparison, letters: Sequence[str], inconclusive: Inconclusive) -> Iterator[JUnitCase]:
    for letter, comparison in zip(letters[1:], found.against_base, strict=True):
        for change in comparison.changes:
            case = case_of(change, comparison, inconclusive)
            yield JUnitCase(f"{letter} {case.name}", case.outcome, case.message, case.kind, case.detail)
