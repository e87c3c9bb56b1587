"""Recorded calls: what a prompt is made of, what it shares with earlier ones, and how long it is."""

import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan.calls import Plan, calls, plan_of, total, turns
from bench.plan.common import in_common
from bench.plan.prompts import Vocabulary
from bench.plan.recorded import Recorded, keep, restore
from bench.plan.recording import Account, DatasetLimits, Output, RecordedSession, RecordedTurn, SourceMaker
from bench.plan.texts import TextsWriter, TurnText
from bench.plan.written import plan_hash
from bench.types import Lengths, Load, Message, Scenario, UserError

WORDS = tuple(f"w{i}" for i in range(300))
VOCABULARY = Vocabulary(WORDS, 1.0, 12, True, "test", 4)
SCENARIO = Scenario("s", "", Lengths("uniform", 40, 60), Lengths("uniform", 7, 9), 0, 1, 1, 0)
LOAD = Load(2, None, "poisson", 9, None, 0, None, 2, "wait")
WRITERS: list[TextsWriter] = []
"""Texts are there for as long as who wrote them."""


def words_of(messages: Sequence[Message]) -> list[str]:
    """A token each: the words, with all else of a prompt as one of them."""
    return [word for message in messages for word in message.text.split()]


def counted(messages: tuple[Message, ...]) -> int:
    return 3 + len(words_of(messages))


def made(
    sessions: Sequence[RecordedSession],
    writer: TextsWriter | None = None,
    *,
    limits: DatasetLimits | None = None,
    output: Output = "file",
    planned: bool = False,
    block_tokens: int | None = None,
    seed: int = 1,
    salt: int = 2,
) -> tuple[Recorded, Account]:
    maker = SourceMaker(
        (writer or TextsWriter()).texts, SCENARIO, seed, salt, VOCABULARY, counted, limits or DatasetLimits(), output,
        planned, block_tokens,
    )  # fmt: skip
    return maker.source(sessions, content="abc", name="--dataset f")


def text_session(writer: TextsWriter, *turns: tuple[str, str | None]) -> RecordedSession:
    found = []
    for prompt, answer in turns:
        place = writer.add(TurnText((Message("user", prompt),), answer))
        found.append(RecordedTurn(place, len(prompt.encode()), len((answer or "").encode())))
    return RecordedSession(tuple(found))


def of_blocks(*prompts: tuple[tuple[int, ...], int], block: int) -> list[RecordedSession]:
    return [
        RecordedSession((RecordedTurn(prompt_tokens=tokens, output_tokens=3, blocks=ids),), i)
        for i, (ids, tokens) in enumerate(prompts)
    ]


def cached_by(block: int, prompts: Sequence[Sequence[str]]) -> list[int]:
    """What a prefix cache of unbounded size knows of each prompt, in whole blocks of so many tokens."""
    seen: set[tuple[str, ...]] = set()
    found = []
    for prompt in prompts:
        heads = [tuple(prompt[:end]) for end in range(block, len(prompt) + 1, block)]
        found.append(block * next((i for i, head in enumerate(heads) if head not in seen), len(heads)))
        seen.update(heads)
    return found


# --- lengths without text ---------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    prompts=st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.integers(1, 32)), min_size=1),
    size=st.sampled_from([1, 4, 16]),
)
def test_prompts_share_the_blocks_that_they_name_and_a_cache_hits_what_the_plan_says(
    prompts: list[tuple[list[int], int]], size: int
) -> None:
    # As in Mooncake an id stands for all before it, too, and a block that is part full is another: number the heads.
    heads: dict[tuple[int, ...], int] = {}
    named = []
    for ids, last in prompts:
        every_head = [tuple(ids[: i + 1]) for i in range(len(ids) - 1)] + [(*ids, -last)]
        named.append((tuple(heads.setdefault(head, len(heads)) for head in every_head), 32 * (len(ids) - 1) + last))
    source, _ = made(of_blocks(*named, block=32), block_tokens=32)
    every = [source.call(i, 0) for i in range(len(named))]
    for call, (_, tokens) in zip(every, named, strict=True):
        assert call.prompt_tokens == len(words_of(call.messages)) + 12 - 8 == max(tokens, 20)
    cached = cached_by(size, [words_of(call.messages) for call in every])
    for call, hit in zip(every, cached, strict=True):
        assert call.cacheable_tokens is not None
        # The opening is before the first block and the request after the last: a block of the cache at most apart.
        assert abs(hit - call.cacheable_tokens) <= size + 12


def test_a_new_run_shares_no_word_with_the_one_before() -> None:
    sessions = of_blocks(((1, 2), 64), ((3,), 32), block=32)
    first, second = (made(sessions, block_tokens=32, salt=salt)[0] for salt in (1, 2))
    assert words_of(first.call(0, 0).messages)[1:9] != words_of(second.call(0, 0).messages)[1:9]
    assert first.facts() == second.facts()
    assert words_of(first.salted(2).call(0, 0).messages) == words_of(second.call(0, 0).messages)


def test_lengths_that_a_file_does_not_have_are_the_scenarios_and_counted() -> None:
    source, account = made([RecordedSession((RecordedTurn(),)), RecordedSession((RecordedTurn(prompt_tokens=50),))])
    assert (account.drawn_prompts, account.drawn_outputs, account.without_text) == (1, 2, 2)
    assert 40 <= source.lengths(0, 0)[0] <= 60 and 7 <= source.lengths(1, 0)[1] <= 9
    assert source.lengths(1, 0)[0] == 50


def test_a_prompt_shorter_than_what_was_said_before_it_is_a_new_beginning() -> None:
    turns = tuple(RecordedTurn(prompt_tokens=p, output_tokens=10, pause_ns=5) for p in (100, 150, 120))
    source, _ = made([RecordedSession(turns)])
    first, second, third = (source.call(0, turn) for turn in range(3))
    assert (first.since, second.since, third.since) == (0, 0, 2)
    assert (first.cacheable_tokens, second.cacheable_tokens, third.cacheable_tokens) == (0, 109, 0)
    # 150 tokens are 100, the answer's 10, 4 for a turn, and what it adds.
    assert len(words_of(second.messages)) - 8 == 150 - 100 - 10 - 4
    assert len(words_of(third.messages)) - 8 == 120 - 12
    assert second.pause_ns == 5


# --- texts ------------------------------------------------------------------------------------------------------


def test_texts_are_sent_as_they_are_and_again_when_they_are_used_up() -> None:
    writer = TextsWriter()
    source, account = made(
        [text_session(writer, (text, "yes it is")) for text in ("one two", "three", "a b c")], writer
    )
    said = [source.call(i, 0).messages for i in range(7)]
    assert said[:3] == [(Message("user", text),) for text in ("one two", "three", "a b c")]
    assert said[3:6] == said[:3] and said[6] == said[0]
    assert [source.call(i, 0).prompt_tokens for i in range(3)] == [5, 4, 6]
    assert {source.call(i, 0).max_tokens for i in range(3)} == {3}
    assert [source.call(i, 0).cacheable_tokens for i in range(6)] == [0, 0, 0, 5, 4, 6]
    assert in_common(plan_of(source, replace(LOAD, requests=7))) == (15 + 15 + 5, 15 + 5, 4)
    # Of a warm-up nothing is measured, but that it is sent again.
    assert in_common(plan_of(source, replace(LOAD, requests=3, warmup_requests=4))) == (4 + 6 + 5, 4 + 6 + 5, 4)
    endless = plan_of(source, replace(LOAD, requests=None, duration_s=1.0))
    assert in_common(endless, source.sessions) == (15, 0, 0)
    assert account.estimated == 0


def test_the_first_request_is_of_a_text_that_the_load_does_not_have() -> None:
    writer = TextsWriter()
    source, _ = made([text_session(writer, ("one two", None))], writer)
    assert source.salted(77).call(0, 0).messages == (Message("user", "(77) one two"),)


def test_later_turns_add_to_the_conversation_and_may_plan_its_answers() -> None:
    writer = TextsWriter()
    session = text_session(writer, ("one two", "three four five"), ("six", "seven"))
    actual, planned = (made([session], writer, planned=planned)[0] for planned in (False, True))
    assert actual.call(0, 1).messages == (Message("user", "six"),)
    assert planned.call(0, 1).messages == (Message("assistant", "three four five"), Message("user", "six"))
    assert (actual.turns(0), actual.turns_max) == (2, 2)
    assert actual.call(0, 1).cacheable_tokens == 5 + 3 - 1 and planned.call(0, 1).cacheable_tokens == 5
    assert actual.call(0, 1).prompt_tokens is None  # the answer before it is not known yet


def test_what_does_not_fit_is_left_out_and_counted() -> None:
    writer = TextsWriter()
    sessions = [
        text_session(writer, ("a " * 50, "b")),
        text_session(writer, ("a b", "c"), ("d " * 60, "e"), ("f", "g")),
        text_session(writer, ("x y", "z")),
    ]
    source, account = made(sessions, writer, limits=DatasetLimits(tokens=30))
    assert (account.too_long, account.sessions, account.turns) == (2, 2, 2)
    assert source.call(1, 0).messages == (Message("user", "x y"),)
    with pytest.raises(UserError, match="--dataset f: none of 3 sessions fits into 4 tokens"):
        made(sessions, writer, limits=DatasetLimits(tokens=4))


def test_what_nobody_counts_is_estimated_by_what_was_counted() -> None:
    writer = TextsWriter()
    sessions = [text_session(writer, ("abcd efgh " * 40, None)) for _ in range(3)]
    source, account = made(sessions, writer, limits=DatasetLimits(counted_turns=1))
    assert account.estimated == 2
    assert source.call(0, 0).prompt_tokens == 83 and source.call(1, 0).prompt_tokens is None
    assert source.lengths(1, 0)[0] == pytest.approx(83, abs=2)


SENTENCES = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta"]), min_size=1, max_size=60).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(SENTENCES, min_size=1, max_size=8))
def test_what_earlier_texts_have_of_one_is_what_a_cache_would_find(texts: list[str]) -> None:
    writer = TextsWriter()
    source, _ = made([text_session(writer, (text, None)) for text in texts], writer, output="scenario")
    for i, text in enumerate(texts):
        common = max((len(_common(text, other)) for other in texts[:i]), default=0)
        tokens, seen = source.lengths(i, 0)[0], source.call(i, 0).cacheable_tokens
        assert seen is not None
        share = common / len(text)
        assert share * tokens - tokens * 64 / len(text) - 1 <= seen <= share * tokens + tokens * 64 / len(text) + 1
        assert (seen == tokens) == (text in texts[:i]) or common + 64 > len(text)


def _common(one: str, other: str) -> str:
    return one[
        : next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    ]


# --- plans ------------------------------------------------------------------------------------------------------


def plan(sessions: int = 5) -> Plan:
    writer = TextsWriter()
    found = [text_session(writer, *[(f"{i} says {turn}", "yes") for turn in range(1 + i % 3)]) for i in range(sessions)]
    source, _ = made(found, writer)
    WRITERS.append(writer)
    return plan_of(source, LOAD)


def test_workers_together_have_the_plan_whatever_their_number() -> None:
    whole = plan()
    firsts = {call.session: call for call in calls(whole)}
    for workers in (2, 5):
        shares = [call for worker in range(workers) for call in calls(whole, worker, workers)]
        assert {call.session: call for call in shares} == firsts and len(shares) == len(firsts)
    assert plan_hash(plan()) == plan_hash(whole) != plan_hash(plan(4))
    assert [seq for session in firsts for seq in turns(whole, session)] == list(range(total(whole) or 0))


@pytest.mark.slow
def test_another_process_reads_the_texts_which_have_no_name() -> None:
    whole = plan()
    assert not Path(whole.source.texts.path).is_file() or "/proc/" in whole.source.texts.path  # type: ignore[attr-defined]
    code = (
        "import pickle, sys; from bench.plan.calls import call; plan = pickle.load(sys.stdin.buffer);"
        "print(call(plan, 2).messages[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(whole), capture_output=True, check=True, timeout=600
    )
    assert done.stdout.decode().strip() == "1 says 1"


def test_a_plan_is_found_again_without_its_texts(tmp_path: Path) -> None:
    whole = plan()
    assert isinstance(whole.source, Recorded)
    keep(whole.source, tmp_path / "recorded.npz")
    assert b"says" not in (tmp_path / "recorded.npz").read_bytes()
    again = restore(tmp_path / "recorded.npz", 1, 2, VOCABULARY)
    for session in range(7):
        for turn in range(again.turns(session)):
            assert again.call(session, turn) == whole.source.call(session, turn)._replace(messages=())


def test_times_of_a_trace_are_the_plans() -> None:
    source, _ = made(of_blocks(((1,), 30), ((2,), 30), block=32), block_tokens=32)
    assert source.due_ns is not None and np.array_equal(source.due_ns, [0, 1])
    assert made([RecordedSession((RecordedTurn(),), 3), RecordedSession((RecordedTurn(),))])[0].due_ns is None
