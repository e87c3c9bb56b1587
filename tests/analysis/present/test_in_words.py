"""Sentences about a run."""

from dataclasses import replace
from typing import Any

import pytest

from analysis.present import in_words
from bench.app.options import LoadOptions
from bench.app.request import load_of
from bench.types import RECORDED, Lengths, Scenario
from scenarios.sessions import with_turns
from tests.summaries import manifest_of, typed


def test_the_load_is_said_in_words(synthetic_run: Any) -> None:
    closed, _, _ = synthetic_run(requests=200, warmup=1, concurrency=8)
    timed, _, _ = synthetic_run(rate_per_s=4.0, duration_s=60.0)

    def said_of(run: Any) -> str:
        return in_words.load(manifest_of(run).load, manifest_of(run).scenario)

    assert said_of(closed) == ("8 requests in flight (closed loop), for 200 requests after 1 warm-up request")
    assert said_of(timed) == "4 requests/s with poisson arrivals (open loop), for 60 s"


SCENARIO = Scenario("s", "", Lengths("fixed", 9, 9), Lengths("fixed", 9, 9), 0, 4, 20, 0)
SESSIONS = with_turns(SCENARIO, "3", None, None)


@pytest.mark.parametrize(
    ("scenario", "asked", "said"),
    [
        (SCENARIO, {"rate": "1"}, "1 request/s with poisson arrivals (open loop), for 20 requests"),
        (SCENARIO, {"rate": "inf"}, "all requests due at once, 1,024 in flight at most (open loop), for 20 requests"),
        (SCENARIO, {"rate": "1..3:10s"}, "1 to 3 requests/s, 2 on average, with poisson arrivals (open loop), for 10"),
        (SESSIONS, {"concurrency": 1, "sessions": 1}, "1 user with one session after another (closed loop), for 1 "),
        (SESSIONS, {"rate": "2", "sessions": 5}, "2 sessions/s with poisson arrivals (open loop), for 5 sessions"),
        (
            SESSIONS,
            {"rate": "inf", "sessions": 5},
            "all sessions due at once, 1,024 in flight at most (open loop), for",
        ),
        (
            SESSIONS,
            {"rate": "1..3:10s"},
            "1 to 3 sessions/s, 2 on average, with poisson arrivals (open loop), for 10 s",
        ),
    ],
)
def test_every_kind_of_load_is_said_as_it_is(scenario: Scenario, asked: dict[str, Any], said: str) -> None:
    assert in_words.load(load_of(LoadOptions(warmup="0", **asked), scenario), scenario).startswith(said)


def test_a_recording_has_times_of_its_own_and_no_rate_that_was_asked_for() -> None:
    planned = replace(load_of(LoadOptions(rate="2", requests=9, warmup="0"), SCENARIO), arrivals=RECORDED)
    said = "requests at the times of the recording, 2/s on average (open loop), for 9 requests"
    assert in_words.load(planned, SCENARIO) == said


def test_the_outcome_is_said_in_words(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=200, jitter=0, ttft_ms=80, itl_ms=10, failed=[3])
    assert in_words.found(typed(run, requests, telemetry)[1]) == (
        "199 of 200 measured requests succeeded, 1 did not; half had their first token within 80 ms and 99% "
        "within 80 ms; a typical user then read 100 tokens/s."
    )


def test_no_percentile_is_claimed_that_the_sample_cannot_carry(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=20)
    found = in_words.found(typed(run, requests, telemetry)[1])
    assert found.startswith("All 20 measured requests succeeded; half")
    assert "99%" not in found
