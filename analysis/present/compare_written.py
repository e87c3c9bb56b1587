"""A comparison as rows of text, markdown for a pull request, JUnit XML and JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from xml.etree import ElementTree

from analysis.compare.comparison import Change, Comparison, Run
from analysis.present.junit import as_xml
from analysis.present.markdown import plain
from analysis.stats.changes import FAMILY_ERROR, Verdict
from analysis.wording import DASH, count, number, percent

Inconclusive = Literal["fail", "pass"]

SCHEMA: Final = 1
# Of more runs than these a side's first and last are named.
NAMED_RUNS: Final = 8
# From here on a factor is easier to read than a percentage.
MANYFOLD: Final = 9
HEAD: Final = ("measure", "base", "candidate", "change", "95% interval", "matters from", "p", "verdict")
HEADLINES: Final[Mapping[Verdict, str]] = {
    "worse": "Worse: the candidate is slower or dearer.",
    "inconclusive": "Inconclusive: nothing is surely worse, and not everything is surely the same.",
    "better": "Better: something improved and nothing is worse.",
    "same": "Same: no measure changed by as much as matters.",
}
UNITS: Final = {
    "run": "The run is the unit: requests inside a run share a server, a queue and a cache, so they are no independent "
    "observations. Intervals are Welch's, from the spread between runs, of logarithms.",
    "block": "One run on each side: intervals come from a block bootstrap of its requests. What differs from one run "
    "to the next is not in them; three runs and more on each side would show it.",
    "pair": "The pair of neighbouring runs is the unit, in the order A B B A, so that what drifts cancels. Intervals "
    "are Student's, from the spread between pairs, of logarithms; they and p allow for all looks at which it may have "
    "stopped. Verdicts in parentheses do not decide.",
}
FAMILY: Final = (
    "p is adjusted for the number of measures (Holm): where nothing changed, at most one comparison in twenty calls "
    "any measure better or worse. Each interval is of its own measure alone."
)
# Control characters, which XML does not know.
_UNPRINTABLE: Final = {code: None for code in range(32) if chr(code) not in "\t\n\r"} | {0x7F: None}


def fails(comparison: Comparison, inconclusive: Inconclusive) -> bool:
    """Whether a gate is closed to the candidate."""
    return bool(comparison.of("worse") or (inconclusive == "fail" and comparison.of("inconclusive")))


def headline(comparison: Comparison) -> str:
    """The verdict in a sentence."""
    deciding = [change.measure.name for change in comparison.changes if change.decides]
    alone = "" if len(deciding) == len(comparison.changes) else f" Decided on: {', '.join(deciding)}."
    return HEADLINES[comparison.verdict] + alone


def row(change: Change) -> tuple[str, ...]:
    """A change under HEAD."""
    interval = (
        DASH if change.ci95 is None else f"{_signed(change, change.ci95[0])} to {_signed(change, change.ci95[1])}"
    )
    return (
        change.measure.name,
        _value(change, change.base),
        _value(change, change.candidate),
        DASH if change.change is None else _signed(change, change.change),
        interval,
        _points(change, percent(change.threshold)),
        DASH if change.p is None else "< 0.001" if change.p < 0.001 else f"{change.p:.3f}",
        change.verdict if change.decides else f"({change.verdict})",
    )


def _value(change: Change, value: float | None) -> str:
    return percent(value) if change.measure.is_share else number(value)


def _signed(change: Change, value: float) -> str:
    return f"x{number(1 + value)}" if value >= MANYFOLD else _points(change, f"{100 * value:+.1f}", "%")


def _points(change: Change, text: str, unit: str = "") -> str:
    """Differences of percentages are percentage points."""
    return f"{text.removesuffix('%')} pt" if change.measure.is_share else text + unit


def sides(comparison: Comparison) -> list[tuple[str, str]]:
    """(side, what it is)."""
    return [("Base", _side(comparison.base)), ("Candidate", _side(comparison.candidate))]


def _side(runs: Sequence[Run]) -> str:
    run, server = runs[0].run, runs[0].run["server"]
    what = f"{run['model']} on {run['backend']} ({server['name']} {server['version'] or 'of unknown version'})"
    names = [each.name for each in runs]
    named = ", ".join(names) if len(names) <= NAMED_RUNS else f"{names[0]} to {names[-1]}"
    return f"{what}: {count(len(runs), 'run')}, {named}"


def doubts(comparison: Comparison) -> list[tuple[str, str]]:
    """(measures, why they are inconclusive), those with one reason together."""
    names: dict[str, list[str]] = {}
    for change in comparison.changes:
        if change.why and change.decides:
            names.setdefault(change.why, []).append(change.measure.name)
    return [(", ".join(measures), why) for why, measures in names.items()]


def markdown(comparison: Comparison) -> str:
    """A comment for a pull request."""
    rows = [_plain_cells(row(change)) for change in comparison.changes]
    table = [HEAD, ("---", *("---:" for _ in HEAD[2:]), ":---"), *rows]
    return "\n".join(
        [
            f"### {plain(headline(comparison))}",
            "",
            *(f"- {name}: {plain(text)}" for name, text in sides(comparison)),
            *(f"- **Note:** {plain(warning)}" for warning in comparison.warnings),
            "",
            *(f"| {' | '.join(cells)} |" for cells in table),
            "",
            *(f"- {plain(names)}: {plain(why)}" for names, why in doubts(comparison)),
            "",
            f"{UNITS[comparison.unit]} {FAMILY}",
            "",
        ]
    )


def _plain_cells(cells: Sequence[str]) -> tuple[str, ...]:
    *others, verdict = map(plain, cells)
    return (*others, f"**{verdict}**" if verdict in ("worse", "better") else verdict)


def document(comparison: Comparison) -> dict[str, Any]:
    """What `--json` prints: everything with full digits; None is unknown."""
    return {
        "schema": SCHEMA,
        "verdict": comparison.verdict,
        "unit": comparison.unit,
        "family_error": round(FAMILY_ERROR, 6),
        "base": [_named(run) for run in comparison.base],
        "candidate": [_named(run) for run in comparison.candidate],
        "warnings": list(comparison.warnings),
        "changes": [
            {
                "measure": change.measure.name,
                "unit": change.measure.unit,
                "better": change.measure.better,
                "base": change.base,
                "candidate": change.candidate,
                "change": change.change,
                "ci95": None if change.ci95 is None else list(change.ci95),
                "p": change.p,
                "threshold": change.threshold,
                "verdict": change.verdict,
                "decides": change.decides,
                "why": change.why,
            }
            for change in comparison.changes
        ],
    }


def _named(run: Run) -> dict[str, Any]:
    return {"name": run.name, **{key: run.run[key] for key in ("run_id", "backend", "model", "plan_hash", "seed")}}


def junit(comparison: Comparison, inconclusive: Inconclusive) -> bytes:
    """A test case for each measure: worse fails, inconclusive is skipped unless it is to fail.

    A measure that does not decide never fails: it is skipped.
    """
    wanted: list[Verdict] = ["worse", "inconclusive"] if inconclusive == "fail" else ["worse"]
    failing = [change for verdict in wanted for change in comparison.of(verdict)]
    undecided = [
        change for change in comparison.changes if change.verdict in ("worse", "inconclusive") and change not in failing
    ]
    failures, skipped = len(failing), len(undecided)
    totals = {"tests": str(len(comparison.changes)), "failures": str(failures), "skipped": str(skipped), "errors": "0"}
    suites = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(suites, "testsuite", {"name": "bench compare", **totals})
    for change in comparison.changes:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "compare", "name": change.measure.name})
        said = _sentence(change)
        if change in failing:
            ElementTree.SubElement(case, "failure", {"type": change.verdict, "message": said}).text = change.why or said
        elif change in undecided:
            ElementTree.SubElement(case, "skipped", {"message": said})
    about = [f"{name}: {text}" for name, text in sides(comparison)]
    text = "\n".join((*about, *comparison.warnings)).translate(_UNPRINTABLE)
    ElementTree.SubElement(suite, "system-out").text = text
    return as_xml(suites)


def _sentence(change: Change) -> str:
    name, base, candidate, moved, interval, least, _, verdict = row(change)
    return f"{name} is {verdict}: {base} to {candidate}, {moved} ({interval}; what matters is {least} and more)"
