"""One rule, one computation: what is said of a volume, its probability, its spans and its month never disagree."""

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.breakeven.advice import advice
from analysis.breakeven.comparison import FirstBreakEven, Judgement, judge
from analysis.breakeven.curves import lines
from analysis.breakeven.decision import decide, p_cheaper
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import Commitment, SelfHost
from analysis.breakeven.states import PriceCurve, States, stated, states_of
from analysis.breakeven.sweep import BOTH_FREE, LARGEST_VOLUME, answer
from analysis.breakeven.traffic import steady, weekly
from analysis.breakeven.volumes import BreakEven
from analysis.money.numbers import monthly_usd
from analysis.stats.uncertainty import interval_draws
from tests.analysis.breakeven import brute_force
from tests.analysis.breakeven.brute_force import Servers, State

RTX_4090 = SelfHost(monthly_usd(Decimal("0.34")), 2.0, Decimal(50), 0.7, steady(3))
CASE = Pairing(RTX_4090, Decimal("0.0045"))


@dataclass(frozen=True)
class Asked:
    """The same question for both computations."""

    pairing: Pairing
    states: States
    servers: Servers
    all_states: tuple[State, ...]
    volume: int


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    usd, ops = draw(st.integers(0, 4_000)), draw(st.integers(0, 3_000))
    utilization, peak = draw(st.sampled_from(["0.5", "0.7", "1"])), draw(st.sampled_from(["1", "1.5", "3"]))
    pattern = draw(st.none() | st.lists(st.integers(0, 4), min_size=2, max_size=2).filter(any))
    hours = tuple(pattern * 84) if pattern else ()
    autoscale = bool(hours) and draw(st.booleans())
    least, spare, committed = draw(st.integers(0, 2)), draw(st.integers(0, 1)), draw(st.integers(0, 2))
    committed_usd = draw(st.integers(0, 3_000))
    share, passed, good = (draw(st.sampled_from(values)) for values in (["1", "0.7"], ["1", "0.9"], ["1", "0.8"]))
    price = Decimal(draw(st.integers(0, 500))) / 100_000
    measured = draw(st.booleans())
    size = draw(st.sampled_from([2, 5, 20, 40])) if measured else 1
    factors = [draw(st.integers(50, 150)) / 100 if measured else 1.0 for _ in range(size)]
    rates = [draw(st.integers(1, 300)) / 100 for _ in range(size)]
    host = SelfHost(
        Decimal(usd), rates[0], Decimal(ops), Decimal(utilization),
        weekly(hours) if hours else steady(Decimal(peak)), autoscale, least, spare,
        Commitment(committed, Decimal(committed_usd)) if committed else None, good_share=Decimal(good),
    )  # fmt: skip
    servers = Servers(
        Fraction(usd), Fraction(ops), Fraction(utilization), Fraction(peak), hours, autoscale, least, spare,
        committed, Fraction(committed_usd), Fraction(share), Fraction(passed), Fraction(good),
    )  # fmt: skip
    states = [
        State(Fraction(str(factor)) * Fraction(price), Fraction(str(rps)))
        for factor, rps in zip(factors, rates, strict=True)
    ]
    return Asked(
        Pairing(host, price, Decimal(share), Decimal(passed)),
        States(np.array(factors), np.array(rates), None, 100, 5),
        servers,
        tuple(states),
        draw(st.integers(1, 10**7)),
    )


def volumes_to_try(asked: Asked, found: BreakEven) -> list[int]:
    """The one asked about, both sides of each end of a span, and some between."""
    spans = [*found.spans[:4], *found.spans[-2:], *found.open_spans[:4], *found.open_spans[-2:]]
    edges = [edge + step for span in spans for edge in span if edge is not None for step in (-1, 0, 1)]
    known = LARGEST_VOLUME if found.known_to is None else found.known_to
    tried = {asked.volume, 1, *edges, *np.geomspace(1, 1e9, 7).astype(int).tolist()}
    return sorted(volume for volume in tried if 1 <= volume <= known)


def said_of(found: BreakEven, volume: int) -> str:
    def within(spans: Any) -> bool:
        return any(first <= volume and (last is None or volume <= last) for first, last in spans)

    return "self-host" if within(found.spans) else "undecided" if within(found.open_spans) else "api"


@settings(deadline=None, max_examples=60)
@given(questions())
def test_probabilities_and_spans_are_those_of_exact_fractions_over_all_states(asked: Asked) -> None:
    found, _ = answer(asked.pairing, asked.states)
    for volume in volumes_to_try(asked, found):
        count, close = brute_force.wins(asked.servers, asked.all_states, volume)
        if close:
            continue
        assert p_cheaper(asked.pairing, asked.states, np.array([float(volume)]))[0] == count / len(asked.states)
        assert said_of(found, volume) == brute_force.choice(count, len(asked.states)), volume


@settings(deadline=None, max_examples=60)
@given(questions())
def test_the_month_is_that_of_exact_fractions_and_its_curve_goes_through_it(asked: Asked) -> None:
    at = decide(asked.pairing, asked.states, asked.volume)
    middle = [State(Fraction(asked.pairing.usd_per_request), state.rps) for state in asked.all_states]
    savings = sorted(brute_force.saving_usd(asked.servers, state, asked.volume) for state in asked.all_states)
    n = len(savings)
    mean = sum(brute_force.saving_usd(asked.servers, state, asked.volume) for state in middle) / n
    near: dict[str, Any] = {"rel": 1e-9, "abs": 1e-6}
    assert float(at.saving_usd) == pytest.approx(float(mean), **near)
    assert float(at.low_usd) == pytest.approx(float(savings[-(-n // 10) - 1]), **near)
    assert float(at.high_usd) == pytest.approx(float(savings[-(-9 * n // 10) - 1]), **near)
    drawn = lines(asked.pairing, asked.states, np.array([float(asked.volume)]))
    assert drawn.self_usd[0] == pytest.approx(float(at.self_usd), **near)
    assert drawn.api_usd[0] == pytest.approx(float(at.api_usd), **near)


@settings(deadline=None, max_examples=80)
@given(questions())
def test_no_sentence_contradicts_a_probability_a_span_or_the_month(asked: Asked) -> None:
    found = judge(asked.pairing, asked.states, asked.volume)
    at, sentences = found.decision, advice(asked.pairing, asked.states, found)
    assert at is not None
    text = " ".join(sentences)
    chance = at.p_cheaper
    assert ("Self-host:" in text) == (at.choice == "self-host") and (chance >= 0.95 or at.choice != "self-host")
    assert ("Pay the API:" in text) == (at.choice == "api") and (chance <= 0.05 + 1e-12 or at.choice != "api")
    assert ("Too close to call:" in text) == (at.choice == "undecided") == (found.answer.kind == "undecided")
    assert (0.05 + 1e-12 < chance < 0.95) == (at.choice == "undecided")
    if told := re.search(r"probability of ([\d.]+)%", text):
        expected = chance if at.choice != "api" else 1 - chance
        assert float(told[1]) == pytest.approx(100 * expected, abs=0.0501)
    _check_where(found, text)
    if told := re.search(r": it saves \$([\d.,]+) a month", text):
        saves = at.saving_usd if at.choice == "self-host" else -at.saving_usd
        assert float(told[1].replace(",", "")) == pytest.approx(float(saves), abs=0.005001)
    if at.choice != "self-host":
        assert "At this volume it pays" not in text
    else:
        assert "would pay at" not in text


def _check_where(found: Judgement, text: str) -> None:
    """Every range that is told is one, and never and always are said of nothing else."""
    told = re.search(r"Self-hosting pays(?: with 95% certainty)? (?:for good )?from ([\d,]+) ", text)
    if told:
        assert int(told[1].replace(",", "")) == found.answer.first
    assert ("never pays" in text) == (found.answer.kind == "never" and not found.answer.open_spans
                                      and found.answer.known_to is None)  # fmt: skip
    assert ("pays" not in text or "pays nowhere" in text) if BOTH_FREE in found.answer.reasons else True
    if "Self-hosting pays at any volume" in text:
        assert found.answer.kind in ("always", "undecided") and said_of(found.answer, 1) == "self-host"


# --- examples ---------------------------------------------------------------------------------------------------


def test_at_96_percent_self_hosting_is_recommended_with_the_month_to_be_expected() -> None:
    # So many requests need two replicas in the states below 1.63 requests/s.
    pairing = Pairing(replace(RTX_4090, traffic=steady(Decimal("1.5"))), Decimal("0.00015"))
    rng = np.random.default_rng(0)
    states = states_of(pairing, None, interval_draws(1.6, 2.4, rng), rng)
    found = judge(pairing, states, 2_000_000)
    at = found.decision
    assert at is not None and 0.95 < at.p_cheaper < 0.98 and at.choice == "self-host"
    assert at.low_usd > 0 and at.lost_usd is not None and at.lost_usd < -200
    said = " ".join(advice(pairing, states, found))
    assert f"Self-host: it is cheaper with a probability of {at.p_cheaper:.1%}" in said


def test_where_nothing_was_measured_there_is_one_state_and_the_answer_is_exact() -> None:
    found = judge(CASE, stated(CASE), 66_267)
    assert (found.answer.first, found.answer.open_spans, found.first) == (
        66_267,
        (),
        FirstBreakEven(66_267, (66_267, 66_267), 0.0),
    )
    assert found.decision is not None and found.decision.saving_usd == Decimal("0.0015")


def test_both_free_is_said_so_and_free_servers_always_pay() -> None:
    free = SelfHost(Decimal(0), 2.0)
    both = Pairing(free, Decimal(0))
    found = judge(both, stated(both), 100)
    assert (found.answer.kind, found.decision and found.decision.choice) == ("always", "same")
    assert advice(both, stated(both), found)[1:] == [
        "Both ways cost the same here.",
        "Both are free: neither saves anything at any volume.",
    ]
    against_free = judge(Pairing(RTX_4090, Decimal(0)), stated(Pairing(RTX_4090, Decimal(0))), 100)
    assert (against_free.answer.kind, against_free.decision and against_free.decision.p_cheaper) == ("never", 0.0)


def test_a_full_replica_that_costs_exactly_what_the_api_does_is_a_tie_where_it_is_full() -> None:
    pairing = Pairing(SelfHost(Decimal("2628"), 1, utilization=1), Decimal("0.001"))
    found = judge(pairing, stated(pairing), 2_628_000)
    assert found.answer.spans[:2] == ((2_628_000, 2_628_000), (5_256_000, 5_256_000))
    assert found.answer.kind == "intervals" and found.answer.known_to is not None
    assert found.decision is not None and (found.decision.choice, found.decision.p_cheaper) == ("same", 1.0)


def falling(states: int) -> tuple[Pairing, States]:
    """A price that falls from $0.00046 to $0.00018 as hits get frequent; servers that hold 1.2 to 2.4 requests/s."""
    curve = PriceCurve(lambda volume: 0.00018 + 0.00028 * np.exp(-volume / 50_000), 2_000_000, Decimal("0.00018"))
    pairing = Pairing(SelfHost(Decimal(60), 0.05, Decimal(5), 0.7), Decimal("0.00018"))
    rng = np.random.default_rng(states)
    return pairing, States(rng.uniform(0.8, 1.2, states), rng.uniform(0.02, 0.08, states), curve, 100, 5)


@pytest.mark.parametrize("states", [1, 7, 60])
def test_where_the_price_depends_on_the_volume_spans_and_probabilities_agree_too(states: int) -> None:
    pairing, open_ = falling(states)
    found, _ = answer(pairing, open_)
    volumes = np.unique(np.concatenate([np.geomspace(1, 1e8, 200), *[
        [edge - 1, edge, edge + 1] for span in (*found.spans[:20], *found.open_spans[:20]) for edge in span if edge
    ]]).round())  # fmt: skip
    volumes = volumes[(volumes >= 1) & (volumes <= (found.known_to or LARGEST_VOLUME))]
    for volume, chance in zip(volumes, p_cheaper(pairing, open_, volumes), strict=True):
        assert said_of(found, int(volume)) == brute_force.choice(round(chance * states), states), volume


@pytest.mark.parametrize("states", [1, 40])
def test_overflow_pays_from_one_volume_on_in_each_state(states: int) -> None:
    pairing = Pairing(RTX_4090, Decimal("0.00024"), overflow=True)
    rng = np.random.default_rng(1)
    open_ = States(rng.uniform(0.8, 1.2, states), rng.uniform(1, 3, states)) if states > 1 else stated(pairing)
    found, _ = answer(pairing, open_)
    volumes = np.unique(np.geomspace(1e4, 1e9, 60).round())
    for volume, chance in zip(volumes, p_cheaper(pairing, open_, volumes), strict=True):
        assert said_of(found, int(volume)) == brute_force.choice(round(chance * states), states), volume
