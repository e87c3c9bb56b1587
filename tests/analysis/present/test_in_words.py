"""Sentences about a run."""

from typing import Any

from analysis.present import in_words
from tests.summaries import manifest_of, typed


def test_the_load_is_said_in_words(synthetic_run: Any) -> None:
    closed, _, _ = synthetic_run(requests=200, warmup=1, concurrency=8)
    timed, _, _ = synthetic_run(rate_per_s=4.0, duration_s=60.0)

    def load_of(run: Any) -> str:
        return in_words.load(manifest_of(run).load, manifest_of(run).scenario)

    assert load_of(closed) == (
        "8 requests in flight at all times (closed loop), for 200 requests after 1 warm-up request"
    )
    assert load_of(timed) == "4 requests/s with poisson arrivals (open loop), for 60 s"


def test_the_outcome_is_said_in_words(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=200, jitter=0, ttft_ms=80, itl_ms=10, failed=[3])
    assert in_words.found(typed(run, requests, telemetry)[1]) == (
        "199 of 200 measured requests succeeded, 1 did not; half of them had their first token within 80 ms and 99% "
        "within 80 ms; a typical user then read 100 tokens/s."
    )


def test_no_percentile_is_claimed_that_the_sample_cannot_carry(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=20)
    found = in_words.found(typed(run, requests, telemetry)[1])
    assert found.startswith("All 20 measured requests succeeded; half of them")
    assert "99%" not in found
