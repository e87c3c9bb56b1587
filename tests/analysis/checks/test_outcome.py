import json
from typing import Any

import pytest

from analysis.checks.identities import IDENTITIES
from analysis.checks.outcome import REMEDIES


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"requests": 0}, "invalid", "nothing_succeeded"),
        ({"requests": 99}, "suspect", "few_samples"),
        ({"slo": ["ttft_ms:p99.9<500"]}, "suspect", "undecided_objective"),
        ({"interrupted": True}, "suspect", "interrupted"),
    ],
)
def test_each_doubt_by_itself(synthetic_run: Any, doubts: Any, options: dict[str, Any], status: str, code: str) -> None:
    found = doubts(*synthetic_run(**options))
    assert list(found) == [code]
    assert found[code]["status"] == status


@pytest.mark.parametrize(("inconclusive", "said"), [(None, []), ("pass", []), ("fail", ["undecided_objective"])])
def test_an_objective_that_fails_a_run_though_it_was_met_is_told_with_how_many_requests_decide_it(
    synthetic_run: Any, doubts: Any, inconclusive: str | None, said: list[str]
) -> None:
    run, table, telemetry = synthetic_run(requests=200, slo=["error_share<1%"])
    found = doubts(run | {"inconclusive": inconclusive}, table, telemetry)
    assert list(found) == said
    assert all("99 more requests would decide it: --requests 299" in each["message"] for each in found.values())


def test_calls_that_failed_are_told_in_the_servers_words_with_what_to_do(
    synthetic_run: Any, doubts: Any, filled: Any
) -> None:
    run, table, telemetry = synthetic_run(requests=200, failed=range(30))
    table = filled(filled(table, "error", "http_402", range(30)), "error_message", "no credit left", range(30))
    found = doubts(run, table, telemetry)
    assert list(found) == ["failed_calls"]
    assert found["failed_calls"]["value"] == 0.15
    message = found["failed_calls"]["message"]
    assert "30 of 200 requests failed with http_402 (no credit left): the account has no credit" in message


def test_a_failure_in_a_hundred_calls_is_no_doubt(synthetic_run: Any, doubts: Any) -> None:
    assert doubts(*synthetic_run(requests=300, failed=range(3))) == {}


def test_a_run_that_hit_its_rate_limit_names_the_limit(synthetic_run: Any, doubts: Any, filled: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, failed=[7])
    table = filled(table, "error", "http_429", [7])
    limits = {"requests-limit": "50", "requests-remaining": "9", "output-tokens-limit": "8000",
              "output-tokens-remaining": "0", "retry-after": "3"}  # fmt: skip
    table = filled(table, "rate_limits", json.dumps(limits), [6, 7])
    found = doubts(run, table, telemetry)
    assert list(found) == ["rate_limited"]
    assert "refused 1 request (output-tokens: 0 of 8000 were left)" in found["rate_limited"]["message"]


def test_calls_kept_back_by_the_budget_are_a_doubt_that_names_the_limit(
    synthetic_run: Any, doubts: Any, filled: Any
) -> None:
    run, table, telemetry = synthetic_run(requests=200, dropped=range(150, 200))
    run["spending"] = {
        "cap_usd": "0.25",
        "spent_usd": "0.24",
        "assumed_usd": "0",
        "left_usd": "0.01",
        "dearer_usd": "0",
    }
    found = doubts(run, filled(table, "error", "budget", range(150, 200)), telemetry)
    assert list(found) == ["out_of_budget"]
    assert found["out_of_budget"]["value"] == 50
    assert "under --max-usd ($0.24 of $0.25 spent): raise it" in found["out_of_budget"]["message"]


def test_answers_dearer_than_their_worst_case_are_a_doubt_with_both_sums(synthetic_run: Any, doubts: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200)
    run["spending"] = {
        "cap_usd": "0.02",
        "spent_usd": "0.05",
        "assumed_usd": "0",
        "left_usd": "-0.03",
        "dearer_usd": "0.03",
    }
    found = doubts(run, table, telemetry)
    assert list(found) == ["dearer_than_worst"]
    assert "cost $0.0300 more than their worst case" in found["dearer_than_worst"]["message"]
    assert "($0.0500 of $0.0200 spent)" in found["dearer_than_worst"]["message"]


@pytest.mark.parametrize(("seat_s", "codes"), [(0.2, []), (12.0, ["backed_off"])])
def test_slots_that_waited_after_refusals_are_a_doubt(
    synthetic_run: Any, doubts: Any, seat_s: float, codes: list[str]
) -> None:
    run, table, telemetry = synthetic_run(requests=200, concurrency=4)
    run["clients"][0] |= {"backoff": {"waits": 3, "seat_s": seat_s}}
    found = doubts(run, table, telemetry)
    assert list(found) == codes
    for reason in found.values():
        assert "after 3 refusals, so fewer than 4 requests were in flight" in reason["message"]


def test_an_exact_identity_that_fails_makes_a_run_invalid_and_any_other_suspect(
    synthetic_run: Any, doubts: Any
) -> None:
    run, table, telemetry = synthetic_run(requests=200)
    assert doubts(run, table.slice(1, 150), telemetry)["conservation"]["status"] == "invalid"
    doubled = telemetry.set_column(3, "value", [[2 * value for value in telemetry["value"].to_pylist()]])
    found = doubts(run, table, doubled)
    assert list(found) == ["server_tokens"]
    assert found["server_tokens"]["status"] == "suspect"


def test_every_identity_has_a_remedy() -> None:
    assert REMEDIES.keys() == {identity.__name__ for identity in IDENTITIES}


def test_a_reason_says_what_was_seen_against_which_limit_and_which_flag_helps(synthetic_run: Any, doubts: Any) -> None:
    (reason,) = doubts(*synthetic_run(requests=42)).values()
    assert (reason["value"], reason["limit"]) == (42, 100)
    assert "--requests" in reason["message"]
