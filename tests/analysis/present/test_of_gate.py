from dataclasses import replace
from xml.etree import ElementTree

import pytest

from analysis.compare.gate import Gate, GateResult
from analysis.present import to_junit, to_markdown
from analysis.present.document import Notes, texts
from analysis.present.of_gate import COLUMNS, document, headline, shown
from analysis.wording import DASH
from tests.golden import same_as_before

WORSE = GateResult("llamacpp:cpu", "passes per output token", 2.0, 3.0, "worse", 0.5, (0.4, 0.61), 0.3, 0.0001)
SAME = replace(WORSE, name="client:read_cpu", now=2.02, change=0.01, ci95=(-0.05, 0.07), p=0.8, verdict="same")
UNKNOWN = GateResult("llamacpp:tpot", "passes", 2.4, None, "inconclusive", limit=0.35, why="other load")
HASH = GateResult("llamacpp:plan_hash", "", "a" * 64, "b" * 64, "different")
UNJUDGED = replace(UNKNOWN, name="client:read_cpu", verdict="not judged", why="another CPU")
EXACT = GateResult("client:gap_error_ms", "ms", 0.013, 0.014, "same", limit=2.0)
ERROR = GateResult("client:gap_error_ms", "ms", 0.013, 3.5, "worse", limit=2.0)


def test_it_reads_as_before() -> None:
    found = gate(WORSE, SAME, UNKNOWN, HASH, UNJUDGED, EXACT, notes=("another <b>CPU</b>",))
    same_as_before("gate", document(found))


def gate(*findings: GateResult, notes: tuple[str, ...] = ()) -> Gate:
    return Gate("results/baselines/tiny", findings, notes, (), {})


def test_a_row_says_what_was_what_is_and_what_matters() -> None:
    assert texts(COLUMNS, WORSE) == ("llamacpp:cpu", "2", "3", "+50.0%", "+40.0% to +61.0%", "30%", "worse")
    of_hash = ("llamacpp:plan_hash", "aaaaaaaaaaaa", "bbbbbbbbbbbb", DASH, DASH, "any", "different")
    assert texts(COLUMNS, HASH) == of_hash
    assert texts(COLUMNS, ERROR)[-2:] == ("2 ms", "worse")
    assert texts(COLUMNS, UNKNOWN)[2:5] == (DASH, DASH, DASH)


@pytest.mark.parametrize(
    ("findings", "verdict", "says"),
    [
        ((SAME, WORSE, HASH), "failed", "Failed: llamacpp:cpu +50.0%, llamacpp:plan_hash different."),
        ((SAME, UNKNOWN), "undecided", "Undecided: other load left nothing to compare for llamacpp;"),
        ((SAME,), "passed", "Passed: "),
        ((UNJUDGED, EXACT), "passed", "Passed: all counts are equal, and the client is exact. Speed was not"),
        ((UNJUDGED, replace(EXACT, verdict="inconclusive")), "passed", "Passed: all counts are equal. Speed"),
        ((UNJUDGED, HASH), "failed", "Failed: llamacpp:plan_hash different."),
    ],
)
def test_the_headline_names_what_fails(findings: tuple[GateResult, ...], verdict: str, says: str) -> None:
    assert gate(*findings).verdict == verdict
    assert headline(gate(*findings)).startswith(says)


def test_a_table_leaves_out_the_counts_that_are_equal() -> None:
    equal = replace(HASH, name="llamacpp:failures", base=0, now=0, verdict="same")
    assert shown(gate(SAME, equal, HASH)) == [SAME, HASH]


def test_figures_with_one_doubt_are_named_together() -> None:
    other = replace(UNKNOWN, name="llamacpp:ttft")
    (notes,) = (block for block in document(gate(UNKNOWN, other, SAME)).blocks if isinstance(block, Notes))
    assert [(note.about, note.text) for note in notes.notes] == [("llamacpp:tpot, llamacpp:ttft", "other load")]


def test_markdown_has_a_row_for_each_finding_and_makes_text_from_outside_literal() -> None:
    text = to_markdown.render(document(gate(WORSE, SAME, notes=("another <b>CPU</b>",))))
    assert "\n**Failed: llamacpp:cpu +50.0%.**\n" in text
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == 4
    assert "<b>" not in text.replace("\\<b", "")


def test_junit_fails_what_fails_and_skips_what_is_inconclusive() -> None:
    suites = ElementTree.fromstring(to_junit.render(document(gate(WORSE, SAME, UNKNOWN, HASH, notes=("a \x00 byte",)))))
    cases = {case.get("name"): [child.tag for child in case] for case in suites.iter("testcase")}
    assert cases == {
        "llamacpp:cpu": ["failure"],
        "client:read_cpu": [],
        "llamacpp:tpot": ["skipped"],
        "llamacpp:plan_hash": ["failure"],
    }
    assert (suites.get("tests"), suites.get("failures"), suites.get("skipped")) == ("4", "2", "1")


def test_json_has_everything_with_full_digits() -> None:
    found = document(gate(WORSE, HASH)).data
    assert found["verdict"] == "failed"
    assert found["findings"][0]["ci95"] == [0.4, 0.61]
    assert found["findings"][1]["now"] == "b" * 64
