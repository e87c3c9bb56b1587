"""What a comparison looks like on a terminal, on a pull request, on a page, to a CI server and to a program."""

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from analysis.compare.comparison import Comparison, Run, compare
from analysis.compare.measures import thresholds
from analysis.present import to_junit, to_markdown
from analysis.present.document import texts
from analysis.present.of_comparison import COLUMNS, document, sides
from tests.golden import same_as_before

Runs = Callable[..., tuple[Run, ...]]
EVIL = "<script>|`x`\x07"


@pytest.fixture
def mixed(runs: Runs, summary: Callable[..., dict[str, Any]]) -> Comparison:
    """The median ttft is worse, its p99 inconclusive, the rest the same."""
    sides = []
    for name, factor in (("a", 1.0), ("b", 1.2)):
        found = [summary(metrics={"ttft_ms": {"p50": 100 * factor * x, "p99": 300 * y}})
                 for x, y in ((0.99, 0.5), (1.0, 1.0), (1.01, 2.0))]  # fmt: skip
        sides.append(runs(name, found, model=EVIL))
    return compare(sides[0], sides[1], thresholds([]), warnings=("beware of <b>",))


def test_it_reads_as_before(mixed: Comparison) -> None:
    same_as_before("comparison", document(mixed))


def test_a_gate_fails_on_worse_and_on_inconclusive_where_asked_to(
    mixed: Comparison, runs: Runs, summary: Callable[..., dict[str, Any]]
) -> None:
    assert mixed.failing("pass")
    noisy = [summary(requests_per_s=rate) for rate in (2.0, 4.0, 8.0)]
    unsure = compare(runs("a", noisy), runs("b", noisy), thresholds([]))
    assert unsure.verdict == "inconclusive"
    assert (bool(unsure.failing("pass")), bool(unsure.failing("fail"))) == (False, True)


def test_a_row_says_from_what_to_what_how_far_and_how_sure(mixed: Comparison) -> None:
    name, base, candidate, change, interval, least, p, verdict = texts(COLUMNS, mixed.changes[0])
    assert (name, base, candidate, change, least, verdict) == ("ttft_ms:p50", "100", "120", "+20.0%", "5%", "worse")
    assert interval == "+17.3% to +22.8%"
    assert p == "< 0.001"
    share = next(change for change in mixed.changes if change.measure.is_share)
    assert texts(COLUMNS, share)[1:6] == ("0%", "0%", "+0.0 pt", "-0.1 pt to +0.1 pt", "1 pt")


def test_of_many_runs_the_first_and_the_last_are_named(runs: Runs, summary: Callable[..., dict[str, Any]]) -> None:
    few, many = ([summary()] * n for n in (3, 12))
    found = compare(runs("a", few), runs("b", many), thresholds([]))
    base, candidate = sides(found).facts
    assert base.text.endswith("3 runs, a0, a1, a2")
    assert candidate.text.endswith("12 runs, b0 to b11")


def test_the_markdown_is_a_table_in_which_text_from_outside_stays_text(mixed: Comparison) -> None:
    text = to_markdown.render(document(mixed))
    assert "| **worse** |" in text
    assert "<script>" not in text.replace("\\<script", "")
    assert "<b>" not in text.replace("\\<b", "")
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| ")}
    assert widths == {9}


def test_junit_has_a_case_for_each_measure_that_fails_when_worse(mixed: Comparison) -> None:
    suite = ElementTree.fromstring(to_junit.render(document(mixed)))[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(len(mixed.changes)), "1", "1")
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert {name: tags for name, tags in cases.items() if tags} == {
        "ttft_ms:p50": ["failure"], "ttft_ms:p99": ["skipped"],
    }  # fmt: skip
    strict = ElementTree.fromstring(to_junit.render(document(mixed, inconclusive="fail")))[0]
    assert (strict.get("failures"), strict.get("skipped")) == ("2", "0")
    assert len(list(strict.iter("failure"))) == 2


def test_the_document_holds_every_change_with_full_digits_and_no_nan(mixed: Comparison) -> None:
    found = json.loads(json.dumps(document(mixed).data, allow_nan=False))
    assert (found["verdict"], found["unit"], found["family_error"]) == ("worse", "run", 0.05)
    assert [row["measure"] for row in found["changes"]] == [change.measure.name for change in mixed.changes]
    assert found["changes"][0]["change"] == pytest.approx(0.2)
    assert [run["name"] for run in found["candidate"]] == ["b0", "b1", "b2"]
