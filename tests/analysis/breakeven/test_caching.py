"""Hit-rate formulas are checked against simulated arrivals, the replay against a cache written out entry by entry."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.caching import (
    CachePrices,
    PrefixCache,
    hit_rate,
    replay,
)
from analysis.breakeven.traffic import weekly
from analysis.money.numbers import SECONDS_PER_MONTH
from bench.types import UserError

FIVE_MINUTES, ONE_HOUR = 300.0, 3600.0

# Claude Sonnet 4.5 in November 2026, with five-minute cache writes.
SONNET = CachePrices(Decimal(3), Decimal("3.75"), Decimal("0.30"), min_cacheable_tokens=1024)


@pytest.mark.parametrize(("write", "percent"), [("3.75", "21.74"), ("6", "52.63")])
def test_caching_pays_from_the_hit_rate_at_which_both_cost_the_same(write: str, percent: str) -> None:
    prices = replace(SONNET, usd_per_m_write=Decimal(write))
    paying = prices.paying_hit_rate
    assert paying is not None
    assert f"{float(100 * paying):.2f}" == percent
    prefix_price = paying * Fraction(3, 10) + (1 - paying) * Fraction(write)
    assert prefix_price == 3


def test_writes_that_cost_nothing_extra_always_pay_and_dear_reads_never_do() -> None:
    assert replace(SONNET, usd_per_m_write=Decimal(3)).paying_hit_rate == 0
    assert replace(SONNET, usd_per_m_read=Decimal(4)).paying_hit_rate is None


# --- hit rates --------------------------------------------------------------------------------------------------


def naive_hits(arrivals_s: Any, prefixes: Any, ttl_s: float, readable_after_s: float) -> list[bool]:
    """A cache as a provider might run it: every miss writes an entry, every use of a live entry renews it."""
    entries: dict[Any, list[dict[str, float]]] = {}
    hits = []
    for t_s, prefix in zip(arrivals_s, prefixes, strict=True):
        live = [entry for entry in entries.get(prefix, []) if entry["used"] + ttl_s >= t_s]
        hits.append(any(entry["readable"] <= t_s for entry in live))
        if not hits[-1]:
            live.append({"readable": t_s + readable_after_s, "used": t_s})
        for entry in live:
            entry["used"] = t_s
        entries[prefix] = live
    return hits


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), min_size=1, max_size=60),
    st.integers(1, 12),
    st.integers(0, 12),
)
def test_a_replay_finds_the_hits_of_a_cache_written_out(trace: Any, ttl_s: int, delay_s: int) -> None:
    arrivals_s, prefixes = zip(*sorted(trace), strict=True)
    delay_s = min(delay_s, ttl_s)
    assert replay(arrivals_s, prefixes, ttl_s, delay_s).tolist() == naive_hits(arrivals_s, prefixes, ttl_s, delay_s)


def test_a_replay_keeps_the_order_of_the_trace() -> None:
    # The second of "a" is too early to read the first, the third is not; "b" comes back too late.
    arrivals_s, prefixes = [0.0, 10.0, 1.0, 3.0, 311.0], ["a", "b", "a", "a", "b"]
    assert replay(arrivals_s, prefixes, FIVE_MINUTES, 2.0).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("ttl_s", [FIVE_MINUTES, ONE_HOUR])
@pytest.mark.parametrize("requests_per_ttl", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("delay_s", [0.0, 60.0])
def test_the_formula_is_the_hit_rate_of_poisson_arrivals(ttl_s: float, requests_per_ttl: float, delay_s: float) -> None:
    rng, n = np.random.default_rng(5), 200_000
    rate = requests_per_ttl / ttl_s
    hits = replay(np.cumsum(rng.exponential(1 / rate, n)), np.zeros(n), ttl_s, delay_s)
    # Hits come in runs, so their mean is some three times less sure than that of independent ones.
    assert hits.mean() == pytest.approx(float(hit_rate(rate, ttl_s, delay_s)), abs=3 * 3 * 0.5 / np.sqrt(n))


def test_the_delay_is_in_the_formula() -> None:
    assert hit_rate(0.01, FIVE_MINUTES) == pytest.approx(1 - np.exp(-3))
    assert hit_rate(0.01, FIVE_MINUTES, 20.0) == pytest.approx(1 - 1.2 * np.exp(-3))


def test_several_prefixes_have_each_their_own_rate() -> None:
    rng, n, per_month = np.random.default_rng(6), 300_000, 20_000
    cache = PrefixCache(FIVE_MINUTES, prefix_weights=(6, 3, 1), readable_after_s=5.0)
    arrivals_s = np.cumsum(rng.exponential(SECONDS_PER_MONTH / per_month, n))
    hits = replay(arrivals_s, rng.choice(3, n, p=[0.6, 0.3, 0.1]), FIVE_MINUTES, 5.0)
    assert hits.mean() == pytest.approx(float(cache.hit_rate(per_month)), abs=0.01)
    assert cache.hit_rate(per_month) < PrefixCache(FIVE_MINUTES).hit_rate(per_month)


def test_busy_hours_hit_more_than_the_mean_hour() -> None:
    rng, per_month = np.random.default_rng(7), 20_000
    weights = [2 if hour % 24 < 12 else 0.1 for hour in range(168)]
    cache = PrefixCache(FIVE_MINUTES, traffic=weekly(weights))
    per_hour = np.array(weights) / np.mean(weights) * per_month / 730
    starts = np.repeat(np.arange(168 * 20) * 3600.0, rng.poisson(np.tile(per_hour, 20)))
    arrivals_s = np.sort(starts + rng.uniform(0, 3600, len(starts)))
    hits = replay(arrivals_s, np.zeros(len(starts)), FIVE_MINUTES)
    assert hits.mean() == pytest.approx(float(cache.hit_rate(per_month)), abs=0.01)


def test_beyond_the_settled_volume_every_request_hits() -> None:
    cache = PrefixCache(FIVE_MINUTES, prefix_weights=(9, 1), readable_after_s=30.0)
    assert cache.hit_rate(cache.settled_at) == 1
    assert cache.hit_rate(cache.settled_at / 10) < 1


def test_more_traffic_keeps_the_cache_warm_and_may_lower_the_whole_bill() -> None:
    always, never = (50_000 * float(usd) for usd in (SONNET.usd_per_m_read, SONNET.usd_per_m_write))
    volumes = np.array([10_000.0, 30_000.0])
    bills = volumes * (never + PrefixCache(FIVE_MINUTES).hit_rate(volumes) * (always - never))
    assert bills[1] < bills[0]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: replace(SONNET, usd_per_m_read=Decimal(-1)), "--versus: cache read price -1"),
        (lambda: replace(SONNET, usd_per_m_write=None), "--versus: cache write price is missing"),  # type: ignore[arg-type]
        (lambda: PrefixCache(0), "--cache-ttl 0: expected seconds above 0"),
        (lambda: PrefixCache(300, readable_after_s=301), "--cache-delay 301: expected seconds from 0 up to the TTL"),
        (lambda: PrefixCache(300, prefix_weights=()), "--prefix-weights: expected at least one weight above 0"),
        (lambda: replay([0.0, 1.0], ["a"], 300), "--traffic has 2 times and 1 prefixes"),
    ],
)
def test_wrong_input_is_one_line_that_names_the_flag(make: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
