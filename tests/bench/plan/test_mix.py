"""Mixes, adapters and trees of prefixes: pure, by their weights, and with what a prefix cache would know of them."""

import itertools
import pickle
from collections import Counter
from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan.calls import Plan, call, calls, make_plan, total, with_salt
from bench.plan.openings import pick
from bench.plan.prompts import Vocabulary
from bench.plan.resolve import resolve_load
from bench.plan.written import plan_hash
from bench.types import Call, Lengths, Pause, Prefixes, Scenario, TrafficClass, Turns, UserError

VOCABULARY = Vocabulary(tuple(f"w{i}" for i in range(200)), 1.0, 12, True, "test")
PLAIN = Scenario("s", "d", Lengths("uniform", 60, 90), Lengths("fixed", 5, 5), 0, 4, 20, 0)
FIXED = "take and write a long story with them"
WEIGHT = st.floats(0.05, 20)


def lengths(low: int, more: int) -> Lengths:
    return Lengths("uniform", low, low + more)


CLASS = st.builds(
    TrafficClass,
    name=st.just("x"),
    weight=WEIGHT,
    prompt_tokens=st.builds(lengths, st.integers(150, 300), st.integers(0, 50)),
    output_tokens=st.builds(lengths, st.integers(1, 30), st.integers(0, 30)),
    shared_prefix_tokens=st.sampled_from([0, 8, 20]),
    prefixes=st.lists(st.builds(Prefixes, st.integers(8, 30), st.integers(1, 20), st.floats(0, 2)), max_size=3).map(
        tuple
    ),
    adapters=st.dictionaries(st.sampled_from(["a", "b", "c"]), WEIGHT, max_size=3),
)
MIX = st.lists(CLASS, min_size=1, max_size=4).map(
    lambda classes: replace(
        PLAIN, classes=tuple(replace(each, name=f"class {number}") for number, each in enumerate(classes))
    )
)


def plan_of(scenario: Scenario, requests: int = 60, seed: int = 3, **flags: Any) -> Plan:
    load = resolve_load(scenario, requests=requests, warmup="0", **flags)
    return make_plan(scenario, load, seed, 1, VOCABULARY)


def every(plan: Plan) -> list[Call]:
    return [call(plan, seq) for seq in range(total(plan) or 0)]


def text(of: Call) -> str:
    return " ".join(message.text for message in of.messages)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(MIX, st.integers(0, 2**40), st.sampled_from([1, 2, 5]))
def test_a_mix_is_the_same_for_any_number_of_workers_and_in_another_process(
    scenario: Scenario, seed: int, workers: int
) -> None:
    plan = plan_of(scenario, 30, seed)
    whole = every(plan)
    again: Plan = pickle.loads(pickle.dumps(plan))
    shared = [one for worker in range(workers) for one in calls(again, worker, workers)]
    assert sorted(shared, key=lambda one: one.seq) == whole
    assert plan_hash(again) == plan_hash(plan)


@settings(deadline=None, max_examples=25)
@given(MIX, st.integers(0, 2**40))
def test_each_call_is_of_its_class_and_has_its_lengths_and_an_adapter_of_it(scenario: Scenario, seed: int) -> None:
    classes = {each.name: each for each in scenario.classes}
    for one in every(plan_of(scenario, 40, seed)):
        own = classes[one.klass or ""]
        assert own.prompt_tokens.low <= (one.prompt_tokens or 0) <= own.prompt_tokens.high
        assert own.output_tokens.low <= one.max_tokens <= own.output_tokens.high
        assert one.adapter in own.adapters if own.adapters else one.adapter is None
        fixed = "remember take and write a long story with them" if scenario.opens else FIXED
        words = len(text(one).split()) - len(fixed.split())
        assert words + VOCABULARY.overhead_tokens == one.prompt_tokens


@settings(deadline=None, max_examples=25)
@given(st.lists(WEIGHT, min_size=1, max_size=5), st.integers(0, 2**40))
def test_weights_are_met_within_what_chance_allows(weights: list[float], seed: int) -> None:
    classes = tuple(
        TrafficClass(f"c{i}", weight, Lengths("fixed", 60, 60), Lengths("fixed", 5, 5))
        for i, weight in enumerate(weights)
    )
    seen = Counter(one.klass for one in every(plan_of(replace(PLAIN, classes=classes), 400, seed)))
    for each in classes:
        share = each.weight / sum(weights)
        assert abs(seen[each.name] - 400 * share) <= 5 * sqrt(400 * share * (1 - share)) + 1


def test_every_weight_has_its_part_of_the_draws() -> None:
    assert [pick([5, 1], draw / 60) for draw in range(60)] == [0] * 50 + [1] * 10
    assert pick([1, 1], 0.0) == 0 and pick([1, 1], 0.5) == 1 and pick([3], 0.999) == 0


@settings(deadline=None, max_examples=25)
@given(MIX, st.integers(0, 2**40))
def test_what_is_said_to_be_cacheable_is_what_earlier_prompts_really_began_with(scenario: Scenario, seed: int) -> None:
    earlier: list[Call] = []
    for one in every(plan_of(scenario, 25, seed)):
        own = system(one)
        known = max((common(own, system(other)) for other in earlier if other.adapter == one.adapter), default=0)
        # Prompts that differ may still begin with the same word or two, by chance.
        assert 0 <= known - (one.cacheable_tokens or 0) <= 2
        earlier.append(one)


def system(one: Call) -> str:
    return next((message.text for message in one.messages if message.role == "system"), "")


def common(a: str, b: str) -> int:
    """How many words two openings have in common, without the one that opens all."""
    pairs = zip(a.split()[1:], b.split()[1:], strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def test_groups_are_asked_for_by_zipf_s_law() -> None:
    scenario = replace(PLAIN, prefixes=(Prefixes(20, 50, 1.0),), prompt_tokens=Lengths("fixed", 60, 60))
    seen = Counter(system(one) for one in every(plan_of(scenario, 4000)))
    harmonic = sum(1 / k for k in range(1, 51))
    for rank, (_, count) in enumerate(seen.most_common(4), 1):
        assert count == pytest.approx(4000 / rank / harmonic, rel=0.2)


def test_a_document_belongs_to_its_tenant() -> None:
    scenario = replace(
        PLAIN,
        shared_prefix_tokens=10,
        prefixes=(Prefixes(12, 3), Prefixes(14, 4)),
        prompt_tokens=Lengths("fixed", 80, 80),
    )
    texts = {tuple(system(one).split()[1:]) for one in every(plan_of(scenario, 300))}
    assert len({words[:10] for words in texts}) == 1
    assert len({words[:22] for words in texts}) == 3
    assert len(texts) == 12
    assert all(len(words) == 36 for words in texts)


def test_the_salt_changes_the_heads_of_prefixes_and_nothing_that_is_counted() -> None:
    scenario = replace(PLAIN, prefixes=(Prefixes(20, 3),), prompt_tokens=Lengths("fixed", 60, 60))
    plan = plan_of(scenario)
    other = with_salt(plan, 99)
    assert plan_hash(plan) == plan_hash(other)
    for one, salted in zip(every(plan), every(other), strict=True):
        assert system(one).split()[1:9] != system(salted).split()[1:9]
        assert system(one).split()[9:] == system(salted).split()[9:]
        assert one._replace(messages=()) == salted._replace(messages=())


def test_a_class_may_have_sessions_beside_one_of_requests() -> None:
    turns = Turns(Lengths("fixed", 3, 3), Lengths("fixed", 40, 40), Pause("fixed", 1.0))
    talk = TrafficClass("talk", 1, Lengths("fixed", 60, 60), Lengths("fixed", 5, 5), turns=turns)
    ask = TrafficClass("ask", 1, Lengths("fixed", 60, 60), Lengths("fixed", 5, 5))
    found = every(plan_of(replace(PLAIN, classes=(talk, ask)), 60))
    assert {one.turn for one in found if one.klass == "talk"} == {0, 1, 2}
    assert {one.turn for one in found if one.klass == "ask"} == {0}
    by_session = {one.session: one.klass for one in found}
    assert all(by_session[one.session] == one.klass for one in found)


@pytest.mark.parametrize(
    "change",
    [{"weight": 2.0}, {"adapters": {"a": 1.0}}, {"shared_prefix_tokens": 9}, {"prefixes": (Prefixes(9, 2),)},
     {"sampling": {"temperature": "1"}}, {"prefixes": (Prefixes(9, 2, 0.5),)}],
)  # fmt: skip
def test_what_a_class_is_is_in_the_hash(change: dict[str, Any]) -> None:
    ask = TrafficClass("ask", 1, Lengths("fixed", 60, 60), Lengths("fixed", 5, 5))
    other = replace(ask, name="other")
    plain = plan_hash(plan_of(replace(PLAIN, classes=(ask, other))))
    assert plan_hash(plan_of(replace(PLAIN, classes=(replace(ask, **change), other)))) != plain


def test_a_class_whose_prompts_cannot_hold_their_prefixes_is_named() -> None:
    ask = TrafficClass("ask", 1, Lengths("fixed", 30, 30), Lengths("fixed", 5, 5), prefixes=(Prefixes(20, 2),))
    with pytest.raises(UserError, match="'ask'"):
        plan_of(replace(PLAIN, classes=(ask,)))
