"""Draws are tested by what they promise: that 95 of 100 of their intervals hold the truth."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.money.breakeven import Answer, break_even
from analysis.money.numbers import SECONDS_PER_MONTH, monthly_usd
from analysis.money.routing import Case
from analysis.money.selfhost import Commitment, SelfHost, steady, weekly
from analysis.money.uncertainty import (
    FEW,
    MOST_GROUPS,
    Draws,
    assess,
    first_draws,
    interval_draws,
    judge,
    mean_draws,
    p_cheaper,
    tornado,
)
from bench.types import UserError

RTX_4090 = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
CASE = Case(RTX_4090, Decimal("0.0045"))


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def sure(usd_per_request: float, capacity_rps: float = 2.0) -> Draws:
    return Draws(np.full(100, usd_per_request), np.full(100, capacity_rps), requests=1_000, capacity_runs=5)


def unsure(usd_per_request: float, spread: float, capacity_low: float = 2.0, capacity_high: float = 2.0) -> Draws:
    prices = rng().normal(usd_per_request, spread, 10_000)
    return Draws(prices, interval_draws(capacity_low, capacity_high, rng(4)), requests=1_000, capacity_runs=5)


# --- draws ------------------------------------------------------------------------------------------------------


def coverage(simulate: Any, truth: float, repeats: int = 300, draws: int = 600) -> float:
    """How often the central 95% of the draws hold the truth; `simulate` gives (values, clusters)."""
    generator = rng(17)
    hits = 0
    for _ in range(repeats):
        values, clusters = simulate(generator)
        low, high = np.quantile(mean_draws(values, generator, clusters, draws), [0.025, 0.975])
        hits += low <= truth <= high
    return hits / repeats


def test_the_interval_of_a_mean_cost_holds_the_true_one() -> None:
    seen = coverage(lambda generator: (generator.gamma(2.0, 0.5, 400), None), truth=1.0)
    assert 0.92 <= seen <= 0.98


def test_so_it_does_where_many_requests_are_resampled_in_groups() -> None:
    seen = coverage(lambda generator: (generator.gamma(2.0, 0.5, 2 * MOST_GROUPS), None), 1.0, repeats=200, draws=300)
    assert 0.91 <= seen <= 0.985


@pytest.mark.parametrize("runs", [2, 5, FEW, 2 * FEW])
def test_so_it_does_where_requests_of_a_run_are_alike_however_few_the_runs(runs: int) -> None:
    def simulate(generator: np.random.Generator) -> Any:
        sizes = generator.integers(20, 60, runs)
        shared = generator.normal(0, 0.3, runs)
        return np.repeat(1 + shared, sizes) + generator.normal(0, 0.5, sizes.sum()), np.repeat(np.arange(runs), sizes)

    assert 0.92 <= coverage(simulate, truth=1.0) <= 0.98


def test_draws_centre_on_the_mean_and_spread_as_its_standard_error() -> None:
    values = rng().lognormal(-5, 1, 20_000)
    drawn = mean_draws(values, rng())
    assert drawn.mean() == pytest.approx(values.mean(), rel=1e-3)
    assert drawn.std() == pytest.approx(values.std() / np.sqrt(len(values)), rel=0.06)


def test_draws_are_the_same_for_the_same_seed_and_in_the_values_own_unit() -> None:
    values = rng().lognormal(-5, 1, 300)
    assert np.array_equal(mean_draws(values, rng(1)), mean_draws(values, rng(1)))
    assert mean_draws(values * 1_000, rng(1)) == pytest.approx(1_000 * mean_draws(values, rng(1)))


def test_draws_of_an_interval_hold_it_with_95_percent() -> None:
    drawn = interval_draws(1.8, 2.2, rng())
    assert np.quantile(drawn, [0.025, 0.5, 0.975]) == pytest.approx([1.8, 2.0, 2.2], abs=0.01)
    assert interval_draws(0.0, 0.1, rng()).min() == 0
    assert set(interval_draws(2.0, 2.0, rng())) == {2.0}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: mean_draws([1.0], rng()), "uncertainty needs two independent measurements"),
        (lambda: mean_draws([1.0, 2.0], rng(), ["run 1", "run 1"]), "uncertainty needs two independent measurements"),
        (lambda: mean_draws([1.0, float("nan")], rng()), "what is unknown cannot be resampled"),
        (lambda: interval_draws(2.2, 1.8, rng()), "--capacity-rps 2.2..1.8: expected an interval"),
        (lambda: interval_draws(-1, 1.8, rng()), "--capacity-rps: lower end -1"),
    ],
)
def test_wrong_input_is_one_line_that_says_what_was_expected(make: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


# --- how sure the comparison is ---------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> Case:
    hourly = draw(st.booleans())
    weights = draw(st.lists(st.sampled_from([0, 1, 2, 5]), min_size=7, max_size=7).filter(any))
    overflow = draw(st.booleans())
    host = SelfHost(
        usd_per_replica_month=Decimal(draw(st.integers(1, 40))),
        capacity_rps=draw(st.fractions(300, 4_000, max_denominator=4)) / SECONDS_PER_MONTH,
        ops_usd_per_month=Decimal(draw(st.integers(1, 60))),
        utilization=1,
        traffic=weekly(weights * 24) if hourly else steady(draw(st.sampled_from([1, 1.5, 3]))),
        autoscale=hourly and draw(st.booleans()),
        commitment=draw(st.none() | st.builds(Commitment, st.integers(0, 3), st.integers(1, 30).map(Decimal))),
    )
    price = Decimal(draw(st.integers(1, 400))) / 1_000
    share = Decimal(1) if overflow else draw(st.sampled_from([Decimal(1), Decimal("0.7")]))
    return Case(host, price, share, Decimal("0.9"), overflow)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_the_break_even_of_every_draw_is_the_exact_one(case: Case) -> None:
    draws = Draws(
        float(case.usd_per_request) * np.array([0.5, 1.0, 1.0, 1.5]),
        float(case.host.capacity_rps) * np.array([1.0, 1.0, 2.0, 1.0]),
        requests=100,
    )
    for drawn, price, capacity in zip(first_draws(case, draws), (5, 10, 10, 15), (1, 1, 2, 1), strict=True):
        host = replace(case.host, capacity_rps=case.host.requests_per_replica_month * capacity / SECONDS_PER_MONTH)
        first = break_even(replace(case, host=host, usd_per_request=case.usd_per_request * price / 10)).first
        # Where the line of full replicas all but meets the API's, the last digits decide between steps.
        assert drawn == pytest.approx(float("inf") if first is None else first, rel=1e-9, abs=1)


def test_where_nothing_is_open_the_chance_is_none_or_all() -> None:
    seen = assess(CASE, sure(0.0045), np.array([66_266.0, 66_267.0]))
    assert seen.p_cheaper.tolist() == [0.0, 1.0]
    assert (seen.low, seen.median, seen.high, seen.never_share) == (66_267, 66_267, 66_267, 0.0)


def test_the_break_even_has_a_median_and_an_interval() -> None:
    drawn = unsure(0.0045, 0.0002)
    seen = assess(CASE, drawn, np.array([60_000.0, 66_267.0, 75_000.0]))
    dear, cheap = np.quantile(drawn.usd_per_request, [0.025, 0.975])
    assert seen.low == pytest.approx(298.2 / cheap, rel=1e-3)
    assert seen.high == pytest.approx(298.2 / dear, rel=1e-3)
    assert seen.median == pytest.approx(66_267, rel=0.005)
    assert seen.p_cheaper == pytest.approx([0.01, 0.5, 0.995], abs=0.02)
    assert np.all(np.diff(seen.p_cheaper) > 0)


def test_overflow_that_has_paid_once_pays_at_every_larger_volume() -> None:
    case = replace(CASE, overflow=True)
    drawn = unsure(0.00024, 0.00002)
    volumes = np.geomspace(1e5, 1e8, 20)
    seen = assess(case, drawn, volumes)
    assert seen.p_cheaper.tolist() == [p_cheaper(case, drawn, volume) for volume in volumes]
    assert np.all(np.diff(seen.p_cheaper) >= 0)


def test_draws_without_a_break_even_are_counted_and_end_the_interval() -> None:
    draws = Draws(np.array([0.00015] * 30 + [0.0045] * 70), np.full(100, 2.0), requests=100)
    seen = assess(CASE, draws, np.array([1e6]))
    assert (seen.never_share, seen.median, seen.high) == (0.3, 66_267, None)
    assert seen.p_cheaper.tolist() == [0.7]


def test_a_draw_without_capacity_never_pays() -> None:
    assert first_draws(CASE, sure(0.0045, 0.0)).tolist() == [np.inf] * 100
    assert first_draws(replace(CASE, offered_share=0), sure(0.0045)).tolist() == [np.inf] * 100
    assert p_cheaper(CASE, sure(0.0045, 0.0), 1e6) == 0


def test_the_interval_of_the_break_even_holds_the_true_one() -> None:
    generator, hits = rng(23), 0
    for _ in range(200):
        costs = generator.gamma(2.0, 0.00225, 300)
        draws = Draws(mean_draws(costs, generator, draws=500), np.full(500, 2.0), requests=300)
        seen = assess(CASE, draws, np.array([]))
        assert seen.low is not None and seen.high is not None
        hits += seen.low <= 66_267 <= seen.high
    assert 0.90 <= hits / 200 <= 0.985


# --- the verdict ------------------------------------------------------------------------------------------------


def judged(draws: Draws, volume: int, case: Case = CASE) -> Answer:
    return judge(case, break_even(case), draws, volume)


@pytest.mark.parametrize(("volume", "kind"), [(50_000, "point"), (66_000, "undecided"), (90_000, "point")])
def test_below_95_percent_either_way_the_answer_is_undecided(volume: int, kind: str) -> None:
    answer = judged(unsure(0.0045, 0.0002), volume)
    assert answer.kind == kind
    assert answer.first == 66_267


def test_an_undecided_answer_names_how_many_more_requests_to_price() -> None:
    reasons = judged(unsure(0.0045, 0.0002), 68_000).reasons
    assert reasons[0].startswith("at 68,000 requests/month self-hosting is no dearer with a probability of 7")
    # The API costs $7.80 more, give or take $13.60: (1.645 × 13.6 / 7.8)² ≈ 8.2 times as many requests.
    assert reasons[1].startswith("what would decide it: price about 8,")
    assert reasons[1].endswith(" requests (now 1,000)")


def test_where_capacity_is_what_is_open_it_is_to_be_measured_again() -> None:
    # Two million requests need two replicas for $546.40 at 2 requests/s and three for $794.60 below 1.63; the API $650.
    case = replace(CASE, usd_per_request=Decimal("0.000325"))
    drawn = unsure(0.000325, 1e-9, 1.2, 2.4)
    assert "find the capacity in about" in judged(drawn, 2_000_000, case).reasons[1]
    given_as_interval = replace(drawn, capacity_runs=None)
    assert "measure the capacity to an interval" in judged(given_as_interval, 2_000_000, case).reasons[1]


def test_a_capacity_that_may_be_none_is_to_be_measured_again() -> None:
    drawn = Draws(np.full(100, 0.0045), np.array([0.0] * 40 + [2.0] * 60), requests=1_000, capacity_runs=5)
    answer = judge(CASE, break_even(CASE), drawn, 100_000)
    assert answer.kind == "undecided"
    assert "find the capacity in about" in answer.reasons[1]


def test_at_least_twice_the_measurements_are_asked_for() -> None:
    # A chance of 92% wants hardly more of them.
    answer = judged(unsure(0.0045, 0.0002), 70_500)
    assert answer.reasons[1] == "what would decide it: price about 2,000 requests (now 1,000)"


def test_two_ways_that_cost_the_same_are_not_told_apart_by_measuring() -> None:
    assert judged(unsure(298.2 / 66_267, 0.0002), 66_267).reasons[1].endswith("decide on other grounds")


# --- scenarios --------------------------------------------------------------------------------------------------


def test_the_tornado_shows_first_what_moves_the_month_most() -> None:
    def host(**other: Any) -> Case:
        return replace(CASE, host=replace(RTX_4090, **other))

    bars = tornado(
        {
            "peak over mean": (host(traffic=steady(1)), host(traffic=steady(4))),
            "rent": (host(usd_per_replica_month=Decimal(200)), host(usd_per_replica_month=Decimal(300))),
            "API price": (
                replace(CASE, usd_per_request=Decimal("0.002")),
                replace(CASE, usd_per_request=Decimal("0.006")),
            ),
            "capacity": (host(capacity_rps=0), host(capacity_rps=4)),
        },
        100_000,
    )
    assert [bar.name for bar in bars] == ["capacity", "API price", "rent", "peak over mean"]
    by_name = {bar.name: bar for bar in bars}
    assert by_name["capacity"].saving_usd_at_low == Decimal("-Infinity")
    assert (by_name["capacity"].first_at_low, by_name["capacity"].first_at_high) == (None, 66_267)
    assert by_name["API price"].swing_usd == 400
    assert (by_name["API price"].saving_usd_at_low, by_name["API price"].first_at_low) == (Decimal("-98.2"), 149_100)
    assert by_name["rent"].swing_usd == 100
    assert by_name["peak over mean"].swing_usd == 0
