"""The cheapest number of replicas is checked against trying every number, hour by hour."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import Commitment, SelfHost
from analysis.breakeven.staircase import staircase
from analysis.breakeven.sweep import break_even
from analysis.breakeven.traffic import steady, weekly
from analysis.money.numbers import SECONDS_PER_MONTH, decimal
from tests.analysis.breakeven.months import exact_usd, filled

MOST_VOLUME = 60
SAVINGS = st.fractions(0, 8, max_denominator=8)


@st.composite
def hosts(draw: st.DrawFn) -> SelfHost:
    hourly = draw(st.booleans())
    weights = draw(st.lists(st.sampled_from([0, 1, 2, 5]), min_size=7, max_size=7).filter(any))
    return SelfHost(
        usd_per_replica_month=Decimal(draw(st.integers(1, 40))),
        capacity_rps=draw(st.fractions(5, 20, max_denominator=3)) / SECONDS_PER_MONTH,
        ops_usd_per_month=Decimal(draw(st.integers(0, 40))),
        utilization=1,
        traffic=weekly(weights * 24) if hourly else steady(draw(st.sampled_from([1, 1.5, 3]))),
        autoscale=hourly and draw(st.booleans()),
        min_replicas=draw(st.integers(0, 2)),
        spare_replicas=draw(st.integers(0, 1)),
        commitment=draw(st.none() | st.builds(Commitment, st.integers(0, 3), st.integers(0, 30).map(Decimal))),
    )


def gain(host: SelfHost, volume: int, saved: Fraction) -> Fraction:
    """What self-hosting gains at best, each number of replicas tried; may be negative."""

    def of(hours: list[tuple[Fraction, Fraction]], count: int) -> Fraction:
        c, committed, p = Fraction(host.usd_per_replica_month), 0, Fraction(0)
        if host.commitment:
            committed, p = host.commitment.replicas, Fraction(host.commitment.usd_per_replica_month)
        paid = committed * p + max(0, count + host.spare_replicas - committed) * c
        full = count * host.requests_per_replica_month
        return sum((share * (saved * min(volume * load, full) - paid) for load, share in hours), Fraction(0))

    least = max(host.min_replicas, 0 if host.autoscale else 1)
    most = max(least, math.ceil(volume * host.traffic.peak / host.requests_per_replica_month)) + 3
    levels = [(level.load, level.hours_share) for level in host.traffic.levels]
    groups = [[level] for level in levels] if host.autoscale else [levels]
    best = (max(of(group, count) for count in range(least, most + 1)) for group in groups)
    return sum(best, Fraction(0)) - Fraction(host.ops_usd_per_month)


@settings(deadline=None, max_examples=50)
@given(hosts(), st.integers(1, MOST_VOLUME), SAVINGS)
def test_no_other_number_of_replicas_is_cheaper(host: SelfHost, volume: int, saved: Fraction) -> None:
    month = filled(host, volume, saved)
    assert month.offered * saved - month.usd == gain(host, volume, saved)
    assert month.offered <= volume


@settings(deadline=None, max_examples=40)
@given(hosts(), st.lists(st.integers(1, MOST_VOLUME), min_size=1), SAVINGS)
def test_the_curve_is_as_cheap_as_the_exact_month(host: SelfHost, volumes: list[int], saved: Fraction) -> None:
    steps = staircase(host, exactly=False)
    full = steps.full(np.array([float(host.capacity_rps)]))
    month = steps.fill(np.array(volumes, np.float64), full, np.array([float(saved)]))
    exact = [float(gain(host, volume, saved)) for volume in volumes]
    assert month.offered * float(saved) - month.usd == pytest.approx(exact, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(hosts(), st.integers(1, MOST_VOLUME), SAVINGS)
def test_filling_is_never_dearer_than_serving_everything(host: SelfHost, volume: int, saved: Fraction) -> None:
    month = filled(host, volume, saved)
    assert month.usd + (volume - month.offered) * saved <= exact_usd(host, volume)


@settings(deadline=None, max_examples=12)
@given(hosts(), st.integers(0, 64))
def test_it_pays_from_the_first_volume_that_pays_and_never_where_none_does(host: SelfHost, eighths: int) -> None:
    saved = Fraction(eighths, 8)
    first = break_even(Pairing(host, decimal(saved), overflow=True)).first
    paying = [volume for volume in range(1, MOST_VOLUME) if gain(host, volume, saved) >= 0]
    if paying:
        assert first == paying[0]
        assert paying == list(range(paying[0], MOST_VOLUME))
    else:
        assert first is None or first >= MOST_VOLUME


def test_with_a_known_peak_one_replica_carries_its_share_of_the_month() -> None:
    host = SelfHost(Decimal("248.20"), 2.0, Decimal(50), 0.7, steady(3))
    month = filled(host, 8_000_000, Fraction(21, 100_000))
    assert month.replicas == 6
    assert month.offered == 6 * 1_226_400
    assert month.usd == 50 + 6 * Fraction("248.20")


def test_a_capacity_of_zero_serves_nothing() -> None:
    host = SelfHost(Decimal(100), 0.0)
    steps = staircase(host, exactly=False)
    month = steps.fill(np.array([1000.0]), steps.full(np.array([0.0])), np.array([0.01]))
    assert (month.usd.tolist(), month.offered.tolist()) == ([100.0], [0.0])
