"""Loads that change on purpose: what is said of them holds, and nothing is asked of them that wants a steady state."""

from typing import Any

import numpy as np
import pytest

from analysis.run.offered import offered
from analysis.run.sending import sending
from bench.plan.arrivals import due_ns_before
from bench.plan.course import requests_in, seconds_of
from bench.types import AT_ONCE, Course, RateSegment
from tests.analysis.run.test_rates import records
from tests.summaries import manifest_of, summarize
from tests.virtual import open_loop

RAMP: Course = (RateSegment(120.0, 0.0, 12.0),)
SPIKE: Course = (RateSegment(60.0, 2.0, 2.0), RateSegment(10.0, 40.0, 40.0), RateSegment(60.0, 2.0, 2.0))
STEADINESS = {"ttft_drifts", "backlog_grows", "littles_law", "delivered_rate", "delivered_dispersion", "late_sends",
              "waited_for_seats"}  # fmt: skip


def changing(course: Course, slots: int, arrivals: str = "poisson", seed: int = 1) -> tuple[dict[str, Any], Any]:
    """run.json and requests of a run along a course, at a server that has so many slots and takes a second."""
    due_s = due_ns_before(arrivals, seed, course, seconds_of(course)) / 1e9
    begin_s, end_s = open_loop(due_s, np.full(len(due_s), 1.0), slots)
    table = records(due_s, begin_s, end_s, 0)
    load = {
        "rate_per_s": requests_in(course) / seconds_of(course),
        "duration_s": seconds_of(course),
        "arrivals": arrivals,
        "max_in_flight": 10**6,
        "course": [{"seconds": a.seconds, "from_per_s": a.from_per_s, "to_per_s": a.to_per_s} for a in course],
    }
    return {"load": load}, table.set_column(table.schema.get_field_index("due_ns"), "due_ns", table["sent_ns"])


@pytest.mark.parametrize("course", [RAMP, SPIKE])
@pytest.mark.parametrize("slots", [8, 50])
def test_a_load_that_changes_on_purpose_is_not_taken_for_an_unsteady_server(course: Course, slots: int) -> None:
    run, table = changing(course, slots)
    found = summarize(run, table, None)
    assert not {reason["code"] for reason in found["verdict"]["reasons"]} & STEADINESS
    assert found["steadiness"]["ttft_change"] is None and found["steadiness"]["proposed"] is None
    assert found["throughput"]["requests_per_s"] == pytest.approx(
        np.sum(np.asarray(table["end_ns"]) <= seconds_of(course) * 1e9) / seconds_of(course), rel=0.05
    )


@pytest.mark.parametrize(("arrivals", "dispersion"), [("constant", 0.0), ("poisson", 1.0), ("gamma:2", 4.0)])
@pytest.mark.parametrize("course", [RAMP, SPIKE])
def test_burstiness_is_what_remains_when_the_course_is_taken_off(
    course: Course, arrivals: str, dispersion: float
) -> None:
    longer = tuple(RateSegment(part.seconds * 20, part.from_per_s, part.to_per_s) for part in course)
    run, table = changing(longer, 10_000, arrivals)
    found = offered(manifest_of(run), table)
    # In bins of ten arrivals the bursts of a gamma process are not yet all that they come to.
    assert found.index_of_dispersion == pytest.approx(dispersion, rel=0.3, abs=0.01)
    assert found.planned_index_of_dispersion == pytest.approx(found.index_of_dispersion)


def at_once(count: int, in_flight: int) -> tuple[dict[str, Any], Any]:
    """run.json and requests of `count` calls of a second each that are all due at the start."""
    sent_s = np.arange(count) // in_flight + 1e-5 * (np.arange(count) % in_flight)
    table = records(sent_s, sent_s, sent_s + 1.0, 0)
    zeros = np.zeros(count, np.int64)
    run = {"load": {"rate_per_s": None, "arrivals": AT_ONCE, "requests": count, "max_in_flight": in_flight}}
    return run, table.set_column(table.schema.get_field_index("due_ns"), "due_ns", [zeros])


@pytest.mark.parametrize("in_flight", [10, 200, 1000])
def test_what_is_all_due_at_once_is_served_at_as_much_as_it_took_in_all(in_flight: int) -> None:
    run, table = at_once(200, in_flight)
    found = summarize(run, table, None)
    rounds = -(-200 // in_flight)
    assert found["throughput"]["requests_per_s"] == pytest.approx(200 / rounds, rel=0.01)
    assert found["window"]["seconds"] == pytest.approx(rounds, rel=0.01)
    assert not {reason["code"] for reason in found["verdict"]["reasons"]} & STEADINESS
    assert found["metrics"]["response_ms"]["max"] == pytest.approx(1000 * rounds, rel=0.01)
    assert (found["offered"]["wanted_rps"], found["offered"]["planned_rps"]) == (None, None)


def test_calls_due_at_one_instant_wait_for_those_before_them_in_the_plan() -> None:
    run, table = at_once(200, 10)
    assert sending(manifest_of(run), table).waited_share == pytest.approx(0.95)
