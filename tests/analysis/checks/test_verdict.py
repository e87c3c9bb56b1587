from typing import Any

from analysis.checks import answers, client, outcome, server, surroundings
from analysis.checks.verdict import CHECKS
from tests.summaries import summarize


def verdict(run: Any, table: Any, telemetry: Any) -> Any:
    judged = summarize(run, table, telemetry)["verdict"]
    return judged["status"], [reason["code"] for reason in judged["reasons"]]


def test_a_sound_run_is_valid(synthetic_run: Any) -> None:
    assert verdict(*synthetic_run(requests=200)) == ("valid", [])


def test_the_worst_status_wins_and_comes_first(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200, interrupted=True, stamps="user", failed=range(199))
    assert verdict(run, table, telemetry) == (
        "invalid",
        ["mostly_failed", "failed_calls", "few_samples", "interrupted", "user_stamps"],
    )


def test_every_check_says_what_it_means_and_is_listed_once() -> None:
    assert all(check.__doc__ for check in CHECKS)
    assert len({check.__name__ for check in CHECKS}) == len(CHECKS)


def test_every_check_of_the_modules_is_listed() -> None:
    taken = {name for module in (answers, client, outcome, server, surroundings) for name, check in vars(module).items()
             if not name.startswith("_") and getattr(check, "__module__", "") == module.__name__}  # fmt: skip
    assert {check.__name__ for check in CHECKS} == taken
