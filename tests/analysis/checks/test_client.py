from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

MS = 1_000_000


def sent_later(table: pa.Table, ms: float, rows: range) -> pa.Table:
    late = pa.array([round(ms * MS) if row in rows else 0 for row in range(table.num_rows)])
    at = table.schema.get_field_index("sent_ns")
    return table.set_column(at, table.schema.field(at), pc.add(table["sent_ns"], late))


@pytest.mark.parametrize(
    ("options", "late_ms", "codes"),
    [
        ({"rate_per_s": 50.0}, 9, []),
        ({"rate_per_s": 50.0}, 15, ["late_sends"]),
        ({"rate_per_s": 2.0}, 15, []),  # a twentieth of half a second
        ({"rate_per_s": 2.0}, 40, ["late_sends"]),
        ({"concurrency": 8}, 15, []),
        ({"concurrency": 8}, 40, ["late_sends"]),
        ({"concurrency": 8, "itl_ms": 40.0}, 40, []),  # of answers that take more than a second
    ],
)
def test_calls_sent_late_though_a_seat_was_free_are_a_doubt(
    synthetic_run: Any, doubts: Any, options: dict[str, Any], late_ms: float, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, arrivals="constant", **options)
    assert list(doubts(run, sent_later(table, late_ms, range(50, 60)))) == codes


def test_the_time_to_open_a_connection_is_not_this_clients_lateness(
    synthetic_run: Any, doubts: Any, filled: Any
) -> None:
    run, table, _ = synthetic_run(requests=200, rate_per_s=50.0)
    late = filled(sent_later(table, 40, range(50, 60)), "connect_ns", 40 * MS, range(50, 60))
    assert doubts(run, late) == {}


def test_calls_that_wait_for_a_seat_are_a_doubt_of_their_own(synthetic_run: Any, doubts: Any) -> None:
    run, table, _ = synthetic_run(requests=200, rate_per_s=50.0)
    run["load"]["max_in_flight"] = 10  # where twenty are under way
    found = doubts(run, sent_later(table, 40, range(50, 60)))
    assert list(found) == ["waited_for_seats"]
    assert found["waited_for_seats"]["value"] > 0.9
    assert "--max-in-flight" in found["waited_for_seats"]["message"]


@pytest.mark.parametrize(("lag_ms", "codes"), [(3.0, []), (10.0, ["client_lag"])])
def test_a_client_that_looks_late_at_p99_is_a_doubt(
    synthetic_run: Any, doubts: Any, lag_ms: float, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, lag_ms=lag_ms)
    assert list(doubts(run, table)) == codes


@pytest.mark.parametrize(("stall_ms", "codes"), [(100, []), (300, ["client_lag"])])
def test_one_long_stall_of_the_client_is_a_doubt(
    synthetic_run: Any, doubts: Any, filled: Any, stall_ms: int, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200)
    assert list(doubts(run, filled(table, "lags_ns", [stall_ms * MS] * 32, [70]))) == codes


@pytest.mark.parametrize(
    ("lag_ms", "coalesced", "codes"),
    [
        (4.0, 8, ["coalesced_reads"]),
        (4.0, 1, []),
        (0.2, 8, []),  # the server sent them together
    ],
)
def test_arrivals_that_a_slow_client_read_together_are_a_doubt(
    synthetic_run: Any, doubts: Any, filled: Any, lag_ms: float, coalesced: int, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, lag_ms=lag_ms)
    assert list(doubts(run, filled(table, "coalesced_reads", coalesced))) == codes


@pytest.mark.parametrize(("share", "codes"), [(0.85, []), (0.95, ["client_cpu"])])
def test_a_load_process_at_the_limit_of_its_core_is_a_doubt(
    synthetic_run: Any, doubts: Any, share: float, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200)
    run["clients"][0]["cpu_s"] = share * run["clients"][0]["wall_s"]
    assert list(doubts(run, table)) == codes


def test_the_clients_cpu_counts_in_the_window_even_if_a_long_drain_was_idle(
    synthetic_run: Any, doubts: Any, sampled: Any
) -> None:
    run, table, _ = synthetic_run(requests=200)
    busy = {("host", "busy_cores"): [2.0] * 12, ("client", "busy_cores"): [0.97] * 12}
    assert list(doubts(run, table, sampled(busy))) == ["client_cpu"]
    assert list(doubts(run | {"workers": 2, "clients": run["clients"] * 2}, table, sampled(busy))) == []


@pytest.mark.parametrize(("rate_per_s", "words"), [(None, "set the pace"), (50.0, "sent in time")])
def test_a_full_client_is_named_the_bottleneck_of_its_kind_of_load(
    synthetic_run: Any, doubts: Any, rate_per_s: float | None, words: str
) -> None:
    run, table, _ = synthetic_run(requests=200, rate_per_s=rate_per_s)
    run["clients"][0]["cpu_s"] = run["clients"][0]["wall_s"]
    assert words in doubts(run, table)["client_cpu"]["message"]


def test_stamps_of_our_own_are_a_doubt(synthetic_run: Any, doubts: Any) -> None:
    run, table, _ = synthetic_run(requests=200, stamps="user")
    assert list(doubts(run, table)) == ["user_stamps"]


def test_a_load_process_that_was_killed_is_a_doubt(synthetic_run: Any, doubts: Any) -> None:
    run, table, _ = synthetic_run(requests=200)
    left = {"worker": 1, "stamps": "kernel"}
    reason = doubts(run | {"workers": 3, "clients": [*run["clients"], left]}, table)["lost_workers"]
    assert (reason["value"], reason["limit"], reason["status"]) == (1, 3, "suspect")


def test_a_capture_that_ends_in_mid_call_is_a_doubt(synthetic_run: Any, doubts: Any) -> None:
    run, table, _ = synthetic_run(requests=200)
    assert doubts(run | {"capture_torn_bytes": 0}, table) == {}
    assert list(doubts(run | {"capture_torn_bytes": 512}, table)) == ["torn_capture"]


def selftest_of(events: tuple[float, str | None], requests: tuple[float, str | None]) -> dict[str, Any]:
    """A kept selftest with these limits, each with what it is bounded by."""
    ladders = (("events", events), ("requests", requests))
    return {"measured_at": "2026-11-21T10:00:00+00:00", "workers": 1} | {
        name: {"limit_per_s": limit, "bounded_by": bounded_by, "steps": []} for name, (limit, bounded_by) in ladders
    }


MUCH = (1e6, "error")


@pytest.mark.parametrize(
    ("events", "requests", "codes"),
    [
        (MUCH, MUCH, []),
        ((300.0, "error"), MUCH, ["beyond_selftest"]),
        ((300.0, "client"), MUCH, ["beyond_selftest"]),
        ((0.0, "error"), MUCH, ["beyond_selftest"]),
        (MUCH, (5.0, "error"), ["beyond_selftest"]),
        ((300.0, "server"), (5.0, "others"), []),  # what the client can do was not found out
        ((300.0, None), (5.0, None), []),
    ],
)
def test_more_load_than_the_selftest_found_the_client_to_be_exact_at_is_a_doubt(
    synthetic_run: Any,
    doubts: Any,
    events: tuple[float, str | None],
    requests: tuple[float, str | None],
    codes: list[str],
) -> None:
    run, table, _ = synthetic_run(requests=200)  # about 20 requests and 650 token events a second
    assert list(doubts(run | {"selftest": selftest_of(events, requests)}, table)) == codes


def test_a_load_beyond_the_selftest_names_both_rates_and_what_helps(synthetic_run: Any, doubts: Any) -> None:
    run, table, _ = synthetic_run(requests=200)
    reason = doubts(run | {"selftest": selftest_of((300.0, "client"), MUCH)}, table)["beyond_selftest"]
    assert (reason["status"], reason["limit"]) == ("suspect", 300.0)
    assert reason["value"] > 500
    assert "the 300 up to which the selftest of 2026-11-21" in reason["message"]
    assert "--workers" in reason["message"]


def test_a_run_without_a_selftest_is_not_held_against_one(synthetic_run: Any, doubts: Any) -> None:
    run, table, _ = synthetic_run(requests=200)
    assert doubts(run | {"selftest": None}, table) == {}
