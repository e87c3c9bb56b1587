from typing import Any

import pytest

from analysis.checks.server import not_steady
from tests.summaries import manifest_of, summary_of


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
    synthetic_run: Any, doubts: Any, filled: Any, meant: str | None, cached_tokens: int, codes: list[str]
) -> None:
    run, table, telemetry = synthetic_run(requests=200, prompt_tokens=100)
    run |= {"cache": meant, "tokenizer": run["tokenizer"] | {"overhead_tokens": 10}}
    assert list(doubts(run, filled(table, "cached_tokens", cached_tokens), telemetry)) == codes


def test_a_prefix_that_the_scenario_shares_may_come_from_a_cold_cache(
    synthetic_run: Any, doubts: Any, filled: Any
) -> None:
    run, table, telemetry = synthetic_run(requests=200, prompt_tokens=100)
    run |= {"cache": "cold", "scenario": run["scenario"] | {"shared_prefix_tokens": 60}}
    assert doubts(run, filled(table, "cached_tokens", 60), telemetry) == {}


@pytest.mark.parametrize(
    ("options", "codes", "status"),
    [
        ({"ttft_ms": 0.005}, ["impossible_ttft"], "invalid"),
        ({"ttft_ms": 0.2}, [], None),
        ({"itl_ms": 0.001}, ["answers_at_once"], "suspect"),
        ({"itl_ms": 0.05}, ["answers_at_once"], "suspect"),
        ({"itl_ms": 0.2, "ttft_ms": 5}, [], None),
        ({"itl_ms": 0.2, "ttft_ms": 400}, ["answers_held_back"], "suspect"),
    ],
)
def test_what_no_server_can_do_is_a_doubt(
    synthetic_run: Any, doubts: Any, options: dict[str, Any], codes: list[str], status: str | None
) -> None:
    found = doubts(*synthetic_run(requests=200, jitter=0.0, lag_ms=0.001, **options))
    assert list(found) == codes
    assert [reason["status"] for reason in found.values()] == [status] * len(codes)


@pytest.mark.parametrize(
    ("message", "quick_ack", "codes"), [("m", False, ["nagle"]), ("m", True, []), (None, False, [])]
)
def test_a_server_that_waits_to_be_acknowledged_is_a_doubt_where_the_load_waits_with_it(
    synthetic_run: Any, doubts: Any, message: str | None, quick_ack: bool, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200)
    seen = {"first_byte_ms": 0.2, "pieces": 1}
    found = {"delayed": seen | {"first_token_ms": 43.0}, "quick": seen | {"first_token_ms": 8.0}, "message": message}
    reasons = doubts(run | {"nagle": found, "quick_ack": quick_ack}, table)
    assert list(reasons) == codes
    assert [(reason["message"], reason["value"], reason["limit"]) for reason in reasons.values()] == [
        ("m", 43.0, 8.0) for _ in codes
    ]


def test_more_cached_tokens_than_prompt_tokens_make_a_run_invalid(synthetic_run: Any, doubts: Any, filled: Any) -> None:
    run, table, _ = synthetic_run(requests=200, prompt_tokens=100)
    assert doubts(run, filled(table, "cached_tokens", 100)) == {}
    found = doubts(run, filled(table, "cached_tokens", 250))
    assert (found["impossible_usage"]["value"], found["impossible_usage"]["status"]) == (2.5, "invalid")


@pytest.mark.parametrize(("without", "codes"), [(range(2), []), (range(50), ["tokens_guessed"])])
def test_calls_whose_tokens_nobody_counted_are_a_doubt(
    synthetic_run: Any, doubts: Any, filled: Any, without: range, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200)
    assert list(doubts(run, filled(table, "token_source", "chunk count", without))) == codes


@pytest.mark.parametrize(
    ("backend", "source", "tokens_per_arrival", "codes"),
    [
        ("openai", "server usage", 1, []),
        ("openai", "server usage", 4, ["tokens_not_chunks"]),
        ("vllm", "per-chunk usage", 4, []),  # speculative decoding: the server says how many each
        ("claude", "server usage", 4, []),
    ],
)
def test_arrivals_of_several_tokens_are_a_doubt_where_nobody_says_how_many(
    synthetic_run: Any, doubts: Any, filled: Any, backend: str, source: str, tokens_per_arrival: int, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, backend=backend, tokens_per_arrival=tokens_per_arrival)
    assert list(doubts(run, filled(table, "token_source", source))) == codes


@pytest.mark.parametrize(
    ("backend", "output_tokens", "codes"),
    [
        ("llamacpp", 32, []),
        ("llamacpp", 20, ["answers_too_short"]),
        ("vllm", 20, ["answers_too_short"]),
        ("openai", 20, []),  # the model ends them
        ("openai", 40, ["answers_too_long"]),
    ],
)
def test_answers_of_another_length_than_asked_are_a_doubt(
    synthetic_run: Any, doubts: Any, filled: Any, backend: str, output_tokens: int, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, backend=backend)
    assert list(doubts(run, filled(table, "output_tokens", output_tokens))) == codes


@pytest.mark.parametrize(("silence_ms", "codes"), [(900, []), (5000, ["stalled_stream"])])
def test_one_answer_that_stood_still_in_its_middle_is_a_doubt_that_names_it(
    synthetic_run: Any, doubts: Any, filled: Any, silence_ms: int, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, concurrency=200)
    arrivals_ns = table["arrivals_ns"][70].as_py()
    later_ns = [t_ns + (silence_ms * 1_000_000 if i >= 16 else 0) for i, t_ns in enumerate(arrivals_ns)]
    for name, value in ("arrivals_ns", later_ns), ("last_token_ns", later_ns[-1]), ("end_ns", later_ns[-1] + 1):
        table = filled(table, name, value, [70])
    found = doubts(run, table)
    assert list(found) == codes
    for reason in found.values():
        assert "1 of 200 answers stalled" in reason["message"] and "request 70, 5.01 s" in reason["message"]


def test_a_call_given_up_for_its_silence_is_a_doubt_where_so_few_failures_are_none(
    synthetic_run: Any, doubts: Any, filled: Any
) -> None:
    run, table, _ = synthetic_run(requests=200)
    assert doubts(run, filled(table, "error", "reset", [70])) == {}
    assert list(doubts(run, filled(table, "error", "stall", [70]))) == ["stalled_stream"]


STEADY = {"ttft_change": 0.1, "ttft_trend_p": 0.5, "backlog_growth": 1.0, "backlog_trend_p": 0.5, "proposed": None}


@pytest.mark.parametrize(
    ("seen", "codes"),
    [
        ({}, []),
        ({"ttft_change": 0.6, "ttft_trend_p": 1e-5}, ["ttft_drifts"]),
        ({"ttft_change": -0.6, "ttft_trend_p": 1e-5}, ["ttft_drifts"]),
        ({"ttft_change": 0.6}, []),  # large, and chance
        ({"ttft_trend_p": 1e-5}, []),  # certain, and small
        ({"backlog_growth": 60.0, "backlog_trend_p": 1e-5}, ["backlog_grows"]),
        ({"backlog_growth": 60.0}, []),
        ({"backlog_growth": 15.0, "backlog_trend_p": 1e-5}, []),
        ({"backlog_growth": 60.0, "backlog_trend_p": 1e-5, "ttft_change": 9.0, "ttft_trend_p": 0.0}, ["backlog_grows"]),
        (dict.fromkeys(STEADY), []),
    ],
)
def test_a_trend_is_a_doubt_when_it_is_both_clear_and_large(seen: dict[str, Any], codes: list[str]) -> None:
    summary = summary_of({"steadiness": STEADY | seen, "requests": {"planned": 200}})
    assert [reason.code for reason in not_steady(manifest_of({}), summary)] == codes


@pytest.mark.parametrize(("calls", "codes"), [(2, []), (3, ["events_unread"])])
def test_events_that_could_not_be_read_are_counted_and_named(
    synthetic_run: Any, doubts: Any, filled: Any, calls: int, codes: list[str]
) -> None:
    run, table, telemetry = synthetic_run(requests=200)
    rows = range(table.num_rows - calls, table.num_rows)
    odd = filled(filled(table, "unread", 2, rows), "unread_example", "b'{nope'", rows)
    found = doubts(run, odd, telemetry)
    assert list(found) == codes
    for reason in found.values():
        assert f"{2 * calls} events in {calls} of 200 requests could not be read" in reason["message"]
        assert "b'{nope'" in reason["message"]


def test_answers_that_came_compressed_are_a_doubt(synthetic_run: Any, doubts: Any, filled: Any) -> None:
    run, table, telemetry = synthetic_run(requests=200)
    found = doubts(run, filled(table, "encoding", "gzip"), telemetry)
    assert list(found) == ["compressed_stream"]
    assert "200 of 200 answers came compressed (gzip)" in found["compressed_stream"]["message"]
