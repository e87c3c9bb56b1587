"""A comparison of two sides as a Document: the changes, how sure they are, and a test case for each measure."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from analysis.compare.comparison import Change, Comparison, Inconclusive, Run
from analysis.compare.measures import MEASURES, Measure, value
from analysis.compare.sequential import is_decided
from analysis.present.document import (
    TONES,
    Block,
    Cell,
    Column,
    Columns,
    Document,
    Facts,
    Headline,
    JUnitCase,
    Note,
    Notes,
    Prose,
    Section,
    Table,
    Tone,
    about_same,
    facts,
    table,
    texts,
)
from analysis.stats.changes import FAMILY_ERROR, Verdict
from analysis.wording import DASH, count, moved, number, percent
from bench.runs.sections import pick

SCHEMA: Final = 1
# Of more runs than these a side's first and last are named.
NAMED_RUNS: Final = 8
UNITS: Final = {
    "run": "The unit is the run: requests within a run share a server, a queue and a cache, so they are not "
    "independent. Intervals are Welch's, on logarithms, from the spread between runs.",
    "block": "One run on each side: intervals come from a block bootstrap of its requests. They do not include "
    "variation between runs; three or more runs on each side would show it.",
    "pair": "The unit is a pair of neighbouring runs, in the order A B B A, which cancels drift. Intervals are "
    "Student's, on logarithms, from the spread between pairs; intervals and p allow for every analysis at which the "
    "comparison could have stopped. Verdicts in parentheses do not decide.",
}
MEANS: Final = "From base to candidate; geometric means over each side's runs, arithmetic means for shares"
FAMILY: Final = (
    "p is adjusted for the number of measures (Holm): if nothing changed, at most one comparison in twenty calls any "
    "measure better or worse. Each interval is for its own measure alone."
)


def document(comparison: Comparison, figures: Sequence[Section] = (), inconclusive: Inconclusive = "pass") -> Document:
    """The comparison with the figures given; `inconclusive` says what such a measure is to a gate."""
    names = (f"{side[0].run.model} on {side[0].run.backend}" for side in (comparison.base, comparison.candidate))
    unsure = about_same((change.measure.name, change.why) for change in comparison.changes if change.decides)
    changes: tuple[Block, ...] = (
        changes_table(comparison),
        Notes(unsure),
    )
    return Document(
        title=" against ".join(dict.fromkeys(names)),
        kind="Comparison of runs",
        headline=Headline(comparison.verdict, headline(comparison)),
        warnings=tuple(map(Note, comparison.warnings)),
        blocks=(
            sides(comparison),
            Section("Changes", changes),
            *figures,
            Section("Method", (Prose((UNITS[comparison.unit], FAMILY), "quiet"),)),
        ),
        data=_data(comparison),
        records=tuple(records_of("base", "candidate", comparison)),
        suite="compare",
        cases=tuple(case_of(change, comparison, inconclusive) for change in comparison.changes),
    )


def headline(comparison: Comparison) -> str:
    """What was found, and which measures decided where not all do."""
    deciding = [change.measure.name for change in comparison.changes if change.decides]
    alone = "" if len(deciding) == len(comparison.changes) else f" Decided on: {', '.join(deciding)}."
    return f"{comparison.verdict.capitalize()}: {tally(comparison)}.{alone}"


def tally(comparison: Comparison) -> str:
    """How many measures that decide have each verdict: `4 better, 0 worse, 1 same, 7 open`."""
    called: dict[str, Verdict] = {"better": "better", "worse": "worse", "same": "same", "open": "inconclusive"}
    return ", ".join(f"{len(comparison.of(verdict))} {name}" for name, verdict in called.items())


def changes_table(comparison: Comparison) -> Table:
    """Every change, with how sure it is."""
    return table(COLUMNS, comparison.changes, MEANS, _tone)


def _tone(change: Change) -> Tone:
    return TONES[change.verdict] if change.decides else "quiet"


def _called(change: Change) -> Cell:
    return Cell(change.verdict if change.decides else f"({change.verdict})", tone=_tone(change))


def shown_value(measure: Measure, value: float | None) -> str:
    """A value of a measure, without its unit."""
    return percent(value) if measure.is_share else number(value)


def _moved(change: Change, by: float | None) -> str:
    return moved(by, points=change.measure.is_share)


def _matters_from(change: Change) -> str:
    least = percent(change.threshold)
    return f"{least.removesuffix('%')} pt" if change.measure.is_share else least


COLUMNS: Final[Columns[Change]] = (
    (Column("measure", "left"), lambda each: each.measure.name),
    (Column("base", "decimal"), lambda each: shown_value(each.measure, each.base)),
    (Column("candidate", "decimal"), lambda each: shown_value(each.measure, each.candidate)),
    (Column("change"), lambda each: _moved(each, each.change)),
    (Column("95% interval", drop=3), lambda each: " to ".join(_moved(each, end) for end in each.ci95 or ()) or DASH),
    (Column("matters from", drop=2), _matters_from),
    (Column("p", drop=1), lambda each: DASH if each.p is None else "< 0.001" if each.p < 0.001 else f"{each.p:.3f}"),
    (Column("verdict", "left"), _called),
)


def sides(comparison: Comparison) -> Facts:
    return facts([("Base", side(comparison.base)), ("Candidate", side(comparison.candidate))])


def side(runs: Sequence[Run]) -> str:
    run, server = runs[0].run, runs[0].run.server
    what = f"{run.model} on {run.backend} ({server.name} {server.version or 'of unknown version'})"
    names = [each.name for each in runs]
    named = ", ".join(names) if len(names) <= NAMED_RUNS else f"{names[0]} to {names[-1]}"
    return f"{what}: {count(len(runs), 'run')}, {named}"


def pair_line(number: int, base: Run, candidate: Run, measures: Sequence[str]) -> str:
    """How the measures moved within one pair of runs."""
    parts = []
    for name in measures:
        measure = MEASURES[name]
        first, second = value(measure, base.summary), value(measure, candidate.summary)
        if first is None or second is None or not (measure.is_share or first > 0):
            continue
        by = second - first if measure.is_share else second / first - 1
        parts.append(f"{name} {moved(by, points=measure.is_share)}")
    return f"pair {number:2}   {'  '.join(parts)}"


def interim_line(comparison: Comparison) -> str:
    """What is still open after the pairs so far."""
    shown = (texts(COLUMNS, change) for change in comparison.of("inconclusive"))
    open_ = [f"{name} ({interval})" for name, _, _, _, interval, *_ in shown]
    found = "decided" if is_decided(comparison) else f"open: {', '.join(open_)}"
    return f"after {len(comparison.base)} pairs   {found}"


def _data(comparison: Comparison) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        **pick(comparison, "verdict", "unit"),
        "family_error": round(FAMILY_ERROR, 6),
        "base": [named(run) for run in comparison.base],
        "candidate": [named(run) for run in comparison.candidate],
        "warnings": list(comparison.warnings),
        "changes": changes_of(comparison),
    }


def changes_of(comparison: Comparison) -> list[dict[str, Any]]:
    """Every change with full digits."""
    own = ("base", "candidate", "change", "ci95", "p", "threshold", "verdict", "decides", "why")
    return [
        {"measure": change.measure.name, **pick(change.measure, "unit", "better"), **pick(change, *own)}
        for change in comparison.changes
    ]


def records_of(base: str, candidate: str, comparison: Comparison) -> Iterator[dict[str, Any]]:
    """A flat record of each change, between sides of these names."""
    for change in changes_of(comparison):
        low, high = change.pop("ci95") or (None, None)
        yield {"from": base, "to": candidate, **change, "ci95_low": low, "ci95_high": high}


def named(run: Run) -> dict[str, Any]:
    """A run's name, backend, model, plan and seed."""
    return {"name": run.name, **pick(run.run, "run_id", "backend", "model", "plan_hash", "seed")}


def case_of(change: Change, comparison: Comparison, inconclusive: Inconclusive) -> JUnitCase:
    """A case for CI: worse fails, inconclusive unless it is to is skipped; what does not decide never fails."""
    name, base, candidate, by, interval, least, _, verdict = texts(COLUMNS, change)
    sentence = f"{name} is {verdict}: {base} to {candidate}, {by} ({interval}; what matters is {least} and more)"
    if change in comparison.failing(inconclusive):
        return JUnitCase(name, "failed", sentence, change.verdict, change.why or "")
    return JUnitCase(name, "skipped" if change.verdict in ("worse", "inconclusive") else "passed", sentence)
