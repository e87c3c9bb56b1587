"""What the gate found as a Document: the findings, and a test case for each figure and count."""

from typing import Any, Final

from analysis.compare.gate import Gate, GateResult, failing, listed, undecided
from analysis.present.document import (
    TONES,
    Column,
    Columns,
    Document,
    Headline,
    JUnitCase,
    Note,
    Notes,
    about_same,
    table,
    texts,
)
from analysis.wording import DASH, moved, number, percent
from bench.runs.sections import pick

SCHEMA: Final = 1
HASH_DIGITS: Final = 12


def document(gate: Gate) -> Document:
    return Document(
        title=f"Gate against {gate.baseline}",
        kind="Gate",
        headline=Headline(gate.verdict, headline(gate)),
        warnings=tuple(map(Note, gate.notes)),
        blocks=(
            table(COLUMNS, shown(gate), tone=lambda finding: TONES[finding.verdict]),
            Notes(about_same((finding.name, finding.why) for finding in gate.findings)),
        ),
        data=_data(gate),
        suite="gate",
        cases=tuple(_case(finding, gate) for finding in gate.findings),
    )


def headline(gate: Gate) -> str:
    if gate.verdict == "failed":
        moves = (
            f"{each.name} {each.verdict if each.change is None else moved(each.change)}"
            for each in failing(gate.findings)
        )
        return f"Failed: {', '.join(moves)}."
    if gate.verdict == "undecided":
        parts = ", ".join(undecided(gate.findings))
        return f"Undecided: other load left nothing to compare for {parts}; run it again on a quieter machine."
    if any(finding.verdict == "not judged" for finding in gate.findings):
        exact = all(finding.verdict == "same" for finding in gate.findings if finding.unit == "ms")
        also = ", and the client is exact" if exact else ""
        return f"Passed: all counts are equal{also}. Speed was not judged on this CPU."
    return "Passed: nothing got worse than the baseline, and all counts are equal."


def shown(gate: Gate) -> list[GateResult]:
    """The findings that a table has: all but the counts that are equal, as nearly all always are."""
    return [finding for finding in gate.findings if finding.limit is not None or finding.verdict != "same"]


def _value(value: float | int | str | None) -> str:
    return value[:HASH_DIGITS] if isinstance(value, str) else number(value)


def _limit(finding: GateResult) -> str:
    if finding.limit is None:
        return "any"
    return f"{number(finding.limit)} ms" if finding.unit == "ms" else percent(finding.limit)


COLUMNS: Final[Columns[GateResult]] = (
    (Column("figure", "left"), lambda finding: finding.name),
    (Column("baseline"), lambda finding: _value(finding.base)),
    (Column("now"), lambda finding: _value(finding.now)),
    (Column("change"), lambda finding: moved(finding.change)),
    (Column("95% interval", drop=2), lambda finding: " to ".join(map(moved, finding.ci95 or ())) or DASH),
    (Column("matters from", drop=1), _limit),
    (Column("verdict", "left"), lambda finding: finding.verdict),
)


def _data(gate: Gate) -> dict[str, Any]:
    own = pick(gate, "verdict", "baseline", "notes", "confirmed", "findings")
    return {"schema": SCHEMA, **own, "rounds": listed(gate.rounds)}


def _case(finding: GateResult, gate: Gate) -> JUnitCase:
    """Worse and different fail, inconclusive and not judged are skipped."""
    name, base, now, by, interval, limit, verdict = texts(COLUMNS, finding)
    sentence = f"{name} is {verdict}: {base} to {now} {finding.unit}, {by} ({interval}; what matters is {limit})"
    if finding in failing(gate.findings):
        return JUnitCase(name, "failed", sentence, verdict)
    if finding.verdict in ("inconclusive", "not judged"):
        return JUnitCase(name, "skipped", f"{sentence}: {finding.why}")
    return JUnitCase(name, "passed")
