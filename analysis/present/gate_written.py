"""What the gate found as rows of text, markdown for a pull request, JUnit XML and JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from xml.etree import ElementTree

from analysis.compare.gate import Finding, Rounds, failing, undecided
from analysis.present.junit import as_xml
from analysis.present.markdown import plain
from analysis.wording import DASH, number, percent

SCHEMA: Final = 1
HEAD: Final = ("figure", "baseline", "now", "change", "95% interval", "matters from", "verdict")
HASH_DIGITS: Final = 12
# Control characters, which XML does not know.
_UNPRINTABLE: Final = {code: None for code in range(32) if chr(code) not in "\t\n\r"} | {0x7F: None}


@dataclass(frozen=True, slots=True)
class Gate:
    """All that the gate has to say; `confirmed` are the parts that were measured again before anything failed."""

    baseline: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    confirmed: tuple[str, ...]
    rounds: Rounds

    @property
    def verdict(self) -> Literal["failed", "undecided", "passed"]:
        """Failed where anything is worse or different, undecided where some part could not be compared at all."""
        return "failed" if failing(self.findings) else "undecided" if undecided(self.findings) else "passed"


def headline(gate: Gate) -> str:
    """The verdict in a sentence."""
    if gate.verdict == "failed":
        return f"Failed: {', '.join(_short(finding) for finding in failing(gate.findings))}."
    if gate.verdict == "undecided":
        parts = ", ".join(undecided(gate.findings))
        return f"Undecided: other load left nothing to compare of {parts}; run it again on a quieter machine."
    if any(finding.verdict == "not judged" for finding in gate.findings):
        exact = all(finding.verdict == "same" for finding in gate.findings if finding.unit == "ms")
        also = ", and the client is exact" if exact else ""
        return f"Passed: all counts are equal{also}. How fast it is was not judged on this CPU."
    return "Passed: nothing got worse than the baseline, and all counts are equal."


def _short(finding: Finding) -> str:
    return f"{finding.name} {finding.verdict if finding.change is None else _signed(finding.change)}"


def shown(gate: Gate) -> list[Finding]:
    """The findings that a table has: all but the counts that are equal, as nearly all always are."""
    return [finding for finding in gate.findings if finding.limit is not None or finding.verdict != "same"]


def row(finding: Finding) -> tuple[str, ...]:
    """A finding under HEAD."""
    interval = DASH if finding.ci95 is None else " to ".join(map(_signed, finding.ci95))
    return (
        finding.name,
        _value(finding.base),
        _value(finding.now),
        DASH if finding.change is None else _signed(finding.change),
        interval,
        _limit(finding),
        finding.verdict,
    )


def _value(value: float | int | str | None) -> str:
    return value[:HASH_DIGITS] if isinstance(value, str) else number(value)


def _signed(change: float) -> str:
    return f"{100 * change:+.1f}%"


def _limit(finding: Finding) -> str:
    if finding.limit is None:
        return "any"
    return f"{number(finding.limit)} ms" if finding.unit == "ms" else percent(finding.limit)


def doubts(gate: Gate) -> list[tuple[str, str]]:
    """(figures, why they are inconclusive), those with one reason together."""
    names: dict[str, list[str]] = {}
    for finding in gate.findings:
        if finding.why:
            names.setdefault(finding.why, []).append(finding.name)
    return [(", ".join(figures), why) for why, figures in names.items()]


def markdown(gate: Gate) -> str:
    """A comment for a pull request, or the summary of a job."""
    rows = [tuple(map(plain, row(finding))) for finding in shown(gate)]
    table = [HEAD, ("---", *("---:" for _ in HEAD[2:]), ":---"), *rows]
    return "\n".join(
        [
            f"### {plain(headline(gate))}",
            "",
            *(f"- **Note:** {plain(note)}" for note in gate.notes),
            "",
            *(f"| {' | '.join(cells)} |" for cells in table),
            "",
            *(f"- {plain(names)}: {plain(why)}" for names, why in doubts(gate)),
            "",
        ]
    )


def document(gate: Gate) -> dict[str, Any]:
    """What `--json` prints and gate.json keeps: everything with full digits; None is unknown."""
    return {
        "schema": SCHEMA,
        "verdict": gate.verdict,
        "baseline": gate.baseline,
        "notes": list(gate.notes),
        "confirmed": list(gate.confirmed),
        "findings": [asdict(finding) for finding in gate.findings],
        "rounds": listed(gate.rounds),
    }


def listed(rounds: Rounds) -> dict[str, list[Mapping[str, Any]]]:
    """Rounds as JSON has them."""
    return {part: [each._asdict() for each in found] for part, found in rounds.items()}


def junit(gate: Gate) -> bytes:
    """A test case for each figure and count: worse and different fail, inconclusive is skipped."""
    failed = failing(gate.findings)
    skipped = [finding for finding in gate.findings if finding.verdict in ("inconclusive", "not judged")]
    totals = {"tests": len(gate.findings), "failures": len(failed), "skipped": len(skipped), "errors": 0}
    counted = {name: str(total) for name, total in totals.items()}
    suites = ElementTree.Element("testsuites", counted)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "bench gate", **counted})
    for finding in gate.findings:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "gate", "name": finding.name})
        said = _sentence(finding)
        if finding in failed:
            ElementTree.SubElement(case, "failure", {"type": finding.verdict, "message": said}).text = said
        elif finding in skipped:
            ElementTree.SubElement(case, "skipped", {"message": f"{said}: {finding.why}"})
    about = "\n".join((headline(gate), *gate.notes)).translate(_UNPRINTABLE)
    ElementTree.SubElement(suite, "system-out").text = about
    return as_xml(suites)


def _sentence(finding: Finding) -> str:
    name, base, now, moved, interval, limit, verdict = row(finding)
    return f"{name} is {verdict}: {base} to {now} {finding.unit}, {moved} ({interval}; what matters is {limit})"
