from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from analysis.breakeven.advice import advice, where
from analysis.breakeven.comparison import judge
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import Commitment, SelfHost
from analysis.breakeven.states import States, stated
from analysis.breakeven.sweep import break_even
from analysis.breakeven.traffic import steady
from analysis.breakeven.volumes import BreakEven, Span, from_spans
from analysis.money.numbers import monthly_usd

RTX_4090 = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))


def said(usd_per_request: str, volume: int, host: SelfHost = RTX_4090, **routing: Any) -> list[str]:
    pairing = Pairing(host, Decimal(usd_per_request), **routing)
    states = stated(pairing)
    return advice(pairing, states, judge(pairing, states, volume))


def test_above_the_break_even_it_says_to_self_host_and_what_would_change_that() -> None:
    assert said("0.0045", 100_000) == [
        "At 100,000 requests/month the API costs $450.00; self-hosting costs $298.20, with 1 replica.",
        "Self-host: it saves $151.80 a month.",
        "Self-hosting pays from 66,267 on (requests/month).",
        "Both ways cost the same here at an API price of $0.00298 per request (now $0.00450).",
        "They also do at $0.55 per replica-hour (now $0.34).",
        "Self-hosting pays here as long as a replica serves 0.164 requests/s or more (now 2).",
    ]


def test_below_it_says_to_pay_the_api_and_how_far_the_break_even_is() -> None:
    assert said("0.0045", 30_000)[1:4] == [
        "Pay the API: it saves $163.20 a month.",
        "Self-hosting pays from 66,267 on (requests/month).",
        "Self-hosting would pay at 66,267 requests/month, 2.2 times this volume.",
    ]
    assert said("0.0045", 30_000)[-1] == "No capacity would make it pay: the fewest replicas cost more than the API."


def test_between_two_spans_it_names_the_nearest_volumes_and_a_cheaper_way() -> None:
    sentences = said("0.00021", 8_000_000)
    assert sentences[2] == (
        "Self-hosting pays from 7,329,524 to 7,358,400, from 8,511,429 to 8,584,800, from 9,693,334 to 9,811,200, "
        "in 23 more ranges and for good from 38,059,048 on (requests/month)."
    )
    assert sentences[3:5] == [
        "Self-hosting would pay at 7,358,400 requests/month, 0.92 times this volume.",
        "Self-hosting would pay at 8,511,429 requests/month, 1.1 times this volume.",
    ]
    assert sentences[-2:] == [
        "Self-hosting pays here as long as a replica serves 2.18 requests/s or more (now 2).",
        "Filling the replicas first would be cheaper still, $1,673.94: "
        "6 replicas and 8.0% of the requests at the API (--overflow).",
    ]


def test_within_a_span_it_names_its_ends() -> None:
    assert said("0.00021", 7_340_000)[3] == "At this volume it pays from 7,329,524 to 7,358,400 requests/month."


@pytest.mark.parametrize("volume", [30_000, 100_000, 3_000_000])
@pytest.mark.parametrize("share", [1, Decimal("0.7")])
def test_at_the_prices_it_names_both_ways_cost_the_same(volume: int, share: Decimal) -> None:
    sentences = said("0.0045", volume, offered_share=share)
    api, hour = (float(text.split("$")[1].split()[0]) for text in sentences if "(now $" in text)
    own = {30_000: 298.2, 100_000: 298.2, 3_000_000: 794.6 if share == 1 else 546.4}[volume]
    replicas = round((own - 50) / 248.2)
    assert api == pytest.approx(own / (volume * float(share)), rel=0.005)
    assert hour == pytest.approx((volume * float(share) * 0.0045 - 50) / replicas / 730, abs=0.005)


def test_the_named_capacity_is_where_one_more_replica_would_cost_too_much() -> None:
    pairing = Pairing(RTX_4090, Decimal("0.00021"))
    below, above = (replace(pairing, host=replace(RTX_4090, capacity_rps=rps)) for rps in (2.17, 2.18))
    assert not break_even(below).holds(8_000_000)
    assert break_even(above).holds(8_000_000)


def test_it_says_where_no_price_of_a_replica_is_low_enough() -> None:
    assert "No replica is cheap enough here: the rest alone costs $50.00." in said("0.0000001", 30_000)


def test_it_says_why_never_and_why_without_capacity() -> None:
    assert said("0.00015", 3_000_000)[2].startswith("Self-hosting never pays: a request costs $0.000202 on our")
    assert said("0.0045", 100_000, replace(RTX_4090, capacity_rps=0)) == [
        "Pay the API: the objectives are met at no rate (capacity 0), so no number of replicas serves any volume."
    ]


def test_what_does_not_hold_for_a_commitment_or_overflow_is_not_said() -> None:
    committed = replace(RTX_4090, commitment=Commitment(1, Decimal(100)))
    assert not any("a replica serves" in sentence for sentence in said("0.0045", 100_000, committed))
    assert len(said("0.0045", 100_000, overflow=True)) == 3


def test_an_undecided_answer_gives_no_advice_but_its_reasons_and_both_outcomes() -> None:
    pairing = Pairing(RTX_4090, Decimal("0.0045"))
    states = States(np.repeat([0.9, 1.1], 10), np.full(20, 2.0), None, 1_000)
    sentences = advice(pairing, states, judge(pairing, states, 66_267))
    assert sentences[1].startswith(
        "Too close to call: at 66,267 requests/month self-hosting costs no more with a probability of 50.0%, short of "
        "95% either way; "
    )
    assert sentences[2] == (
        "Self-hosting saves $0.00150 on average: where it is cheaper it saves $29.82 a month, elsewhere it "
        "costs $29.82 more."
    )
    assert sentences[3] == (
        "Self-hosting pays with 95% certainty from 73,630 on (requests/month). "
        "The measurements leave it open from 60,243 to 73,629 (requests/month)."
    )
    assert where(BreakEven("never", known_to=5)) == "Up to 5 requests/month self-hosting pays nowhere."
    found = where(BreakEven("intervals", (Span(2, 3),), known_to=5))
    assert found == "Self-hosting pays from 2 to 3 (requests/month). Further ranges, beyond 5, are left out."
    assert where(BreakEven("undecided", open_spans=(Span(3, None),)), measured=True).startswith(
        "At no volume does self-hosting pay with 95% certainty. The measurements leave it open from 3 on"
    )


def test_a_recommendation_from_measurements_says_how_sure_it_is_and_the_worst_of_ten() -> None:
    pairing = Pairing(RTX_4090, Decimal("0.0045"))
    states = States(np.linspace(0.9, 1.1, 20), np.full(20, 2.0), None, 1_000)
    assert advice(pairing, states, judge(pairing, states, 100_000))[1] == (
        "Self-host: it is cheaper with a probability of 100.0%; it saves $151.80 on average, and saves $111.54 or "
        "more in nine of ten outcomes."
    )
    assert advice(pairing, states, judge(pairing, states, 30_000))[1] == (
        "Pay the API: it is cheaper with a probability of 100.0%; it saves $163.20 on average, and saves $152.54 "
        "or more in nine of ten outcomes."
    )


def test_where_some_outcomes_serve_nothing_no_amount_is_promised() -> None:
    pairing = Pairing(RTX_4090, Decimal("0.0045"))
    states = States(np.ones(100), np.array([0.0] * 3 + [2.0] * 97), None, 1_000, 5)
    sentences = advice(pairing, states, judge(pairing, states, 100_000))
    assert (
        sentences[0]
        == "At 100,000 requests/month the API costs $450.00; servers that may serve nothing cost any amount."
    )
    assert sentences[1] == "Self-host: it is cheaper with a probability of 97.0%."


def test_costs_per_good_request_are_not_confused_with_the_month_s() -> None:
    host = replace(RTX_4090, good_share=Decimal("0.5"))
    assert said("0.0045", 100_000, host)[:2] == [
        "At 100,000 requests/month the API costs $225.00 for as many good requests; self-hosting costs $298.20, with "
        "1 replica.",
        "Pay the API: it saves $73.20 a month.",
    ]


def test_an_answer_for_every_volume_says_so() -> None:
    assert where(from_spans((Span(1, None),))) == "Self-hosting pays at any volume."


@pytest.mark.parametrize(("usd", "pass_rate"), [("0", "1"), ("0.0045", "0")])
def test_servers_that_save_nothing_tie_when_they_are_free(usd: str, pass_rate: str) -> None:
    pairing = Pairing(SelfHost(Decimal("248.20"), 2), Decimal(usd), pass_rate=Decimal(pass_rate))
    said = " ".join(advice(pairing, stated(pairing), judge(pairing, stated(pairing), 1_000)))
    assert "cheap enough" not in said and ("also do" in said) == ("API price of" in said)
    assert "at $0.00 per replica-hour (now $0.34)" in said


def test_within_a_span_in_which_both_are_free_neither_is_said_to_pay() -> None:
    free = SelfHost(Decimal(1), 0.01, Decimal(0), 0.5, steady(1), commitment=Commitment(1, Decimal(0)))
    sentences = said("0", 1, free)
    assert "Both ways cost the same here." in sentences
    assert "Self-hosting costs no more from 1 to 13,140 requests/month." in sentences
    assert not any("At this volume it pays" in sentence for sentence in sentences)
