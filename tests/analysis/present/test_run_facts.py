from typing import Any

import pytest

from analysis.present import run_facts
from tests.summaries import summarize, summary_of, typed


def summary(synthetic_run: Any) -> dict[str, Any]:
    return summarize(*synthetic_run(requests=200, prompt_tokens=100))


def test_the_servers_own_books_stand_beside_ours_where_there_are_any(synthetic_run: Any) -> None:
    told = summary(synthetic_run)
    told["server"] |= {"ttft_ms_mean": 41.26, "queue_ms_mean": 0.5}
    told["cache"]["hit_rate"] = 0.25
    told["rate_limits"] = [{"name": "output-tokens", "limit": 8000.0, "remaining_min": 120.0}]
    assert run_facts.server(summary_of(told)) == [
        ("server's mean to first token", "41.3 ms"),
        ("server's mean in its queue", "0.5 ms"),
        ("prefix cache", "25% of prompt tokens were cached"),
        ("rate limit output-tokens", "at least 120 of 8,000 left"),
    ]


@pytest.mark.parametrize(
    ("selftest", "words"),
    [
        (None, "of a core; error unknown (measure it with bench.py selftest)"),
        ({"measured_at": "2026-11-21", "error_ms": 0.0123}, "of a core; error p99 0.0123 ms (selftest)"),
        ({"measured_at": "2026-11-21", "error_ms": None}, "of a core; load above what selftest measured"),
    ],
)
def test_the_client_has_its_error_at_such_a_load_beside_its_lag(selftest: Any, words: str, synthetic_run: Any) -> None:
    content = summary(synthetic_run)
    content["client"]["selftest"] = selftest
    assert dict(run_facts.client(summary_of(content)))["client"].endswith(words)


def test_a_slot_that_waited_says_how_long_and_what_turns_it_off(synthetic_run: Any) -> None:
    content = summary(synthetic_run)
    content["backoff"] = {"waits": 2, "seat_s": 1.5, "share": 0.25}
    told = dict(run_facts.client(summary_of(content)))["backoff"]
    assert told == "slots waited 1.50 s after 2 refusals, 25% of their time; --backoff off asks again at once"


def test_rates_that_are_not_known_say_why(synthetic_run: Any) -> None:
    content = summary(synthetic_run)
    content["throughput"] |= {"rates_unknown": "too short", "requests_per_s": None}
    assert dict(run_facts.served(summary_of(content)))["rates"] == "unknown: too short"
    content["throughput"]["rates_unknown"] = None
    assert dict(run_facts.served(summary_of(content)))["rates"] == "unknown: nothing was measured"


def test_a_cost_is_in_dollars_with_its_interval_what_an_hour_costs_and_what_was_left_out(synthetic_run: Any) -> None:
    run, *tables_of_run = synthetic_run(requests=200)
    run["pricing"] = {
        "usd_per_hour": "0.66",
        "usd_per_hour_range": ["0.45", "0.87"],
        "source": "vast",
        "notes": ["old"],
    }
    _, summary = typed(run, *tables_of_run)
    cost = summary.cost
    assert cost is not None and cost.usd_per_request is not None
    rows = run_facts.cost(cost)
    shown = dict(rows)
    per_request = cost.usd_per_request
    assert shown["per request"].startswith(f"${per_request:.{9}f}"[:8])
    assert " to $" in shown["per million output tokens"]
    assert shown["price per hour"] == "$0.45 to $0.87"
    assert ("note", "old") in rows
    assert run_facts.cost(None) == []
