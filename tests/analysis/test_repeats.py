from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.compare.comparison import Run, compare
from analysis.compare.measures import thresholds
from analysis.present import to_markdown
from analysis.present.of_repeats import Line, document, how_many, lines, table_row
from analysis.repeats import STATISTICS, RepeatsSummary, over_runs, summarize
from analysis.run.sections import RunCost
from analysis.run.summary import RunVerdict, Status, WrittenFinding
from bench.runs.sections import dump, load
from tests.conftest import build_run
from tests.summaries import typed

FIVE = (10.0, 11.0, 9.0, 10.5, 9.5)


def with_(run: Run, **changes: Any) -> Run:
    """The run with another section of its summary."""
    return run._replace(summary=replace(run.summary, **changes))


@pytest.fixture(scope="module")
def repeats() -> Any:
    """`repeats(ttft_ms=…, **options) -> runs`, one for each time to the first token, each of them made once."""
    made = dict[str, Any]()

    def build(ttft_ms: tuple[float, ...] = FIVE, cut_short: str = "", **options: Any) -> list[Run]:
        runs = []
        for number, value in enumerate(ttft_ms, 1):
            name = f"{number:02}"
            given = {"requests": 120, "jitter": 0, "ttft_ms": value, "interrupted": name == cut_short, **options}
            if (asked := repr(given)) not in made:
                run, requests, _ = build_run(**given)
                made[asked] = typed(run, requests, None)
            runs.append(Run(name, *made[asked]))
        return runs

    return build


# --- one statistic ----------------------------------------------------------------------------------------------


def test_the_mean_is_geometric_and_its_interval_students_of_the_logarithms() -> None:
    found = over_runs([8.0, 10.0, 12.5])
    # Logarithms 0.223 apart: t(0.975, 2) = 4.3027, standard error 0.2231 / sqrt(3).
    assert found.mean == pytest.approx(10.0)
    assert found.ci95 == pytest.approx((10 * np.exp(-0.55431), 10 * np.exp(0.55431)), rel=1e-4)
    assert found.cv == pytest.approx(np.std([8.0, 10.0, 12.5], ddof=1) / 10.1666667)


def test_what_has_no_logarithm_has_an_arithmetic_mean() -> None:
    found = over_runs([0.0, 1.0, 2.0])
    assert found.mean == pytest.approx(1.0)
    assert found.ci95 == pytest.approx((1 - 4.3027 / np.sqrt(3), 1 + 4.3027 / np.sqrt(3)), rel=1e-4)
    assert over_runs([0.0, 0.0, 0.0]) == (0.0, (0.0, 0.0), None)


def test_what_one_run_does_not_know_is_unknown_and_two_runs_have_no_interval() -> None:
    assert over_runs([10.0, None, 12.0]) == (None, (None, None), None)
    assert over_runs([]) == (None, (None, None), None)
    two = over_runs([8.0, 12.5])
    assert two.mean == pytest.approx(10.0)
    assert two.ci95 == (None, None)
    assert over_runs([10.0])[1:] == ((None, None), None)


def test_the_interval_holds_the_true_value_in_95_of_100_series_of_repeats() -> None:
    rng = np.random.default_rng(5)
    found = [over_runs((100 * np.exp(0.05 * rng.normal(size=5))).tolist()).ci95 for _ in range(1000)]
    held = sum(low <= 100 <= high for low, high in found if low is not None and high is not None)
    assert 0.93 <= held / 1000 <= 0.97


# --- all of them ------------------------------------------------------------------------------------------------


def test_the_document_has_the_shape_of_a_summary(repeats: Any) -> None:
    runs = repeats()
    found, one = summarize(runs, 5, keep_server=True), runs[0].summary
    assert (found.asked, found.keep_server, found.left_out) == (5, True, ())
    assert found.runs == ("01", "02", "03", "04", "05")
    assert (found.model, found.scenario, found.plan_hash) == ("tiny", "chat", one.plan_hash)
    assert found.metrics.keys() == one.metrics.keys()
    ttft = found.metrics["ttft_ms"]
    low, high = ttft.ci95["p99"]
    assert ttft.count == 600
    assert ttft.p50 == pytest.approx(np.exp(np.mean(np.log(FIVE))))
    assert low is not None and ttft.p99 is not None and high is not None and low < ttft.p99 < high
    assert ttft.cv["p50"] == pytest.approx(np.std(FIVE, ddof=1) / 10)
    assert found.throughput.requests_per_s == pytest.approx(one.throughput.requests_per_s, rel=0.02)
    assert found.throughput.goodput_rps is None
    assert found.cost is None
    assert dump(found.requests).items() <= (dump(one.requests) | {"planned": 600, "succeeded": 600}).items()
    assert dump(found.verdict) == {"status": "valid", "reasons": []}
    assert load(RepeatsSummary, dump(found), "repeats.json") == found


def test_the_ratio_of_two_means_is_the_change_that_compare_reports(repeats: Any) -> None:
    base, candidate = repeats(), repeats(tuple(1.3 * value**1.1 for value in FIVE))
    changes = {change.measure.name: change for change in compare(base, candidate, thresholds([])).changes}
    means = [summarize(runs, 5, keep_server=False).metrics["ttft_ms"].p50 for runs in (base, candidate)]
    assert (means[1] or 0) / (means[0] or 1) - 1 == pytest.approx(changes["ttft_ms:p50"].change)


def test_a_cost_that_every_run_knows_has_an_interval_too(repeats: Any) -> None:
    runs = repeats()
    for i, usd in enumerate((0.010, 0.012, 0.011, 0.010, 0.012)):
        runs[i] = with_(runs[i], cost=RunCost("api", usd_per_request=usd))
    cost = summarize(runs, 5, keep_server=False).cost
    assert cost is not None and cost.usd_per_request is not None
    low, high = cost.ci95["usd_per_request"]
    assert low is not None and high is not None and low < cost.usd_per_request < high
    assert cost.usd_per_good_request is None
    runs[2] = with_(runs[2], cost=None)
    assert summarize(runs, 5, keep_server=False).cost is None


def test_a_run_that_was_cut_short_is_left_out_of_the_means_and_told_of(repeats: Any) -> None:
    runs = repeats((10.0, 10.1, 9.9, 900.0), cut_short="04")
    found = summarize(runs, 5, keep_server=False)
    assert (found.runs, found.left_out) == (("01", "02", "03"), ("04",))
    assert found.metrics["ttft_ms"].p50 == pytest.approx(10.0, rel=0.01)
    assert how_many(found) == "3 of 5 runs, without 04, cut short; 360 of 360 requests succeeded"
    reasons = {reason.code: reason for reason in found.verdict.reasons}
    assert (reasons["repeats_cut_short"].value, reasons["repeats_cut_short"].limit) == (3, 5)
    assert reasons["interrupted"].message.startswith("04: ")


def test_when_no_run_came_to_its_end_nothing_is_known(repeats: Any) -> None:
    found = summarize(repeats((10.0,), cut_short="01"), 3, keep_server=False)
    assert dump(found.metrics["ttft_ms"]) == {
        "count": 0,
        **dict.fromkeys(("mean", "p50", "p90", "p95", "p99")),
        "ci95": {key: [None, None] for key in ("mean", "p50", "p90", "p95", "p99")},
        "cv": dict.fromkeys(("mean", "p50", "p90", "p95", "p99")),
    }
    assert lines(found) == []


def test_the_verdict_is_the_worst_of_the_runs_with_each_reason_said_once(repeats: Any) -> None:
    runs = repeats()

    def judged(number: int, status: Status, *codes: str) -> None:
        reasons = tuple(WrittenFinding(code, f"{code} in {number}", number, 0) for code in codes)
        runs[number - 1] = with_(runs[number - 1], verdict=RunVerdict(status, reasons))

    for number in range(1, 6):
        judged(number, "suspect", "few_samples")
    judged(2, "suspect", "few_samples", "late_sends")
    judged(4, "invalid", "few_samples", "token_order")
    found = summarize(runs, 5, keep_server=False).verdict
    assert found.status == "invalid"
    assert [(reason.code, reason.message, reason.value) for reason in found.reasons] == [
        ("few_samples", "all 5 runs: few_samples in 4", 4),
        ("token_order", "04: token_order in 4", 4),
        ("late_sends", "02: late_sends in 2", 2),
    ]


# --- in words ---------------------------------------------------------------------------------------------------


def texts(line: Line) -> tuple[str, ...]:
    """A line as a terminal has it."""
    return tuple(cell.terminal or cell.text for cell in table_row(line).cells)


def test_a_row_has_each_mean_with_half_of_its_interval_and_the_spread(repeats: Any) -> None:
    found = summarize(repeats(slo=["ttft_ms<9.8"]), 5, keep_server=False)
    rows = {line.name: texts(line) for line in lines(found)}
    assert rows["ttft_ms"] == ("ttft_ms", *["9.97 ±0.98"] * len(STATISTICS), "7.9%")
    assert rows["slo_attainment"] == ("slo_attainment", "0.4 ±0.68", *[""] * (len(STATISTICS) - 1), "136.9%")
    assert list(rows)[-5:] == [
        "requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "goodput_rps", "slo_attainment",
    ]  # fmt: skip
    assert rows["prompt_tokens"][-1] == "0%"
    assert texts(lines(summarize(repeats((8.0, 12.5)), 2, keep_server=False))[0])[1:3] == ("10.0", "10.0")


def test_markdown_has_verdict_reasons_and_table_with_what_is_from_outside_made_literal(repeats: Any) -> None:
    text = to_markdown.render(document(summarize(repeats((10.0,) * 4 + (20.0,), model="<b>"), 5, keep_server=False)))
    assert text.startswith(
        "### \\<b\\> on llamacpp, scenario chat, 5 runs\n\n**Suspect: use these numbers with care.**"
    )
    assert "\n- `repeats_differ`: ttft\\_ms:p50 of 05 is 2 times" in text
    assert "\n| Time to first token (ttft), ms | 11.5 (" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {len(STATISTICS) + 3}
