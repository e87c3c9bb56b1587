"""Plans of sessions: what their turns add, what the prompts come to, and what a prefix cache can serve of them."""

import itertools
import pickle
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan.calls import Plan, call, calls, following, lengths, remaining, total, turns
from bench.plan.source import Conversation
from bench.plan.synthetic import longest_tokens
from bench.plan.written import plan_hash, write_plan
from bench.types import Call, Lengths, Message, Pause, Turns, UserError
from tests.bench.plan.sessions import VOCABULARIES, count, plan_of, plans

FEW = settings(deadline=None, max_examples=60)


def sessions(plan: Plan, worker: int = 0, workers: int = 1) -> list[list[Call]]:
    """Each of a worker's sessions, one turn after the other as the load asks for them."""
    found = []
    for first in calls(plan, worker, workers):
        session = [first]
        while (upcoming := following(plan, session[-1].seq)) is not None:
            session.append(upcoming)
        found.append(session)
    return found


def said(one: Call) -> str:
    """An answer as long as was asked for, of words that no plan has."""
    return " ".join([f"answer{one.seq}"] * one.max_tokens)


def prompts(session: list[Call]) -> list[tuple[Message, ...]]:
    conversation, answer, found = Conversation(), None, []
    for one in session:
        found.append(conversation.prompt(one, answer))
        answer = said(one)
    return found


def common_tokens(one: tuple[Message, ...], other: tuple[Message, ...]) -> int:
    """How many tokens two prompts have in common at the start, by the toy tokenizer."""
    streams = [[part for m in messages for part in (m.role, *m.text.split(), "end")] for messages in (one, other)]
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*streams, strict=False)))


@pytest.mark.slow
@given(plans())
@FEW
def test_workers_share_whole_sessions_which_are_the_plan_together(plan: Plan) -> None:
    whole = sessions(plan)
    assert [one.seq for session in whole for one in session] == list(range(total(plan) or 0))
    for workers in (2, 5):
        shares = [sessions(pickle.loads(pickle.dumps(plan)), worker, workers) for worker in range(workers)]
        assert sorted(itertools.chain(*shares), key=lambda session: session[0].seq) == whole
        assert plan_hash(pickle.loads(pickle.dumps(plan))) == plan_hash(plan)


@given(plans())
@FEW
def test_turns_are_numbered_and_follow_each_other_and_only_the_first_is_due_by_itself(plan: Plan) -> None:
    for number, session in enumerate(sessions(plan)):
        assert [one.turn for one in session] == list(range(len(session)))
        assert {one.session for one in session} == {number}
        assert [one.last for one in session] == [*[False] * (len(session) - 1), True]
        assert [one.seq for one in session] == list(turns(plan, number))
        assert list(remaining(plan, session[0].seq)) == [one.seq for one in session[1:]]
        assert [one.due_ns is None for one in session] == [plan.due_ns is None, *[True] * (len(session) - 1)]
        assert session[0].pause_ns == 0
        assert all(one.pause_ns >= 0 and one.pause_ns % 1000 == 0 for one in session)


@given(plans())
@FEW
def test_a_prompt_is_what_was_said_before_it_within_the_window_and_has_the_planned_tokens(plan: Plan) -> None:
    scenario = plan.source.scenario  # type: ignore[attr-defined]
    wanted = scenario.turns
    for session in sessions(plan):
        for one, prompt in zip(session, prompts(session), strict=True):
            assert count(prompt) == one.prompt_tokens == lengths(plan, one.seq)[0]
            assert count(prompt) + one.max_tokens <= (wanted.window_tokens or 10**9)
            assert count(prompt) + one.max_tokens <= longest_tokens(scenario)
            answers = [message.text for message in prompt if message.role == "assistant"]
            kept = session[one.since : one.turn]
            if wanted.history == "actual":
                assert answers == [said(before) for before in kept]
            else:
                assert [len(answer.split()) for answer in answers] == [before.max_tokens for before in kept]
            roles = [message.role for message in prompt if message.role != "system"]
            assert roles == [*["user", "assistant"] * len(kept), "user"]
            assert (prompt[0].role == "system") == (scenario.shared_prefix_tokens > 0)
            assert [m for m in prompt if m.role == "user"][-1] == one.messages[-1]
            assert wanted.when_full == "drop" or one.since == 0


@given(plans())
@FEW
def test_the_oldest_turns_are_dropped_only_where_they_do_not_fit(plan: Plan) -> None:
    window = plan.source.scenario.turns.window_tokens or 0  # type: ignore[attr-defined]
    for session in sessions(plan):
        for before, one in itertools.pairwise(session):
            assert before.since <= one.since <= one.turn
            if one.since > before.since:
                kept = one._replace(since=one.since - 1)
                assert count(prompts([*session[: one.turn], kept])[-1]) + one.max_tokens > window


@given(plans())
@FEW
def test_what_a_cache_can_serve_is_what_a_prompt_has_in_common_with_the_one_before_and_its_answer(plan: Plan) -> None:
    scenario = plan.source.scenario  # type: ignore[attr-defined]
    for number, session in enumerate(sessions(plan)):
        made = prompts(session)
        assert session[0].cacheable_tokens == (scenario.shared_prefix_tokens if number else 0)
        for (before, one), (held, prompt) in zip(itertools.pairwise(session), itertools.pairwise(made), strict=True):
            answered = (*held, Message("assistant", said(before)))
            if one.since == before.since:
                # The mark of an answer's end was not there, and its last token was never read.
                last = 2 if scenario.turns.history == "actual" else 0
                assert common_tokens(answered, prompt) - last == one.cacheable_tokens
            else:
                assert one.cacheable_tokens == scenario.shared_prefix_tokens <= common_tokens(answered, prompt)


@given(plans(), st.integers(0, 9))
@FEW
def test_the_salt_changes_the_first_words_of_every_turn_and_nothing_else(plan: Plan, salt: int) -> None:
    other = replace(plan, source=plan.source.salted(salt))
    assert plan_hash(other) == plan_hash(plan)
    for one, its in zip(itertools.chain(*sessions(plan)), itertools.chain(*sessions(other)), strict=True):
        assert one._replace(messages=()) == its._replace(messages=())
        heads = [made.messages[-1].text.split()[1:9] for made in (one, its)]
        assert (heads[0] == heads[1]) == (salt == plan.salt)
        assert one.messages[-1].text.split()[9:] == its.messages[-1].text.split()[9:]


def test_no_two_turns_begin_alike() -> None:
    turns_ = Turns(Lengths("fixed", 5, 5), Lengths("fixed", 30, 30), Pause("fixed", 0.0), window_tokens=260)
    plan = plan_of(turns_, sessions=50)
    heads = [tuple(one.messages[-1].text.split()[1:9]) for session in sessions(plan) for one in session]
    assert len(set(heads)) == len(heads)


def test_sessions_that_go_on_until_the_time_is_up_have_numbers_far_enough_apart() -> None:
    plan = plan_of(Turns(Lengths("uniform", 1, 7), Lengths("fixed", 20, 20), Pause("fixed", 0.0)), duration="2s")
    assert total(plan) is None
    for number in (0, 1, 1000):
        numbers = turns(plan, number)
        assert numbers[0] == 7 * number
        assert [call(plan, seq).session for seq in numbers] == [number] * len(numbers)
        assert {call(plan, seq).phase for seq in numbers} == {None}


def test_a_session_of_one_turn_is_a_request_by_itself() -> None:
    plan = plan_of(Turns(Lengths("fixed", 1, 1), Lengths("fixed", 20, 20), Pause("fixed", 3.0)))
    assert all(one.last and one.turn == 0 for one in calls(plan))
    assert total(plan) == len(list(calls(plan)))


def test_a_window_that_cannot_hold_a_turn_is_refused_with_what_would_do() -> None:
    turns_ = Turns(Lengths("fixed", 3, 3), Lengths("fixed", 300, 300), Pause("fixed", 0.0), window_tokens=290)
    with pytest.raises(UserError, match=r"window: 290 tokens cannot hold a turn .* take up to \d+; give \d+ or more"):
        plan_of(turns_)


def test_a_turn_too_short_for_its_fixed_parts_is_refused_with_the_least_that_works() -> None:
    turns_ = Turns(Lengths("fixed", 3, 3), Lengths("fixed", 19, 19), Pause("fixed", 0.0))
    with pytest.raises(UserError, match=r"turn_tokens: 19 is too few .* give 20 or more"):
        plan_of(turns_)
    plan_of(replace(turns_, added_tokens=Lengths("fixed", 20, 20)))


def test_the_plan_file_says_of_each_turn_when_it_follows_and_what_a_cache_can_serve(tmp_path: Path) -> None:
    plan = plan_of(Turns(Lengths("fixed", 3, 3), Lengths("fixed", 30, 30), Pause("fixed", 1.5)))
    write_plan(plan, tmp_path / "plan.parquet", range(total(plan) or 0))
    rows = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    for row, one in zip(rows, itertools.chain(*sessions(plan)), strict=True):
        assert (row["session"], row["turn"], row["cacheable_tokens"]) == (one.session, one.turn, one.cacheable_tokens)
        assert row["pause_ns"] == (1_500_000_000 if one.turn else None)
        assert row["prompt_tokens"] == one.prompt_tokens


def test_an_answers_cost_is_in_the_vocabulary_of_sessions_alone() -> None:
    assert VOCABULARIES[False].turn_tokens == VOCABULARIES[True].turn_tokens == 4 + 8
    assert VOCABULARIES[False].exact
