import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.caching import CachePrices, PrefixCache
from analysis.breakeven.calculators import batch, fine_tune, prompt_caching
from analysis.breakeven.volumes import BreakEven, Span
from analysis.money.numbers import SECONDS_PER_MONTH
from bench.types import UserError

SONNET = CachePrices(Decimal(3), Decimal("3.75"), Decimal("0.30"), min_cacheable_tokens=1024)
PREFIX_TOKENS = 5_000


def test_a_fine_tune_is_repaid_by_what_each_request_saves() -> None:
    answer = fine_tune(Decimal(100), Decimal("0.0045"), Decimal("0.0030"))
    assert answer == BreakEven("point", (Span(66_667, None),), unit="requests")


def test_a_fine_tune_that_saves_nothing_is_never_repaid() -> None:
    answer = fine_tune(Decimal(100), Decimal("0.0030"), Decimal("0.0045"))
    assert answer.kind == "never"
    assert answer.reasons == (
        "a request costs $0.0045 on the tuned model and $0.0030 with the long prompt: nothing is saved",
    )


def test_a_fine_tune_that_was_free_always_pays() -> None:
    assert fine_tune(Decimal(0), Decimal("0.0045"), Decimal("0.0030")).kind == "always"


AMOUNTS = st.integers(0, 3).map(lambda cents: Decimal(cents) / 100)


@given(AMOUNTS, AMOUNTS, AMOUNTS, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_a_tie_is_no_dearer_whatever_is_asked(paid: Decimal, before: Decimal, after: Decimal, volume: int) -> None:
    assert fine_tune(paid, before, after).holds(volume) == (paid + volume * after <= volume * before)
    assert batch(before, after, 24, 24).kind == fine_tune(Decimal(0), before, after).kind
    prices = CachePrices(before, after, after)
    assert (prompt_caching(PREFIX_TOKENS, prices, PrefixCache(300.0)).kind == "always") == (after <= before)


@pytest.mark.parametrize(("ttl_s", "write"), [(300.0, "3.75"), (3600.0, "6")])
def test_caching_pays_from_the_traffic_that_hits_often_enough(ttl_s: float, write: str) -> None:
    prices = replace(SONNET, usd_per_m_write=Decimal(write))
    paying = float(prices.paying_hit_rate or 0)
    per_month = -math.log(1 - paying) / ttl_s * SECONDS_PER_MONTH
    answer = prompt_caching(PREFIX_TOKENS, prices, PrefixCache(ttl_s))
    assert (answer.kind, answer.first) == ("point", math.ceil(per_month))
    assert answer.reasons == (f"it pays from a hit rate of {100 * paying:.2f}% on, with a TTL of {ttl_s:g} s",)


def test_caching_pays_later_where_many_prefixes_share_the_traffic() -> None:
    one, four = (prompt_caching(PREFIX_TOKENS, SONNET, PrefixCache(300.0, (1,) * count)).first for count in (1, 4))
    assert one is not None and four is not None
    assert four == pytest.approx(4 * one, abs=4)


@pytest.mark.parametrize(
    ("prefix_tokens", "prices", "says"),
    [
        (1_000, SONNET, "nothing is cached: the prefix has 1000 tokens"),
        (0, SONNET, "nothing is cached: the requests share no prefix"),
        (PREFIX_TOKENS, replace(SONNET, usd_per_m_read=Decimal(4)), "reading the cache costs more"),
    ],
)
def test_caching_never_pays_where_nothing_is_cached_or_saved(
    prefix_tokens: int, prices: CachePrices, says: str
) -> None:
    answer = prompt_caching(prefix_tokens, prices, PrefixCache(300.0))
    assert answer.kind == "never"
    assert answer.reasons[0].startswith(says)


def test_free_writes_always_pay() -> None:
    assert (
        prompt_caching(PREFIX_TOKENS, replace(SONNET, usd_per_m_write=Decimal(3)), PrefixCache(300.0)).kind == "always"
    )


@pytest.mark.parametrize(
    ("batch_usd", "deadline_h", "kind", "reason"),
    [
        ("0.00225", 24, "always", "a request costs $0.00225 in a batch and $0.0045 live"),
        ("0.0050", 48, "never", "a request costs $0.0050 in a batch and $0.0045 live"),
        ("0.00225", 23.5, "never", "an answer is wanted within 23.5 h, and a batch may take 24 h"),
    ],
)
def test_a_batch_pays_where_answers_may_wait(batch_usd: str, deadline_h: float, kind: str, reason: str) -> None:
    answer = batch(Decimal("0.0045"), Decimal(batch_usd), deadline_h, window_h=24)
    assert (answer.kind, answer.reasons) == (kind, (reason,))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fine_tune(Decimal(-1), Decimal(1), Decimal(1)), "--train-usd -1"),
        (lambda: fine_tune(Decimal(1), Decimal(-1), Decimal(1)), "--prompted-usd -1"),
        (lambda: fine_tune(Decimal(1), Decimal(1), Decimal(-1)), "--tuned-usd -1"),
        (lambda: batch(Decimal(-1), Decimal(1), 24, 24), "--live-usd -1"),
        (lambda: batch(Decimal(1), Decimal(-1), 24, 24), "--batch-usd -1"),
        (lambda: batch(Decimal(1), Decimal(1), -24, 24), "--deadline-h -24"),
    ],
)
def test_wrong_input_is_one_line_that_names_the_flag(make: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(says)
