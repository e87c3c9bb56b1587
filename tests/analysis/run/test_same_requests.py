"""Runs asked the same by design where only the fit of the prompts differs, as their plans' lengths and times say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.run.same_requests import are_fitted, have_same_requests
from bench.plan.calls import Plan, lengths, make_plan, total
from bench.plan.prompts import Vocabulary
from bench.plan.resolve import resolve_load
from bench.plan.written import plan_hash
from bench.runs.manifest import RunManifest
from bench.runs.sections import dump
from scenarios import load_scenario
from tests.summaries import manifest_of

VOCABULARIES = (
    Vocabulary(("a", "b"), 1.0, 5, True, "one"),
    Vocabulary(("a", "b", "c"), 1.0, 5, True, "another"),
    Vocabulary(("a", "b"), 1.3, 9, False, "a third"),
)
ASKED = st.tuples(
    st.sampled_from(["smoke", "chat", "agent"]), st.integers(0, 1), st.sampled_from([3.0, None]), st.integers(2, 3),
    st.sampled_from(VOCABULARIES),
)  # fmt: skip


def planned(asked: tuple[str, int, float | None, int, Vocabulary]) -> tuple[Plan, RunManifest]:
    name, seed, rate, count, vocabulary = asked
    scenario = load_scenario(name)
    sessions, requests = (count, None) if scenario.turns else (None, count)
    load = resolve_load(scenario, rate=rate, warmup="0", sessions=sessions, requests=requests)
    plan = make_plan(scenario, load, seed, 1, vocabulary)
    tokenizer = {
        "words": " ".join(vocabulary.words), "tokens_per_word": vocabulary.tokens_per_word, "exact": vocabulary.exact,
        "overhead_tokens": vocabulary.overhead_tokens, "source": vocabulary.source,
    }  # fmt: skip
    found = {"scenario": dump(scenario), "load": dump(load), "seed": seed, "plan_hash": plan_hash(plan)}
    return plan, manifest_of({**found, "tokenizer": tokenizer})


def offered(plan: Plan) -> Any:
    due = None if plan.due_ns is None else np.asarray(plan.due_ns).tolist()
    return [lengths(plan, seq) for seq in range(total(plan) or 0)], due


@settings(max_examples=60, deadline=None)
@given(ASKED, ASKED, st.booleans())
def test_two_runs_asked_the_same_where_lengths_and_times_are_the_same_whoever_counted(
    one: Any, other: Any, only_the_words: bool
) -> None:
    if only_the_words:
        other = (*one[:4], other[4])
    (plan, run), (other_plan, other_run) = planned(one), planned(other)
    is_same = offered(plan) == offered(other_plan) and one[:4] == other[:4]
    assert have_same_requests([run], [other_run]) == is_same
    assert are_fitted([run], [other_run]) == (is_same and one[4] != other[4])


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 5), min_size=1), st.sets(st.integers(0, 5), min_size=1))
def test_repeats_asked_the_same_where_their_seeds_are_the_same(some: set[int], others: set[int]) -> None:
    sides = [
        [planned(("smoke", seed, None, 2, VOCABULARIES[i]))[1] for seed in seeds]
        for i, seeds in enumerate((some, others))
    ]
    assert have_same_requests(*sides) == (some == others)


@pytest.mark.parametrize("changed", [{"sha256": "1"}, {"too_long": 1}, {"turns": 3}, {"sessions": 3}, {"speed": "2"}])
def test_of_a_recording_it_must_be_the_same_part_that_was_sent(changed: dict[str, Any]) -> None:
    sent = {
        "kind": "trace", "file": "f", "sha256": "0", "rows": 2, "empty": 0, "failed": 0, "available": 2, "sessions": 2,
        "turns": 2, "too_long": 0, "estimated": 0, "without_text": 2, "drawn_prompts": 0, "drawn_outputs": 0,
        "output": "file", "speed": "1", "repeated": 0, "cacheable_share": None,
    }  # fmt: skip
    words = {"words": "a", "tokens_per_word": 1.0, "overhead_tokens": 1, "exact": True, "source": "s"}
    run = manifest_of({"recorded": sent, "tokenizer": words})
    other: dict[str, Any] = {"plan_hash": "1" * 64, "tokenizer": {**words, "words": "b"}}
    assert have_same_requests([run], [manifest_of({**other, "recorded": {**sent, "estimated": 2}})])
    assert not have_same_requests([run], [manifest_of({**other, "recorded": {**sent, **changed}})])
