from typing import Any

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
        ({"failed": range(200)}, "invalid", "nothing_succeeded"),
        ({"requests": 0}, "invalid", "nothing_succeeded"),
        ({"requests": 99}, "suspect", "few_samples"),
        ({"slo": ["ttft_ms:p99.9<500"]}, "suspect", "undecided_objective"),
        ({"interrupted": True}, "suspect", "interrupted"),
        ({"stamps": "user"}, "suspect", "user_stamps"),
    ],
)
def test_each_doubt_by_itself(synthetic_run: Any, options: dict[str, Any], status: str, code: str) -> None:
    assert verdict(*synthetic_run(**options)) == (status, [code])


def test_an_exact_identity_that_fails_makes_a_run_invalid_and_any_other_suspect(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200)
    assert verdict(run, table.slice(1, 150), telemetry)[0] == "invalid"
    doubled = telemetry.set_column(3, "value", [[2 * value for value in telemetry["value"].to_pylist()]])
    assert verdict(run, table, doubled) == ("suspect", ["server_tokens"])


def test_the_worst_status_wins_and_comes_first(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, interrupted=True, stamps="user", failed=range(200))
    assert verdict(run, table, telemetry) == ("invalid", ["nothing_succeeded", "interrupted", "user_stamps"])


def test_a_reason_says_what_was_seen_against_which_limit_and_which_flag_helps(synthetic_run: Any) -> None:
    (reason,) = summarize(*synthetic_run(requests=42))["verdict"]["reasons"]
    assert (reason["value"], reason["limit"]) == (42, 100)
    assert "--requests" in reason["message"]


def test_every_check_is_documented() -> None:
    assert all(check.__doc__ for check in CHECKS)
