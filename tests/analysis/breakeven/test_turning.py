"""What would change the answer is checked by changing it: bills before and beyond each turn, written out anew."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.ranking import rank
from analysis.breakeven.turning import Turn
from analysis.money.numbers import HOURS_PER_MONTH, SECONDS_PER_MONTH
from tests.analysis.breakeven.test_ranking import HOSTS, TRIED, pairs_of

Hosts = list[tuple[float, float, int]]
HAIR = 1e-7


def bills(hosts: Hosts, prices: list[float], names: list[str], volume: float) -> dict[str, float]:
    """A month of each way: hosts as ($ a replica, requests a replica, $ besides), prices in $ a request."""
    own = [ops + usd * max(1, math.ceil(volume / served - 1e-9)) for usd, served, ops in hosts]
    return dict(zip(names, [*own, *(usd * volume for usd in prices)], strict=True))


def changed(
    turn: Turn, value: float, hosts: Hosts, prices: list[float], names: list[str], volume: int
) -> dict[str, float]:
    hosts, prices = list(hosts), list(prices)
    if turn.what == "requests/month":
        return bills(hosts, prices, names, value)
    place = names.index(turn.way)
    if turn.what == "$ a request":
        prices[place - len(hosts)] = value
    else:
        usd, served, ops = hosts[place]
        hourly = turn.what == "$ an hour"
        hosts[place] = (
            value * HOURS_PER_MONTH if hourly else usd,
            served if hourly else value * SECONDS_PER_MONTH,
            ops,
        )
    return bills(hosts, prices, names, volume)


@settings(max_examples=80, deadline=None)
@given(HOSTS, st.lists(st.integers(1, 400), max_size=3, unique=True), st.integers(1, TRIED))
def test_up_to_a_turn_the_cheapest_stays_and_beyond_it_is_the_one_that_is_named(
    hosts: list[tuple[int, int, int]], cents: list[int], volume: int
) -> None:
    of_apis = pairs_of(hosts, cents or [1])
    each = of_apis if cents else [pair._replace(api="") for pair in of_apis]
    found = rank(each, TRIED, volume)
    names = [*(f"side {i}" for i in range(len(hosts))), *(f"{price} cents" for price in cents)]
    prices = [price / 100 for price in cents]
    first = found.month[0].name
    for turn in found.turns:
        step = 1 if turn.what == "requests/month" else HAIR * turn.at
        towards = 1 if turn.at > turn.now else -1
        # The least capacity that keeps the cheapest so is before the turn, whatever else is said is at it.
        keeps = turn.what == "requests/s a replica" and turn.way == first
        before, beyond = turn.at - towards * step, turn.at + towards * step
        month = changed(turn, before if not keeps else turn.at * (1 + HAIR), list(hosts), prices, names, volume)
        assert month[first] <= min(month.values()) * (1 + 1e-9), turn
        beyond = turn.at if turn.what == "requests/month" else beyond
        month = changed(turn, beyond, list(hosts), prices, names, volume)
        assert month[turn.to] <= min(month.values()) * (1 + 1e-9), turn
        assert turn.to != first


def test_each_input_of_the_nearest_ways_is_told_and_of_equal_ones_only_the_volume() -> None:
    found = rank(pairs_of([(10, 100, 0), (30, 100, 5)], [40]), TRIED, 60)
    assert [(turn.way, turn.what, turn.to) for turn in found.turns] == [
        ("", "requests/month", "40 cents"),
        ("side 0", "$ an hour", "40 cents"),
        ("side 0", "requests/s a replica", "40 cents"),
        ("40 cents", "$ a request", "40 cents"),
        ("side 1", "$ an hour", "side 1"),  # one replica is the least: no capacity would make it cheaper
    ]
    equal = rank(pairs_of([(10, 100, 0), (10, 100, 0)], [40]), TRIED, 60)
    assert [turn.what for turn in equal.turns] == ["requests/month"]
