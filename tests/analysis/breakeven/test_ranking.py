"""The cheapest of several ways is checked against trying every volume, by bills written out anew."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.comparison import judge
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.ranking import Ranking, rank
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import stated, states_of
from analysis.breakeven.sweep import break_even
from analysis.breakeven.ways import CostedPairing
from analysis.money.numbers import SECONDS_PER_MONTH
from analysis.stats.uncertainty import interval_draws

TRIED = 400
# One replica serves so many requests a month at this capacity, all of it used.
ONE_A_MONTH_RPS = Fraction(1, SECONDS_PER_MONTH)


def pairs_of(hosts: list[tuple[int, int, int]], prices: list[int]) -> list[CostedPairing]:
    """Sides from ($ a replica, requests a replica, $ besides), APIs from cents a request."""
    found = []
    for i, (usd, requests, ops_usd) in enumerate(hosts):
        host = SelfHost(Decimal(usd), requests * ONE_A_MONTH_RPS, Decimal(ops_usd), 1)
        for cents in prices:
            pairing = Pairing(host, Decimal(cents) / 100)
            found.append(CostedPairing(f"side {i}", f"{cents} cents", pairing, stated(pairing)))
    return found


def by_hand(hosts: list[tuple[int, int, int]], prices: list[int], volume: int) -> dict[str, Fraction]:
    own = {
        f"side {i}": Fraction(ops_usd + usd * max(1, math.ceil(Fraction(volume, requests))))
        for i, (usd, requests, ops_usd) in enumerate(hosts)
    }
    return own | {f"{cents} cents": Fraction(cents * volume, 100) for cents in prices}


HOSTS = st.lists(st.tuples(st.integers(1, 60), st.integers(5, 120), st.integers(0, 20)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(HOSTS, st.lists(st.integers(1, 400), min_size=1, max_size=3, unique=True), st.integers(1, TRIED))
def test_at_every_volume_the_cheapest_is_the_one_with_the_least_bill(
    hosts: list[tuple[int, int, int]], prices: list[int], asked: int
) -> None:
    found = rank(pairs_of(hosts, prices), TRIED, asked)
    assert (found.spans[0].first, found.spans[-1].last) == (1, TRIED if found.is_whole else found.spans[-1].last)
    for span in found.spans:
        for volume in (span.first, (span.first + span.last) // 2, span.last):
            bills = by_hand(hosts, prices, volume)
            assert bills[span.name] == min(bills.values()), (volume, span)
    bills = by_hand(hosts, prices, asked)
    assert [bill.usd for bill in found.month] == pytest.approx(sorted(map(float, bills.values())))
    assert found.choice is not None and bills[found.choice] == min(bills.values())
    assert not found.undecided
    assert {name for name, usd in bills.items() if usd == min(bills.values())} == {
        bill.name for bill in found.month if bill.p_cheapest == 1
    }


@settings(max_examples=40, deadline=None)
@given(HOSTS, st.integers(1, 400))
def test_one_side_and_one_api_change_places_where_the_break_even_is(
    hosts: list[tuple[int, int, int]], cents: int
) -> None:
    (pair,) = pairs_of(hosts[:1], [cents])
    answer, found = break_even(pair.pairing), rank([pair], TRIED, None)
    for span in found.spans:
        assert answer.holds(span.first) == answer.holds(span.last) == (span.name == "side 0")


@pytest.mark.parametrize("volume", [50_000, 66_000, 70_000, 200_000])
def test_what_a_comparison_of_two_says_of_a_volume_the_order_says_too(volume: int) -> None:
    host, rng = SelfHost(Decimal("248.20"), 2.0, Decimal(50)), np.random.default_rng(3)
    pairing = Pairing(host, Decimal("0.0045"))
    states = states_of(pairing, rng.normal(0.0045, 0.0003, 500), interval_draws(1.8, 2.2, rng), rng)
    decision = judge(pairing, states, volume).decision
    assert decision is not None
    found = rank([CostedPairing("ours", "theirs", pairing, states)], 10**6, volume)
    chances = {bill.name: bill.p_cheapest for bill in found.month}
    assert chances["ours"] == pytest.approx(decision.p_cheaper, abs=1e-9)
    assert found.choice == {"self-host": "ours", "api": "theirs", "undecided": None}[decision.choice]
    bills = [float(decision.self_usd), float(decision.api_usd)]
    assert [bill.usd for bill in found.month] == pytest.approx(sorted(bills))


def test_too_many_changes_are_cut_off_and_said() -> None:
    def order(up_to: int) -> Ranking:
        return rank(pairs_of([(10, 10, 0), (9, 9, 1)], [400]), up_to, None)

    assert order(100).is_whole
    assert not order(5_000).is_whole
