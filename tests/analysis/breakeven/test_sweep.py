"""The set of volumes is checked against trying every volume, by cost formulas written out anew."""

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import Commitment, SelfHost, SpotReplicas
from analysis.breakeven.states import PriceCurve, stated
from analysis.breakeven.sweep import ALL_BUT_A_TIE, BOTH_FREE, break_even
from analysis.breakeven.sweep import answer as answer_over
from analysis.breakeven.traffic import steady, weekly
from analysis.breakeven.volumes import BreakEven, Span, from_spans
from analysis.money.numbers import SECONDS_PER_MONTH, monthly_usd
from tests.analysis.breakeven.months import lines

RTX_4090 = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
MOST_TRIED = 300


def fixed(usd_per_month: str) -> SelfHost:
    """One replica that is never full, for so much a month in all."""
    return SelfHost(Decimal(usd_per_month), 1_000)


def first(host: SelfHost, usd_per_request: str, **routing: Any) -> int | None:
    answer = break_even(Pairing(host, Decimal(usd_per_request), **routing))
    assert answer.kind == "point"
    assert answer.first == answer.permanent
    return answer.first


# --- worked examples --------------------------------------------------------------------------------------------


def test_the_published_analysis_should_have_found_this() -> None:
    assert first(fixed("298.00"), "0.0045") == 66_223  # G2


def test_a_rented_replica_and_its_operation() -> None:
    assert first(RTX_4090, "0.0045") == 66_267  # G3


def test_a_hybrid_moves_the_break_even_out_by_its_share() -> None:
    assert first(RTX_4090, "0.0045", offered_share=Decimal("0.7")) == 94_667  # G10


@pytest.mark.parametrize(
    ("usd_per_request", "expected"),
    [(".0015", 198_800), (".003", 99_400), (".00015", 1_988_000), (".006", 49_700), (".012", 24_850)],
)
def test_cheaper_models_move_it_out_and_batch_doubles_it(usd_per_request: str, expected: int) -> None:
    host = fixed("298.20")  # G13
    assert first(host, usd_per_request) == expected
    assert first(host, str(Decimal(usd_per_request) / 2)) == 2 * expected


def test_a_replica_that_costs_more_full_than_the_api_never_pays() -> None:
    answer = break_even(Pairing(RTX_4090, Decimal("0.00015")))  # G20
    assert answer == BreakEven("never", (), answer.reasons)
    assert (answer.first, answer.permanent) == (None, None)
    assert answer.reasons == (
        "a request costs $0.000202 on our replicas even when they are full, and saves $0.000150 at the API",
    )


def test_just_above_the_price_of_a_full_replica_self_hosting_wins_and_loses_many_times() -> None:
    answer = break_even(Pairing(RTX_4090, Decimal("0.00021")))
    assert answer.kind == "intervals"
    # Six replicas cost $1,539.20: that many requests at $0.00021, up to six times N1.
    assert answer.spans[0] == Span(7_329_524, 7_358_400)
    assert answer.spans[-1] == Span(38_059_048, None)
    assert (len(answer.spans), answer.first, answer.permanent) == (27, 7_329_524, 38_059_048)


# --- against brute force ----------------------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> Pairing:
    hourly = draw(st.booleans())
    weights = draw(st.lists(st.sampled_from([0, 1, 2, 5]), min_size=7, max_size=7).filter(any))
    committed = st.builds(Commitment, st.integers(0, 3), st.integers(0, 30).map(Decimal))
    host = SelfHost(
        usd_per_replica_month=Decimal(draw(st.integers(0, 40))),
        capacity_rps=draw(st.fractions(3, 40, max_denominator=4)) / SECONDS_PER_MONTH,
        ops_usd_per_month=Decimal(draw(st.integers(0, 60))),
        utilization=1,
        traffic=weekly(weights * 24) if hourly else steady(draw(st.sampled_from([1, 1.5, 3]))),
        autoscale=hourly and draw(st.booleans()),
        min_replicas=draw(st.integers(0, 2)),
        spare_replicas=draw(st.integers(0, 1)),
        commitment=draw(st.none() | committed),
        spot=draw(st.none() | st.just(SpotReplicas(Decimal("0.1"), 3_600))),
    )
    # Prices near that of a full replica are where self-hosting wins and loses many times.
    near = float(lines(host).usd_per_request) * draw(st.sampled_from([0.5, 0.9, 1, 1.05, 1.2, 1.5, 3]))
    return Pairing(
        host,
        Decimal(str(round(near, 3))) if near else Decimal(draw(st.integers(0, 5))),
        offered_share=draw(st.sampled_from([Decimal(1), Decimal(1), Decimal("0.7"), Decimal("0.25")])),
        pass_rate=draw(st.sampled_from([Decimal(1), Decimal(1), Decimal("0.9")])),
    )


def own_usd(host: SelfHost, offered: Fraction) -> Fraction:
    """Ops and every hour's replicas, as the definitions have them."""
    total = Fraction(host.ops_usd_per_month)
    levels = host.traffic.levels if host.autoscale else ((host.traffic.peak, Fraction(1)),)
    for load, hours in levels:
        full = Fraction(host.capacity_rps) * SECONDS_PER_MONTH
        count = max(host.min_replicas, math.ceil(offered * load / full)) + host.spare_replicas
        committed, price = (
            (host.commitment.replicas, host.commitment.usd_per_replica_month) if host.commitment else (0, 0)
        )
        on_demand = max(0, count - committed) * Fraction(host.usd_per_replica_month)
        total += hours * (committed * Fraction(price) + on_demand)
    return total


def wins(pairing: Pairing, volume: int) -> bool:
    """Whether self-hosting, mixed as the pairing says, costs no more than the API alone."""
    offered = volume * Fraction(pairing.offered_share)
    kept = offered * Fraction(pairing.pass_rate) * (Fraction(9, 10) if pairing.host.spot else 1)
    price = Fraction(pairing.usd_per_request)
    return own_usd(pairing.host, offered) + (volume - kept) * price <= volume * price


@settings(deadline=None, max_examples=40)
@given(cases())
def test_the_set_is_what_trying_every_volume_finds(pairing: Pairing) -> None:
    line = lines(pairing.host)
    # A tie at full replicas and nowhere else, or nothing that costs anything, is called never.
    assume(pairing.usd_saved_per_offered != line.usd_per_request or line.low_usd != 0)
    assume(pairing.usd_per_request)
    answer = break_even(pairing)
    found = {volume for volume in range(1, MOST_TRIED) if answer.holds(volume)}
    assert found == {volume for volume in range(1, MOST_TRIED) if wins(pairing, volume)}
    assert all(span.last is None or not answer.holds(span.last + 1) for span in answer.spans)


@settings(deadline=None, max_examples=30)
@given(cases(), st.integers(0, 10_000))
def test_beyond_the_permanent_break_even_it_wins_for_good_and_just_before_it_does_not(
    pairing: Pairing, more: int
) -> None:
    answer = break_even(pairing)
    permanent = answer.permanent
    assume(permanent is not None and ALL_BUT_A_TIE not in answer.reasons)
    assert permanent is not None
    assert wins(pairing, permanent + more)
    assert permanent == 1 or not wins(pairing, permanent - 1)


@settings(deadline=None, max_examples=20)
@given(cases(), st.sampled_from(["0.01", "0.5", "3", "1000"]))
def test_scaling_all_prices_leaves_the_break_evens(pairing: Pairing, factor: str) -> None:
    by, host = Decimal(factor), pairing.host
    committed = host.commitment and replace(
        host.commitment, usd_per_replica_month=host.commitment.usd_per_replica_month * by
    )
    dearer = replace(
        host,
        usd_per_replica_month=host.usd_per_replica_month * by,
        ops_usd_per_month=host.ops_usd_per_month * by,
        commitment=committed,
    )
    assert (
        break_even(replace(pairing, host=dearer, usd_per_request=pairing.usd_per_request * by)).spans
        == break_even(pairing).spans
    )
    assert own_usd(dearer, Fraction(100)) == Fraction(by) * own_usd(host, Fraction(100))


@settings(deadline=None)
@given(st.floats(0.1, 100))
def test_with_one_replica_the_measured_capacity_does_not_matter(capacity_rps: float) -> None:
    host = replace(RTX_4090, capacity_rps=capacity_rps)
    assume(host.requests_at_peak_per_replica >= 66_267)
    assert break_even(Pairing(host, Decimal("0.0045"))).first == 66_267


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(0, 500), st.integers(1, 100))
def test_for_a_known_peak_the_spans_are_those_of_the_closed_form(full: int, ops: int, cents: int) -> None:
    host = SelfHost(Decimal(10), Fraction(full, SECONDS_PER_MONTH), Decimal(ops), 1)
    a = Fraction(cents, 100)
    assume(a > Fraction(10, full))
    expected: set[int] = set()
    for k in range(1, MOST_TRIED // full + 2):
        least = max((k - 1) * full + 1, math.ceil((ops + 10 * k) / a))
        expected |= set(range(least, k * full + 1))
    answer = break_even(Pairing(host, Decimal(cents) / 100))
    assert {volume for volume in range(1, MOST_TRIED) if answer.holds(volume)} == {
        v for v in expected if v < MOST_TRIED
    }


# --- kinds and reasons ------------------------------------------------------------------------------------------


def test_hardware_that_costs_nothing_always_pays() -> None:
    assert break_even(Pairing(SelfHost(Decimal(0), 1.0), Decimal("0.001"))) == BreakEven("always", (Span(1, None),))


def test_where_both_cost_nothing_neither_is_dearer() -> None:
    assert break_even(Pairing(SelfHost(Decimal(0), 1.0), Decimal(0))) == BreakEven(
        "always", (Span(1, None),), (BOTH_FREE,)
    )
    assert break_even(Pairing(RTX_4090, Decimal("0.0045"), offered_share=0)).kind == "always"
    idle = SelfHost(Decimal(9), 1.0, utilization=1, min_replicas=0, commitment=Commitment(1, Decimal(0)))
    assert break_even(Pairing(idle, Decimal(0))).spans == (Span(1, SECONDS_PER_MONTH),)


def test_commitments_may_pay_for_a_while_and_never_for_good() -> None:
    host = SelfHost(
        Decimal(100), Fraction(100, SECONDS_PER_MONTH), utilization=1, commitment=Commitment(2, Decimal(30))
    )
    answer = break_even(Pairing(host, Decimal("0.8")))
    # Two committed replicas cost 60 and save up to 160; each further one costs 100 and saves up to 80.
    assert answer.spans == (Span(75, 300), Span(325, 400), Span(450, 500), Span(575, 600), Span(700, 700))
    assert (answer.kind, answer.permanent) == ("intervals", None)
    assert answer.reasons[0].startswith(
        "a request costs $1.00 on our replicas even when they are full, and saves $0.80"
    )


@pytest.mark.parametrize(
    ("pairing", "says"),
    [
        (
            Pairing(replace(RTX_4090, capacity_rps=0), Decimal("0.0045")),
            "the objectives are met at no rate (capacity 0)",
        ),
        (Pairing(RTX_4090, Decimal("0.0045"), pass_rate=0), "a request that we serve saves nothing"),
        (Pairing(RTX_4090, Decimal(0)), "a request that we serve saves nothing"),
        (Pairing(RTX_4090, Decimal("0.00015"), overflow=True), "a request costs $0.000202 on our replicas"),
    ],
)
def test_never_says_why(pairing: Pairing, says: str) -> None:
    answer = break_even(pairing)
    assert answer.kind == "never"
    assert answer.reasons[0].startswith(says)


def test_overflow_pays_from_the_first_break_even_on_for_good() -> None:
    pairing = Pairing(RTX_4090, Decimal("0.00021"))
    assert break_even(replace(pairing, overflow=True)) == BreakEven("point", (Span(7_329_524, None),))
    assert break_even(pairing).first == 7_329_524


def test_prices_all_but_equal_are_said_to_be_and_end_in_time() -> None:
    full = lines(RTX_4090).usd_per_request
    price = Decimal("0.000202381")
    assert 1 < Fraction(price) / full < 1 + Fraction(1, 1_000_000)
    count = math.ceil(50 / (Fraction(price) * 1_226_400 - Fraction("248.2")))
    answer = break_even(Pairing(RTX_4090, price))
    assert answer.reasons == (ALL_BUT_A_TIE,)
    assert answer.first == math.ceil((50 + Fraction("248.2") * count) / Fraction(price))


def test_an_answer_of_several_spans_knows_its_ends() -> None:
    answer = from_spans((Span(3, 5), Span(9, None)))
    assert (answer.kind, answer.first, answer.permanent) == ("intervals", 3, 9)
    assert [answer.holds(volume) for volume in (2, 3, 5, 6, 8, 9, 10**9)] == [
        False,
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert from_spans((Span(3, 5),)).kind == "intervals"
    assert from_spans((Span(3, 5),)).permanent is None


# --- prices that depend on the volume ---------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(cases())
def test_a_flat_curve_gives_the_exact_answer(pairing: Pairing) -> None:
    exact = break_even(pairing)
    assume(pairing.usd_per_request and len(exact.spans) < 50 and ALL_BUT_A_TIE not in exact.reasons)
    curve = PriceCurve(lambda volume: np.full(volume.shape, float(pairing.usd_per_request)), 1, pairing.usd_per_request)
    found, _ = answer_over(pairing, stated(pairing, curve))
    known = found.known_to or MOST_TRIED**2
    # At the price of a full replica the winner may change for ever, which is told from a trillion requests on.
    assert pairing.overflow or known >= MOST_TRIED**2
    assert [span for span in found.spans if span.first < known] == [
        span if span.last and span.last < known else Span(span.first, found.known_to)
        for span in exact.spans
        if span.first < known
    ]


def test_a_price_that_falls_with_volume_may_pay_early_and_never_later() -> None:
    # $0.01 a request up to about 20,000 a month, down to $0.0001 far beyond.
    host = SelfHost(Decimal(60), Fraction(100_000, SECONDS_PER_MONTH), utilization=1)

    def price(volume: Any) -> Any:
        return 0.0001 + 0.0099 * np.exp(-volume / 20_000)

    pairing = Pairing(host, Decimal("0.0001"))
    answer, _ = answer_over(pairing, stated(pairing, PriceCurve(price, 20_000 * 40, Decimal("0.0001"))))
    paying = [volume for volume in range(1, 300_000, 7) if volume * price(volume) >= 60 * math.ceil(volume / 100_000)]
    assert answer.kind == "intervals"
    assert answer.permanent is None
    assert {answer.holds(volume) for volume in paying} == {True}
    assert not any(answer.holds(volume) for volume in set(range(1, 300_000, 7)) - set(paying))
