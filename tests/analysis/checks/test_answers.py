from typing import Any

import pytest

from tests.summaries import summarize


@pytest.mark.parametrize(
    ("failed", "slo", "status", "codes"),
    [
        (150, [], "invalid", {"mostly_failed", "failed_calls"}),
        (150, ["error_share<80%"], "suspect", {"failed_calls", "few_samples"}),
        (150, ["error_share<50%"], "invalid", {"mostly_failed", "failed_calls"}),
        (90, [], "suspect", {"failed_calls"}),
        (200, [], "invalid", {"nothing_succeeded", "failed_calls"}),
    ],
)
def test_a_run_most_of_whose_calls_failed_is_no_measurement_unless_an_objective_allows_it(
    synthetic_run: Any, doubts: Any, failed: int, slo: list[str], status: str, codes: set[str]
) -> None:
    found = doubts(*synthetic_run(requests=200, failed=range(failed), slo=slo))
    assert codes <= set(found)
    assert ("mostly_failed" in found) == ("mostly_failed" in codes)
    assert {reason["status"] for reason in found.values()} == {status}


@pytest.mark.parametrize(
    ("backend", "share", "finish", "codes"),
    [
        ("openai", 0.6, "stop", []),
        ("openai", 0.2, "stop", ["answers_ended_early"]),
        ("claude", 0.2, "end_turn", ["answers_ended_early"]),
        ("vllm", 0.2, "stop", ["answers_too_short"]),
    ],
)
def test_answers_that_end_early_are_a_doubt_by_what_the_backend_can_ask_for(
    synthetic_run: Any, doubts: Any, filled: Any, backend: str, share: float, finish: str, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, tokens=40, backend=backend)
    found = doubts(run, filled(filled(table, "output_tokens", round(40 * share)), "finish", finish))
    assert list(found) == codes
    assert all(finish in reason["message"] for code, reason in found.items() if code == "answers_ended_early")


@pytest.mark.parametrize(
    ("exact", "prompt_tokens", "code", "status"),
    [
        (True, 100, None, None),
        (True, 130, None, None),  # a template
        (True, 99, None, None),
        (True, 95, "prompts_cut", "suspect"),
        (True, 34, "prompts_cut", "invalid"),
        (True, 200, "prompts_longer", "suspect"),
        (False, 60, None, None),
        (False, 250, None, None),
        (False, 30, "prompts_cut", "invalid"),
    ],
)
def test_prompts_of_another_length_than_planned_are_a_doubt(
    synthetic_run: Any, doubts: Any, filled: Any, exact: bool, prompt_tokens: int, code: str | None, status: str | None
) -> None:
    run, table, _ = synthetic_run(requests=200, prompt_tokens=100)
    run["tokenizer"] |= {"exact": exact}
    found = doubts(run, filled(table, "prompt_tokens", prompt_tokens))
    assert [(name, reason["status"]) for name, reason in found.items()] == ([(code, status)] if code else [])


def test_three_calls_with_one_text_of_two_hundred_are_chance(synthetic_run: Any, doubts: Any, filled: Any) -> None:
    run, table, _ = synthetic_run(requests=200)
    assert doubts(run, filled(table, "text_sha", "same", range(3))) == {}
    assert list(doubts(run, filled(table, "text_sha", "same", range(90)))) == ["same_answers"]


@pytest.mark.parametrize(("code", "known"), [("output_below_arrivals", False), ("output_overruled", True)])
def test_counts_that_contradict_are_told_with_how_many_calls_and_take_what_is_built_on_them_with_them(
    synthetic_run: Any, filled: Any, code: str, known: bool
) -> None:
    run, table, _ = synthetic_run(requests=200)
    run["pricing"] = {"usd_per_hour": "1"}
    summary = summarize(run, filled(table, "count_contradictions", code, range(50)), None)
    (reason,) = summary["verdict"]["reasons"]
    assert (reason["code"], reason["value"]) == ("counts_contradict", 0.25)
    assert reason["message"].startswith("in 50 of 200 requests usage ")
    assert (summary["throughput"]["output_tokens_per_s"] is not None) == known
    assert (summary["cost"]["usd_per_million_output_tokens"] is not None) == known
    assert summary["throughput"]["requests_per_s"] is not None
    assert summary["cost"]["usd_per_request"] is not None


def test_answers_in_one_piece_are_a_doubt_unless_they_were_asked_for(synthetic_run: Any, filled: Any) -> None:
    run, table, _ = synthetic_run(requests=200)
    for name in ("first_token_ns", "first_text_ns", "last_token_ns"):
        table = filled(table, name, None)
    tokens = table["output_tokens"]
    for name in ("arrivals_ns", "arrival_tokens"):
        table = filled(table, name, [])
    table = table.set_column(table.column_names.index("early_tokens"), "early_tokens", tokens.cast("int64"))
    found = summarize(run, table, None)
    assert [reason["code"] for reason in found["verdict"]["reasons"]] == ["not_streamed"]
    run["options"] = {"stream": "off"}
    found = summarize(run, table, None)
    assert found["verdict"]["reasons"] == []
    assert found["metrics"].get("ttft_ms", {}).get("p50") is None
    assert found["throughput"]["output_tokens_per_s"] > 0
    assert found["metrics"]["service_ms"]["count"] == 200
