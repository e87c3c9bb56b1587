from typing import Any

import pytest

from bench.durations import parse_duration
from bench.plan.resolve import parse_size, resolve_load
from bench.types import Lengths, Load, Scenario, UserError

SCENARIO = Scenario("s", "", Lengths("fixed", 100, 100), Lengths("fixed", 8, 8), 0, 8, 200, 16)


def test_without_flags_the_load_is_the_scenarios_own() -> None:
    assert resolve_load(SCENARIO) == Load(8, None, "poisson", 200, None, 16, None, 8, "wait")


def test_a_rate_makes_an_open_loop_of_bounded_flight() -> None:
    assert resolve_load(SCENARIO, rate=5.0) == Load(None, 5.0, "poisson", 200, None, 16, None, 1024, "wait")
    load = resolve_load(SCENARIO, rate=5.0, arrivals="constant", max_in_flight=9, overload="drop")
    assert (load.arrivals, load.max_in_flight, load.overload) == ("constant", 9, "drop")


def test_warmup_counts_requests_in_a_counted_load_and_seconds_in_a_timed_one() -> None:
    assert resolve_load(SCENARIO, warmup="5").warmup_requests == 5
    assert resolve_load(SCENARIO, warmup="0").warmup_requests == 0
    assert resolve_load(SCENARIO, duration="60s", warmup="5s").warmup_s == 5
    assert resolve_load(SCENARIO, duration="60s", warmup="0").warmup_s == 0


def test_by_default_every_slot_of_a_closed_loop_is_warm() -> None:
    assert resolve_load(SCENARIO, concurrency=64).warmup_requests == 64


def test_by_default_no_more_is_warmed_up_than_is_measured() -> None:
    assert resolve_load(SCENARIO, requests=3).warmup_requests == 3


@pytest.mark.parametrize(("duration", "warmup_s"), [("20s", 2.0), ("1h", 10.0)])
def test_by_default_a_tenth_of_a_duration_is_warmup_and_ten_seconds_at_most(duration: str, warmup_s: float) -> None:
    load = resolve_load(SCENARIO, duration=duration)
    assert (load.warmup_s, load.warmup_requests, load.requests) == (warmup_s, None, None)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"concurrency": 1, "rate": 1.0}, "--concurrency and --rate exclude each other"),
        ({"requests": 1, "duration": "1s"}, "--requests and --duration exclude each other"),
        ({"arrivals": "constant"}, "--arrivals: applies to an open loop; give --rate"),
        ({"max_in_flight": 5, "concurrency": 5}, "--max-in-flight: applies to an open loop"),
        ({"overload": "drop"}, "--overload: applies to an open loop"),
        ({"concurrency": 0}, "--concurrency: must be from 1 to 100000, got 0; the nearest is 1"),
        ({"concurrency": 10**9}, "--concurrency: .* the nearest is 100000"),
        ({"rate": 0.0}, "--rate: must be from 0.001 to 1000000, got 0.0"),
        ({"rate": float("nan")}, "--rate: must be from 0.001 to 1000000, got nan"),
        ({"rate": 1.0, "max_in_flight": 0}, "--max-in-flight: must be from 1"),
        ({"requests": -5}, "--requests: must be from 1 to 10000000, got -5"),
        ({"duration": "0s"}, "--duration: must be from 0.1 to 604800 s, got 0.0 s; the nearest is 0.1 s"),
        ({"duration": "9999h"}, "--duration: must be from 0.1 to 604800"),
        ({"duration": "1h", "rate": 1e5}, "--rate: 100000/s for 3600 s are more than 10000000 requests"),
        ({"warmup": "10s"}, "--warmup: expected a number of requests, .* got '10s'"),
        ({"warmup": "-1"}, "--warmup: expected a number of requests, .* got '-1'"),
        ({"duration": "60s", "warmup": "10"}, "--warmup: expected a time with its unit .* such as 10s, got '10'"),
    ],
)
def test_contradictions_and_absurdities_name_their_flags(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        resolve_load(SCENARIO, **flags)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60),
        ("2m", 120),
        ("1h", 3600),
        ("500ms", 0.5),
        ("1.5h", 5400),
        ("1m30s", 90),
        ("1h30m", 5400),
        ("5 min 05 s", 305),
        ("10 h 00 min", 36_000),
        ("12 s", 12),
        ("4 min", 240),
        ("1e3s", 1000),
        ("1,200s", 1200),
        ("2.5 h", 9000),
    ],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "5d", "nan", "5s5s", "30s1m", "1,2s", "5sec", "5s!"])
def test_other_durations_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match=r"^--timeout: expected a time with its unit \(ms, s, m or h\), such as 60s"):
        parse_duration(text, "--timeout")


def test_a_bare_number_is_shown_with_the_unit_it_lacks() -> None:
    with pytest.raises(UserError, match="such as 90s, got '90'"):
        parse_duration("90")


@pytest.mark.parametrize(("text", "size"), [("64MiB", 64 << 20), (" 2KiB", 2048), ("1GiB", 1 << 30)])
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert parse_size(text, "--max-body", (1024, 1 << 32)) == size


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("64", "such as 64MiB, got '64'"),
        ("64 MB", r"\(KiB, MiB or GiB\), such as 64MiB"),
        ("-1KiB", "got '-1KiB'"),
        ("0KiB", "must be from 1024 to"),
        ("9999GiB", "must be from 1024 to"),
    ],
)
def test_a_size_that_is_none_is_named_with_its_flag(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=f"--max-body: .*{problem}"):
        parse_size(text, "--max-body", (1024, 1 << 32))
