from typing import Any

from analysis.present import tables
from analysis.summary import summarize


def summary(synthetic_run: Any) -> dict[str, Any]:
    return summarize(*synthetic_run(requests=200, prompt_tokens=100))


def test_the_servers_own_books_stand_beside_ours_where_there_are_any(synthetic_run: Any) -> None:
    told = summary(synthetic_run)
    told["server"] |= {"ttft_ms_mean": 41.26, "queue_ms_mean": 0.5}
    told["cache"]["hit_rate"] = 0.25
    told["rate_limits"] = [{"name": "output-tokens", "limit": 8000.0, "remaining_min": 120.0}]
    rows = dict(tables.throughput(told))
    assert rows["The server's own mean to the first token"] == "41.3 ms"
    assert rows["The server's own mean in its queue"] == "0.5 ms"
    assert rows["Prompt tokens out of the server's cache"] == "25%"
    assert rows["Least left of the rate limit output-tokens"] == "120 of 8,000"
    assert "The server's own mean token gap" not in rows


def test_the_clients_error_stands_there_where_a_selftest_knows_it(synthetic_run: Any) -> None:
    told = summary(synthetic_run)
    row = "The client's error at this load, p99, by its selftest"
    assert row not in dict(tables.throughput(told))
    told["client"]["selftest"] = {"measured_at": "2026-11-21T10:00:00+00:00", "error_ms": 0.012}
    assert dict(tables.throughput(told))[row] == "0.012 ms"
    told["client"]["selftest"]["error_ms"] = None
    assert row not in dict(tables.throughput(told))


def test_a_cost_is_in_dollars_with_its_interval_what_an_hour_costs_and_what_was_left_out(synthetic_run: Any) -> None:
    run, *tables_of_run = synthetic_run(requests=200)
    run["pricing"] = {
        "usd_per_hour": "0.66",
        "usd_per_hour_range": ["0.45", "0.87"],
        "source": "vast",
        "notes": ["old"],
    }
    cost = summarize(run, *tables_of_run)["cost"]
    rows = tables.cost(cost)
    shown = dict(rows)
    per_request = cost["usd_per_request"]
    assert shown["Per request"].startswith(f"${per_request:.{9}f}"[:8])
    assert " to $" in shown["Per million output tokens"]
    assert shown["An hour of it"] == "$0.45 to $0.87"
    assert ("Note", "old") in rows
    assert tables.cost(None) == []
