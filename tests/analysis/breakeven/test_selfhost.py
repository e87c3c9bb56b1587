import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.selfhost import Commitment, SelfHost, SpotReplicas
from analysis.breakeven.staircase import staircase
from analysis.breakeven.traffic import observed, steady, weekly
from analysis.money.numbers import SECONDS_PER_MONTH, exact, monthly_usd
from bench.types import UserError
from tests.analysis.breakeven.months import exact_usd, lines, replicas, served

# Worked example G19.
RTX_4090 = SelfHost(
    usd_per_replica_month=monthly_usd(Decimal("0.34")),
    capacity_rps=2.0,
    ops_usd_per_month=Decimal(50),
    utilization=0.7,
    traffic=steady(3),
)


def small(requests_per_replica: Fraction | int, **other: Any) -> SelfHost:
    """A host whose replicas are full at a few requests a month, so that volumes can be tried one by one."""
    capacity = Fraction(requests_per_replica) / SECONDS_PER_MONTH
    return SelfHost(capacity_rps=capacity, utilization=1, **other)


def curve(host: SelfHost, volumes: list[int]) -> Any:
    """The bill over volumes, in float64."""
    steps = staircase(host, exactly=False)
    return steps.serve(np.array(volumes, np.float64), steps.full(np.array([float(host.capacity_rps)]))).usd


@st.composite
def hosts(draw: st.DrawFn) -> SelfHost:
    hourly = draw(st.booleans())
    weights = draw(st.lists(st.sampled_from([0, 1, 2, 5]), min_size=7, max_size=7).filter(any))
    committed = st.builds(Commitment, st.integers(0, 3), st.integers(0, 30).map(Decimal))
    return small(
        draw(st.fractions(3, 40, max_denominator=4)),
        usd_per_replica_month=Decimal(draw(st.integers(0, 50))),
        ops_usd_per_month=Decimal(draw(st.integers(0, 100))),
        traffic=weekly(weights * 24) if hourly else steady(draw(st.sampled_from([1, 1.5, 3]))),
        autoscale=hourly and draw(st.booleans()),
        min_replicas=draw(st.integers(0, 2)),
        spare_replicas=draw(st.integers(0, 1)),
        commitment=draw(st.none() | committed),
    )


@pytest.mark.parametrize(
    ("requests_per_month", "count", "usd"),
    [(1, 1, "298.20"), (1_226_400, 1, "298.20"), (1_226_401, 2, "546.40"), (3_000_000, 3, "794.60")],
)
def test_the_worked_staircase_is_exact(requests_per_month: int, count: int, usd: str) -> None:
    assert RTX_4090.requests_at_peak_per_replica == 1_226_400
    assert replicas(RTX_4090, requests_per_month) == count
    assert exact_usd(RTX_4090, requests_per_month) == Fraction(usd)


@settings(deadline=None, max_examples=30)
@given(hosts(), st.integers(1, 500), st.integers(0, 100))
def test_cost_never_falls_when_volume_grows(host: SelfHost, volume: int, more: int) -> None:
    assert exact_usd(host, volume) <= exact_usd(host, volume + more)


@settings(deadline=None, max_examples=30)
@given(hosts(), st.lists(st.integers(1, 2_000), min_size=1))
def test_the_curve_is_the_exact_cost_at_every_whole_volume(host: SelfHost, volumes: list[int]) -> None:
    assert curve(host, volumes) == pytest.approx([float(exact_usd(host, volume)) for volume in volumes])


def test_the_curve_keeps_to_the_step_at_its_very_corner() -> None:
    corners = [k * 1_226_400 for k in range(1, 2_000)]
    assert np.array_equal(curve(RTX_4090, corners), 50 + 248.2 * np.arange(1, 2_000))


@settings(deadline=None, max_examples=30)
@given(hosts(), st.integers(1, 500))
def test_two_lines_enclose_the_staircase(host: SelfHost, volume: int) -> None:
    slope, low, high = lines(host)
    assert low + slope * volume <= exact_usd(host, volume) <= high + slope * volume


@settings(deadline=None, max_examples=30)
@given(hosts(), st.integers(1, 300))
def test_cost_rises_first_after_the_last_volume_at_the_same_replicas(host: SelfHost, volume: int) -> None:
    steps = staircase(host, exactly=True)
    full = steps.full(np.array([exact(host.capacity_rps)]))
    last = math.floor(steps.last_at_same_cost(np.array([volume], np.object_), full)[0])
    assert last >= volume
    assert exact_usd(host, last) == exact_usd(host, volume)


@pytest.mark.parametrize("autoscale", [False, True])
def test_replicas_follow_every_hour_of_the_week_or_stay_at_its_peak(autoscale: bool) -> None:
    weights = [Fraction(1 + hour % 24, 2) if hour < 120 else Fraction(0) for hour in range(168)]
    host = replace(RTX_4090, traffic=weekly(weights), autoscale=autoscale, min_replicas=2)
    volume, hours_each = 3_000_000, Fraction(730, 168)
    per_second = [volume * weight / sum(weights) / hours_each / 3600 for weight in weights]
    needed = [max(2, math.ceil(rate / (2 * Fraction(7, 10)))) for rate in per_second]
    paid = needed if autoscale else [max(needed)] * 168
    assert exact_usd(host, volume) == 50 + sum(hours_each * Fraction(34, 100) * count for count in paid)
    assert replicas(host, volume) == max(needed)


def test_spare_replicas_are_paid_beside_those_that_serve() -> None:
    host = replace(RTX_4090, spare_replicas=1)
    assert replicas(host, 1_226_400) == 2
    assert exact_usd(host, 1_226_400) == Fraction("546.40")


def test_committed_replicas_are_paid_used_or_not_and_more_of_them_on_demand() -> None:
    host = replace(RTX_4090, commitment=Commitment(2, Decimal(100)))
    assert [exact_usd(host, k * 1_226_400) for k in (1, 2, 3)] == [250, 250, Fraction("498.20")]


def test_a_spot_replica_serves_when_it_is_not_loading() -> None:
    spot = SpotReplicas(interruptions_per_hour=Decimal("0.05"), reload_s=180)
    assert replace(RTX_4090, spot=spot).availability == Fraction(9975, 10_000)
    assert RTX_4090.availability == 1
    with pytest.raises(UserError, match="--spot-reload-s 3600: at 1 interruptions per hour"):
        SpotReplicas(1, 3600)


def test_no_replica_keeps_the_objectives_at_capacity_zero() -> None:
    host = replace(RTX_4090, capacity_rps=0)
    assert served(host, 1).usd[0] == np.inf
    steps = staircase(RTX_4090, exactly=False)
    usd = steps.serve(np.array([1.0]), steps.full(np.array([0.0, 2.0]))).usd
    assert np.array_equal(usd, [np.inf, 298.2])


def test_a_trace_tells_the_volume_of_a_month_and_the_load_of_its_hours() -> None:
    # Hours with 3, 0 and 1 requests; the fourth is not finished.
    volume, traffic = observed([100.0, 1000.0, 3000.0, 9000.0, 11_000.0])
    assert volume == round(4 * 730 / 3)
    assert [(level.load, level.hours_share) for level in traffic.levels] == [
        (0, Fraction(1, 3)),
        (Fraction(3, 4), Fraction(1, 3)),
        (Fraction(9, 4), Fraction(1, 3)),
    ]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 9), min_size=168, max_size=168).filter(any))
def test_the_mean_load_of_a_week_is_one(weights: list[int]) -> None:
    traffic = weekly(weights)
    assert sum(level.hours_share for level in traffic.levels) == 1
    assert sum(level.load * level.hours_share for level in traffic.levels) == 1
    assert traffic.peak == Fraction(max(weights) * 168, sum(weights))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: replace(RTX_4090, usd_per_replica_month=Decimal(-1)), "--usd-per-hour -1"),
        (lambda: replace(RTX_4090, usd_per_replica_month=None), "--usd-per-hour is missing"),  # type: ignore[arg-type]
        (lambda: replace(RTX_4090, ops_usd_per_month=Decimal("NaN")), "--ops-usd-per-month NaN"),
        (lambda: replace(RTX_4090, capacity_rps=-2.0), "--capacity-rps -2.0"),
        (lambda: replace(RTX_4090, utilization=0), "--utilization 0: expected a share above 0"),
        (lambda: replace(RTX_4090, utilization=70), "--utilization 70"),
        (lambda: replace(RTX_4090, min_replicas=-1), "--min-replicas -1"),
        (lambda: replace(RTX_4090, autoscale=True), "--autoscale needs the hours of the traffic"),
        (lambda: Commitment(2, Decimal(-1)), "--commit-usd-per-hour -1"),
        (lambda: steady(0.5), "--peak-to-mean 0.5: expected 1 or more"),
        (lambda: weekly([1] * 25), "--traffic-profile has 25 weights: expected"),
        (lambda: weekly([0] * 168), "--traffic-profile has no traffic"),
        (lambda: weekly([-1] * 168), "--traffic-profile: weight -1"),
        (lambda: observed([0.0, 3599.0]), "--traffic holds less than an hour"),
    ],
)
def test_wrong_input_is_one_line_that_names_the_flag(make: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
