from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.bills import bills
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import SelfHost, SpotReplicas
from analysis.breakeven.states import PriceCurve, States, stated
from analysis.breakeven.traffic import steady
from analysis.money.numbers import decimal, monthly_usd
from bench.types import UserError
from tests.analysis.breakeven.months import exact_usd, month

RTX_4090 = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
SONNET = Decimal("0.0045")
VOLUMES = st.integers(1, 20_000_000)
SHARES = st.sampled_from([Decimal("0.1"), 0.5, Decimal("0.95"), 1])


def test_an_api_alone_costs_its_price_per_request() -> None:
    # Worked example G8.
    months = [month(Pairing(RTX_4090, SONNET), volume) for volume in (30_000, 100_000, 300_000, 1_000_000)]
    assert [it.api_usd for it in months] == [135, 450, 1_350, 4_500]
    assert [it.mixed_usd for it in months] == [Decimal("298.2")] * 4
    assert [it.saving_usd for it in months][:2] == [Decimal("-163.2"), Decimal("151.8")]


@pytest.mark.parametrize(
    ("volume", "mixed_usd", "api_usd"),
    [(100_000, "433.20", "450"), (150_000, "500.70", "675"), (500_000, "973.20", "2250")],
)
def test_the_worked_hybrid_is_exact(volume: int, mixed_usd: str, api_usd: str) -> None:
    # Worked example G10.
    seen = month(Pairing(RTX_4090, SONNET, offered_share=Decimal("0.7")), volume)
    assert (seen.mixed_usd, seen.api_usd) == (Decimal(mixed_usd), Decimal(api_usd))
    assert (seen.replicas, seen.api_share) == (1, Decimal("0.3"))


@settings(deadline=None)
@given(VOLUMES)
def test_a_hybrid_of_nothing_is_the_api_and_one_of_everything_is_self_hosting(volume: int) -> None:
    nothing, everything = (month(Pairing(RTX_4090, SONNET, offered_share=share), volume) for share in (0, 1))
    assert (nothing.mixed_usd, nothing.replicas, nothing.api_share) == (nothing.api_usd, 0, Decimal(1))
    assert (everything.mixed_usd, everything.api_share) == (decimal(exact_usd(RTX_4090, volume)), Decimal(0))


@settings(deadline=None)
@given(VOLUMES, SHARES)
def test_a_cascade_pays_for_all_on_our_replicas_and_for_those_that_fail_at_the_api(volume: int, rate: float) -> None:
    seen = month(Pairing(RTX_4090, SONNET, pass_rate=rate), volume)
    assert seen.mixed_usd == decimal(exact_usd(RTX_4090, volume)) + (1 - Decimal(str(rate))) * volume * SONNET


def test_what_a_spot_replica_misses_while_it_loads_is_paid_at_the_api() -> None:
    host = replace(RTX_4090, spot=SpotReplicas(Decimal("0.1"), 360))
    seen = month(Pairing(host, SONNET), 100_000)
    assert seen.api_share == Decimal("0.01")
    assert seen.mixed_usd == Decimal("298.20") + 1_000 * SONNET


@settings(deadline=None)
@given(VOLUMES, st.integers(0, 1_000_000), SHARES, SHARES, st.booleans())
def test_cost_never_falls_when_volume_grows(volume: int, more: int, share: float, rate: float, overflow: bool) -> None:
    pairing = Pairing(RTX_4090, Decimal("0.0003"), 1 if overflow else share, rate, overflow)
    assert month(pairing, volume).mixed_usd <= month(pairing, volume + more).mixed_usd


@settings(deadline=None)
@given(st.lists(VOLUMES, min_size=1), SHARES, SHARES, st.booleans())
def test_the_curves_are_the_exact_month_at_every_volume(
    volumes: list[int], share: float, rate: float, overflow: bool
) -> None:
    pairing = Pairing(RTX_4090, Decimal("0.0003"), 1 if overflow else share, rate, overflow)
    at, months = np.array(volumes, np.float64), [month(pairing, volume) for volume in volumes]
    seen = bills(pairing, stated(pairing).rounded(), at)
    assert seen.alone_usd[0] == pytest.approx([float(it.api_usd) for it in months])
    assert seen.mixed_usd[0] == pytest.approx([float(it.mixed_usd) for it in months])
    assert seen.saving_usd[0] == pytest.approx([float(it.saving_usd) for it in months], abs=1e-6)


def test_states_of_price_and_capacity_stand_in_for_the_pairing_s_own() -> None:
    pairing = Pairing(RTX_4090, SONNET)
    drawn = bills(pairing, States(np.ones(2), np.array([2.0, 4.0])), np.array([2_000_000])).mixed_usd
    assert drawn[:, 0] == pytest.approx([546.4, 298.2])
    cheaper = States(np.array([1, 0.002 / 0.0045]), np.array([2.0, 2.0]))
    assert bills(pairing, cheaper, np.array([100_000])).saving_usd[:, 0] == pytest.approx([151.8, -98.2])


def test_a_price_that_depends_on_volume_is_taken_at_what_is_left_for_the_api() -> None:
    pairing = Pairing(RTX_4090, SONNET, offered_share=Decimal("0.75"))
    falling = PriceCurve(lambda volume: 0.01 - volume * 1e-7, 100_000, Decimal(0))
    seen = bills(pairing, stated(pairing, falling), np.array([100_000])).mixed_usd
    assert seen[0] == pytest.approx([298.2 + 25_000 * 0.0075])


def test_answers_that_are_good_less_often_count_for_less() -> None:
    pairing = Pairing(replace(RTX_4090, good_share=Decimal("0.9")), SONNET, api_good_share=Decimal("0.95"))
    volume = 100_000
    gain_per_good_request = Decimal(450) / 95_000 - Decimal("298.20") / 90_000
    assert float(month(pairing, volume).saving_usd) == pytest.approx(float(gain_per_good_request * 90_000))


def test_a_request_offered_saves_its_price_where_the_answer_is_kept() -> None:
    host = replace(RTX_4090, spot=SpotReplicas(Decimal("0.1"), 360))
    pairing = Pairing(host, SONNET, pass_rate=Decimal("0.8"))
    assert pairing.kept == Fraction(99, 100) * Fraction(8, 10)
    assert pairing.usd_saved_per_offered == Fraction(45, 10_000) * pairing.kept


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Pairing(RTX_4090, Decimal(-1)), "--versus: price per request -1"),
        (lambda: Pairing(RTX_4090, None), "--versus: price per request is missing"),  # type: ignore[arg-type]
        (lambda: Pairing(RTX_4090, SONNET, offered_share=1.2), "--hybrid-share 1.2"),
        (lambda: Pairing(RTX_4090, SONNET, pass_rate=-0.1), "--pass-rate -0.1"),
        (lambda: Pairing(RTX_4090, SONNET, api_good_share=0), "--api-good-share 0"),
        (lambda: Pairing(RTX_4090, SONNET, offered_share=0.5, overflow=True), "--overflow chooses the share"),
    ],
)
def test_wrong_input_is_one_line_that_names_the_flag(make: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
