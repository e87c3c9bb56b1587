import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan import course as courses
from bench.plan.arrivals import due_ns, due_ns_before
from bench.plan.calls import call, make_plan, total
from bench.plan.prompts import calibrate
from bench.plan.resolve import resolve_load
from bench.plan.written import plan_hash
from bench.types import Course, Lengths, Load, RateSegment, Scenario

SCENARIO = Scenario("s", "", Lengths("fixed", 60, 60), Lengths("fixed", 8, 8), 0, 8, 200, 0)
VOCABULARY = calibrate(lambda _: None, "nobody")
PROCESS = st.sampled_from(["constant", "poisson", "gamma:0.3", "gamma:3"])
RATE = st.one_of(st.just(0.0), st.floats(0.01, 500.0))
STRETCH = st.builds(RateSegment, st.floats(0.01, 100.0), RATE, RATE)
COURSE = st.lists(STRETCH, min_size=1, max_size=6).map(tuple).filter(lambda course: courses.highest(course) > 0)
RAMP: Course = (
    RateSegment(50.0, 2.0, 30.0),
    RateSegment(30.0, 30.0, 30.0),
    RateSegment(0.5, 300.0, 300.0),
    RateSegment(40.0, 10.0, 0.0),
)


def expected_by(course: Course, t_s: float) -> float:
    """How many arrivals a course has come to, summed as one would by hand."""
    came = 0.0
    for part in course:
        own = min(max(t_s, 0.0), part.seconds)
        came += own * part.from_per_s + (part.to_per_s - part.from_per_s) * own * own / (2 * part.seconds)
        t_s -= part.seconds
    return came + max(t_s, 0.0) * course[-1].to_per_s


@settings(deadline=None, max_examples=60)
@given(PROCESS, COURSE, st.integers(0, 2**63), st.integers(1, 200), st.integers(1, 100))
def test_due_times_ascend_and_a_longer_schedule_begins_with_the_shorter(
    arrivals: str, course: Course, seed: int, count: int, more: int
) -> None:
    long = due_ns(arrivals, seed, course, count + more)
    assert long[0] >= 0 and (np.diff(long) >= 0).all()
    assert (due_ns(arrivals, seed, course, count) == long[:count]).all()


@settings(deadline=None, max_examples=60)
@given(PROCESS, COURSE, st.integers(0, 2**63))
def test_a_call_is_due_when_the_course_has_come_to_what_its_process_says(
    arrivals: str, course: Course, seed: int
) -> None:
    unit_s = due_ns(arrivals, seed, 1.0, 50) / 1e9
    due_s = due_ns(arrivals, seed, course, 50) / 1e9
    for wanted, t_s in zip(unit_s, due_s, strict=True):
        if t_s < 1e9:  # never, where the course ends at 0
            assert expected_by(course, t_s) == pytest.approx(wanted, rel=1e-6, abs=2e-6)


@settings(deadline=None, max_examples=40)
@given(COURSE, st.integers(0, 2**32), st.sampled_from([1, 2, 5]))
def test_every_worker_computes_its_share_of_one_schedule(course: Course, seed: int, workers: int) -> None:
    end_s = courses.seconds_of(course)
    whole = due_ns_before("poisson", seed, course, end_s)
    shares = [due_ns_before("poisson", seed, course, end_s)[worker::workers] for worker in range(workers)]
    assert (np.sort(np.concatenate(shares)) == whole).all()
    assert (whole < end_s * 1e9).all()


@settings(deadline=None, max_examples=100)
@given(COURSE, st.floats(0.01, 500.0), st.integers(1, 10_000))
def test_a_fitted_course_is_as_long_as_it_is_to_be(course: Course, seconds: float, requests: int) -> None:
    assert courses.seconds_of(courses.lasting(course, seconds)) == pytest.approx(seconds)
    found = courses.until(course, requests)
    if found is None:
        assert expected_by(course, courses.seconds_of(course)) <= requests * (1 + 1e-9)
    else:
        assert courses.requests_in(found) == pytest.approx(requests)
        assert found[-1].to_per_s > 0


@pytest.mark.slow
@pytest.mark.parametrize("cv", [0.4, 1.0, 2.0])
def test_bursts_along_a_course_are_those_of_the_process_at_one_rate(cv: float) -> None:
    course = courses.lasting(
        (RateSegment(4000.0, 1.0, 40.0), RateSegment(100.0, 200.0, 200.0), RateSegment(4000.0, 30.0, 5.0)), 8100
    )
    due_s = due_ns_before(f"gamma:{cv}", 3, course, 8100) / 1e9
    came = np.array([expected_by(course, t) for t in due_s.tolist()])
    counts = np.bincount((came / 200).astype(int))[:-1]
    assert counts.var() / counts.mean() == pytest.approx(cv**2, rel=0.2)


def test_the_counts_of_a_poisson_ramp_are_those_of_its_rate() -> None:
    due_s = due_ns_before("poisson", 5, RAMP, 120.5) / 1e9
    edges = np.array([0, 25, 50, 80, 80.5, 100, 120.5])
    counts, _ = np.histogram(due_s, edges)
    wanted = np.diff([expected_by(RAMP, t) for t in edges.tolist()])
    assert (np.abs(counts - wanted) < 4 * np.sqrt(wanted) + 1).all()


def load(rate: Any, **flags: Any) -> Load:
    return resolve_load(SCENARIO, rate=rate, **flags)


def test_a_course_says_how_long_the_load_is_and_what_its_mean_rate_is() -> None:
    found = load((RateSegment(60.0, 2.0, 10.0),))
    assert (found.duration_s, found.requests, found.rate_per_s) == (60.0, None, 6.0)
    assert (found.is_open, found.is_stationary) == (True, False)


def test_a_course_of_one_rate_is_that_rate_and_no_course() -> None:
    assert load((RateSegment(60.0, 4.0, 4.0), RateSegment(10.0, 4.0, 4.0)), duration="30s") == load(4.0, duration="30s")


def test_a_load_longer_than_its_course_goes_on_at_the_last_rate_and_a_shorter_one_is_cut() -> None:
    course = (RateSegment(60.0, 0.0, 10.0),)
    assert load(course, duration="90s").course == (*course, RateSegment(30.0, 10.0, 10.0))
    assert load(course, duration="30s").course == (RateSegment(30.0, 0.0, 5.0),)
    assert courses.requests_in(load(course, requests=1000).course) == pytest.approx(1000)


def test_the_warm_up_has_the_first_rate_and_none_is_there_where_that_is_nothing() -> None:
    found = load((RateSegment(60.0, 5.0, 50.0),), warmup="10s")
    plan = make_plan(SCENARIO, found, 1, 1, VOCABULARY)
    assert plan.due_ns is not None
    assert np.sum(plan.due_ns < 10e9) == pytest.approx(50, abs=25)
    assert {call(plan, seq).phase for seq in range(int(np.sum(plan.due_ns < 10e9)))} == {"warmup"}
    assert load((RateSegment(60.0, 0.0, 50.0),)).warmup_s == 0


def test_a_profile_is_spread_over_the_duration_and_has_the_mean_that_was_asked_for() -> None:
    found = load(6.0, profile=[0.0, 1.0, 2.0, 1.0], duration="40s")
    assert [part.from_per_s for part in found.course] == [0.0, 6.0, 12.0, 6.0]
    assert [part.seconds for part in found.course] == [10.0] * 4
    assert found.rate_per_s == pytest.approx(6.0)


def test_at_once_means_due_at_the_start_bounded_by_what_may_be_in_flight() -> None:
    found = load(math.inf, requests=50, max_in_flight=7)
    plan = make_plan(SCENARIO, found, 1, 1, VOCABULARY)
    assert (found.rate_per_s, found.concurrency, found.warmup_requests, found.max_in_flight) == (None, None, 0, 7)
    assert (found.is_open, found.is_at_once, found.is_stationary) == (True, True, False)
    assert total(plan) == 50
    assert {call(plan, seq).due_ns for seq in range(50)} == {0}


def test_a_course_is_in_the_hash_and_a_load_without_one_keeps_the_hash_it_had() -> None:
    def hashed(of: Load) -> str:
        return plan_hash(make_plan(SCENARIO, of, 1, 1, VOCABULARY))

    even = load(6.0, duration="60s")
    assert (
        len(
            {hashed(even), hashed(load((RateSegment(60.0, 2.0, 10.0),))), hashed(load((RateSegment(60.0, 10.0, 2.0),)))}
        )
        == 3
    )
    assert hashed(even) == hashed(replace(even, course=()))
