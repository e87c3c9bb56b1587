"""Numbers and sentences as people read them."""

from typing import Any

import pytest

from analysis import wording
from tests.summaries import summarize


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0, "0"), (0.0, "0"), (1234567, "1,234,567"), (151.4, "151"), (76.94, "76.9"), (9.9996, "10.0"),
        (9.054, "9.05"), (0.04, "0.04"), (0.012345, "0.0123"), (30.0, "30"), (2664.3, "2,664"), (3.2e-6, "3.2e-06"),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_and_its_whole_part(value: float | None, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ([1.0, 2.5], "1–2.50"),
        ([1.0, None], "≥ 1"),
        ([None, 2.5], "≤ 2.50"),
        ([None, None], None),
        (None, None),
    ],
)
def test_an_interval_shows_the_ends_it_has(bounds: list[float | None] | None, text: str | None) -> None:
    assert wording.interval(bounds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0, "0%"), (1, "100%"), (0.9999, "> 99.9%"), (0.00001, "< 0.1%"), (0.985, "98.5%")],
)
def test_a_percentage_is_never_rounded_to_all_or_nothing(share: float | None, text: str) -> None:
    assert wording.percent(share) == text


def test_the_load_is_said_in_words(synthetic_run: Any) -> None:
    closed, _, _ = synthetic_run(requests=200, warmup=1, concurrency=8)
    timed, _, _ = synthetic_run(rate_per_s=4.0, duration_s=60.0)
    assert wording.load(closed["load"]) == (
        "8 requests in flight at all times (closed loop), for 200 requests after 1 warm-up request"
    )
    assert wording.load(timed["load"]) == "4 requests/s with poisson arrivals (open loop), for 60 s"


def test_the_outcome_is_said_in_words(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=200, jitter=0, ttft_ms=80, itl_ms=10, failed=[3])
    assert wording.found(summarize(run, requests, telemetry)) == (
        "199 of 200 measured requests succeeded, 1 did not; half of them had their first token within 80 ms and 99% "
        "within 80 ms; a typical user then read 100 tokens/s."
    )


def test_no_percentile_is_claimed_that_the_sample_cannot_carry(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=20)
    found = wording.found(summarize(run, requests, telemetry))
    assert found.startswith("All 20 measured requests succeeded; half of them")
    assert "99%" not in found
