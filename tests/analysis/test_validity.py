import json
from typing import Any

import pyarrow as pa
import pytest

from analysis.summary import summarize
from analysis.validity import CHECKS


def verdict(run: Any, table: Any, telemetry: Any) -> Any:
    judged = summarize(run, table, telemetry)["verdict"]
    return judged["status"], [reason["code"] for reason in judged["reasons"]]


def test_a_sound_run_is_valid(synthetic_run: Any) -> None:
    assert verdict(*synthetic_run(requests=200)) == ("valid", [])


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"requests": 0}, "invalid", "nothing_succeeded"),
        ({"requests": 99}, "suspect", "few_samples"),
        ({"slo": ["ttft_ms:p99.9<500"]}, "suspect", "undecided_objective"),
        ({"interrupted": True}, "suspect", "interrupted"),
        ({"stamps": "user"}, "suspect", "user_stamps"),
    ],
)
def test_each_doubt_by_itself(synthetic_run: Any, options: dict[str, Any], status: str, code: str) -> None:
    assert verdict(*synthetic_run(**options)) == (status, [code])


def only_reason(run: Any, table: Any, telemetry: Any) -> Any:
    (reason,) = summarize(run, table, telemetry)["verdict"]["reasons"]
    return reason


def filled(table: pa.Table, name: str, value: Any, where: Any = None) -> pa.Table:
    """The table with a column's values replaced, all or those in the rows given."""
    at = table.schema.get_field_index(name)
    old = table[name].to_pylist()
    values = [value if where is None or row in where else old[row] for row in range(table.num_rows)]
    return table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def test_calls_that_failed_are_told_in_the_servers_words_with_what_to_do(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, failed=range(30))
    table = filled(filled(table, "error", "http_402", range(30)), "error_message", "no credit left", range(30))
    reason = only_reason(run, table, telemetry)
    assert (reason["code"], reason["value"]) == ("failed_calls", 0.15)
    assert "30 of 200 calls failed with http_402 (no credit left): the account has no credit" in reason["message"]


def test_a_failure_in_a_hundred_calls_is_no_doubt(synthetic_run: Any) -> None:
    assert verdict(*synthetic_run(requests=300, failed=range(3))) == ("valid", [])


def test_a_run_that_hit_its_rate_limit_names_the_limit(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, failed=[7])
    table = filled(table, "error", "http_429", [7])
    limits = {"requests-limit": "50", "requests-remaining": "9", "output-tokens-limit": "8000",
              "output-tokens-remaining": "0", "retry-after": "3"}  # fmt: skip
    table = filled(table, "rate_limits", json.dumps(limits), [6, 7])
    reason = only_reason(run, table, telemetry)
    assert reason["code"] == "rate_limited"
    assert "refused 1 calls (output-tokens: 0 of 8000 were left)" in reason["message"]


def test_calls_kept_back_by_the_budget_are_a_doubt_that_names_the_limit(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, dropped=range(150, 200))
    run["pricing"] = {"max_usd": "0.25"}
    reason = only_reason(run, filled(table, "error", "budget", range(150, 200)), telemetry)
    assert (reason["code"], reason["value"]) == ("out_of_budget", 50)
    assert "$0.25: raise --max-usd" in reason["message"]


@pytest.mark.parametrize(
    ("meant", "cached_tokens", "codes"),
    [
        ("cold", 0, []),
        ("cold", 11, []),  # the template's ten, and rounding
        ("cold", 60, ["cache_not_cold"]),
        ("warm", 60, []),
        ("warm", 11, ["cache_not_warm"]),
        (None, 60, []),
    ],
)
def test_a_cache_that_is_not_as_meant_is_said(
    synthetic_run: Any, meant: str | None, cached_tokens: int, codes: list[str]
) -> None:
    run, table, telemetry = synthetic_run(requests=200, prompt_tokens=100)
    run |= {"cache": meant, "tokenizer": run["tokenizer"] | {"overhead_tokens": 10}}
    assert verdict(run, filled(table, "cached_tokens", cached_tokens), telemetry)[1] == codes


def test_a_prefix_that_the_scenario_shares_may_come_from_a_cold_cache(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, prompt_tokens=100)
    run |= {"cache": "cold", "scenario": run["scenario"] | {"shared_prefix_tokens": 60}}
    assert verdict(run, filled(table, "cached_tokens", 60), telemetry) == ("valid", [])


def test_an_exact_identity_that_fails_makes_a_run_invalid_and_any_other_suspect(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200)
    assert verdict(run, table.slice(1, 150), telemetry)[0] == "invalid"
    doubled = telemetry.set_column(3, "value", [[2 * value for value in telemetry["value"].to_pylist()]])
    assert verdict(run, table, doubled) == ("suspect", ["server_tokens"])


def test_the_worst_status_wins_and_comes_first(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, interrupted=True, stamps="user", failed=range(200))
    assert verdict(run, table, telemetry) == (
        "invalid",
        ["nothing_succeeded", "failed_calls", "interrupted", "user_stamps"],
    )


def test_a_reason_says_what_was_seen_against_which_limit_and_which_flag_helps(synthetic_run: Any) -> None:
    (reason,) = summarize(*synthetic_run(requests=42))["verdict"]["reasons"]
    assert (reason["value"], reason["limit"]) == (42, 100)
    assert "--requests" in reason["message"]


def test_every_check_is_documented() -> None:
    assert all(check.__doc__ for check in CHECKS)
