"""Another tool's figures beside ours, as a Document: what differs, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from analysis import wording
from analysis.others.crosscheck import Crosscheck, CrossFigure
from analysis.present.document import Column, Columns, Document, Headline, Note, Notes, Prose, Section, Table, table
from analysis.present.run_facts import RATES
from analysis.wording import count, number, together

METHOD: Final = (
    "Nothing here is guessed: a definition explains a difference only if our run, recomputed by that definition, "
    "gives their figure. Differences within the noise do not count: run-to-run variation, the 95% interval of our "
    "figure, and our client's error from its selftest."
)


def document(found: Crosscheck, run: str) -> Document:
    """The figures of both, the definitions that explain, and what is left."""
    left = found.of("unexplained")
    same, explained = len(found.of("same")), len(found.of("by definition"))
    text = f"{same} the same, {explained} explained by definition, {len(left)} unexplained."
    return Document(
        title=f"{found.title} beside {run}",
        kind="Two tools, one server",
        headline=Headline(
            "unexplained" if left else "explained", text, (*_loads(found), *map(_unexplained, left), *_untold(left))
        ),
        blocks=(
            Section("Side by side", (_table(found),)),
            Section("Explained", (Notes(_reasons(found.figures)),)),
            Section("Reported by only one", (Notes(tuple(_lone(found))),)),
            Section("Method", (Prose((METHOD,), "quiet"),)),
        ),
        data={"tool": found.tool, "run": run, "figures": [_plain(figure) for figure in found.figures]},
    )


def _loads(found: Crosscheck) -> Sequence[Note]:
    """That answers were of other lengths, where no definition makes them so: then another load was compared."""
    lengths = [each for each in found.of("unexplained") if (each.metric, each.statistic) == ("output_tokens", "mean")]
    words = "not the same load: answers averaged {} tokens there and {} here; whatever depends on length differs too"
    return [Note(words.format(number(each.theirs), number(each.ours))) for each in lengths]


def _table(found: Crosscheck) -> Table:
    columns: Columns[CrossFigure] = (
        (Column("figure", "left"), _name),
        (Column("theirs"), lambda each: number(each.theirs)),
        (Column("ours"), lambda each: number(each.ours)),
        (Column("theirs - ours"), lambda each: number(each.difference)),
        (Column("ours by their definition", drop=1), lambda each: number(each.recomputed) if each.by else ""),
        (Column("left"), lambda each: number(each.left)),
        (Column("noise", drop=2), lambda each: number(each.noise or None)),
        (Column("outcome", "left"), lambda each: each.outcome),
    )
    return table(columns, found.figures, "In ms, tokens, or per second")


def _name(figure: CrossFigure) -> str:
    if figure.metric in RATES:
        return RATES[figure.metric][0]
    return f"{wording.short(figure.metric)} {figure.statistic}"


def _unexplained(figure: CrossFigure) -> Note:
    known = f", after {' and '.join(each.name.replace('_', ' ') for each in figure.by)}" if figure.by else ""
    return Note(f"{_name(figure)}: {number(figure.left)} of {number(figure.theirs)} is unexplained{known}")


def _untold(left: Sequence[CrossFigure]) -> Sequence[Note]:
    """Of which of them ours has no interval, and why: what to do about it."""
    names = together((each.why, _name(each)) for each in left if each.why)
    words = "may be noise: our run has no interval for {} ({}); measure again with more --requests"
    return [Note(words.format(", ".join(of), why)) for why, of in names.items()]


def _reasons(figures: Sequence[CrossFigure]) -> tuple[Note, ...]:
    """Each definition that explains something, with the figures that it takes part in."""
    names = together((each.words, _name(figure)) for figure in figures for each in figure.by)
    return tuple(Note(f"{words}: {', '.join(of)}.") for words, of in names.items())


def _lone(found: Crosscheck) -> list[Note]:
    both = (("theirs", found.only_theirs), ("ours", found.only_ours))
    return [Note(f"{count(len(names), 'metric')} of {whose}: {', '.join(names)}") for whose, names in both if names]


def _plain(figure: CrossFigure) -> dict[str, object]:
    return {
        **asdict(figure),
        "by": [each.name for each in figure.by],
        "difference": figure.difference,
        "left": figure.left,
    }
