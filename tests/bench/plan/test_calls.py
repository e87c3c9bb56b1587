import hashlib
import itertools
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan.calls import Plan, call, calls, make_plan, total
from bench.plan.prompts import Vocabulary
from bench.plan.resolve import resolve_load
from bench.plan.synthetic import sample
from bench.plan.written import plan_hash, write_plan
from bench.types import Call, Lengths, Scenario, UserError

VOCABULARY = Vocabulary(tuple(f"w{i}" for i in range(200)), 1.0, 12, True, "test")
SCENARIO = Scenario("s", "d", Lengths("lognormal", 40, 400, 100, 0.6), Lengths("uniform", 5, 20), 0, 4, 40, 8)
PREFIXED = replace(SCENARIO, prompt_tokens=Lengths("uniform", 150, 200), shared_prefix_tokens=100)

GOLDEN_HASH = "33b5b053d49cc44b8e68ee83fad6d677e747845de0448ba40eaa1d046a9f6fdb"
GOLDEN_CALLS = "b6e17a02ab7311ef"


def plan_of(
    scenario: Scenario = SCENARIO, *, seed: int = 1, salt: int = 2, vocabulary: Vocabulary = VOCABULARY, **load: Any
) -> Plan:
    return make_plan(scenario, resolve_load(scenario, **load), seed, salt, vocabulary)


def words(call: Call) -> list[str]:
    """The words of the prompt that are its own: not the opening, not the request."""
    return [word for word in call.messages[-1].text.split() if word in VOCABULARY.words]


def head(text: str, count: int = 8) -> tuple[str, ...]:
    return tuple(text.split()[1 : 1 + count])


LOADS: list[dict[str, Any]] = [
    {},
    {"requests": 17, "rate": 50.0},
    {"duration": "2s", "rate": 20.0},
    {"duration": "2s", "rate": 20.0, "arrivals": "constant"},
]


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_calls_of_all_workers_together_are_the_plan(load: dict[str, Any], workers: int) -> None:
    plan = plan_of(**load)
    shares = [list(calls(plan, worker, workers)) for worker in range(workers)]
    merged = sorted(itertools.chain(*shares))
    assert merged == list(calls(plan))
    assert [c.seq for c in merged] == list(range(total(plan) or 0))
    assert all(share == sorted(share) for share in shares)


def test_a_call_can_be_made_alone_and_in_another_process() -> None:
    plan = plan_of(PREFIXED, duration="2s", rate=20.0)
    assert call(pickle.loads(pickle.dumps(plan)), 7) == list(calls(plan))[7]


def test_a_counted_load_has_its_warmup_before_the_requests_that_are_measured() -> None:
    phases = [c.phase for c in calls(plan_of(requests=10, warmup="3"))]
    assert phases == ["warmup"] * 3 + ["measured"] * 10
    assert {c.due_ns for c in calls(plan_of())} == {None}


def test_an_open_loop_by_time_warms_up_by_time() -> None:
    plan = plan_of(duration="2s", warmup="1s", rate=10.0, arrivals="constant")
    by_phase = {phase: [c.due_ns for c in group] for phase, group in itertools.groupby(calls(plan), lambda c: c.phase)}
    assert by_phase["warmup"] == [i * 100_000_000 for i in range(10)]
    assert by_phase["measured"] == [i * 100_000_000 for i in range(10, 30)]


def test_a_closed_loop_by_time_has_no_end_and_leaves_the_phase_to_the_sender() -> None:
    plan = plan_of(duration="2s")
    assert total(plan) is None
    taken = list(itertools.islice(calls(plan, 1, 3), 100))
    assert [c.seq for c in taken] == list(range(1, 301, 3))
    assert {(c.phase, c.due_ns) for c in taken} == {(None, None)}


@pytest.mark.parametrize(("scenario", "structure_tokens"), [(SCENARIO, 0), (PREFIXED, 100)])
def test_a_prompt_has_as_many_words_as_its_tokens_leave_room_for(scenario: Scenario, structure_tokens: int) -> None:
    for c in calls(plan_of(scenario)):
        assert c.prompt_tokens == len(words(c)) + VOCABULARY.overhead_tokens + structure_tokens


def test_prompts_shorter_than_the_fixed_parts_are_raised_to_the_least_that_is_possible() -> None:
    short = replace(SCENARIO, prompt_tokens=Lengths("uniform", 1, 30))
    lengths = [c.prompt_tokens or 0 for c in calls(plan_of(short))]
    assert min(lengths) == VOCABULARY.overhead_tokens + 8
    assert max(lengths) <= 30


def test_a_scenario_that_cannot_hold_the_fixed_parts_is_refused_with_the_least_that_works() -> None:
    tiny = replace(SCENARIO, prompt_tokens=Lengths("fixed", 19, 19))
    with pytest.raises(UserError, match=r"prompt_tokens: 19 is too few .* give --prompt-tokens 20 or more"):
        plan_of(tiny)
    assert call(plan_of(replace(tiny, prompt_tokens=Lengths("fixed", 20, 20))), 0).prompt_tokens == 20


@pytest.mark.parametrize("scenario", [SCENARIO, PREFIXED])
def test_no_two_prompts_of_a_run_or_of_two_runs_begin_alike(scenario: Scenario) -> None:
    runs = [calls(plan_of(scenario, salt=salt, requests=2000)) for salt in (1, 2)]
    prompts = [c.messages for run in runs for c in run]
    assert len({head(prompt[-1].text) for prompt in prompts}) == len(prompts)


def test_the_shared_prefix_is_one_text_in_a_run_and_another_in_the_next() -> None:
    first, second = ({c.messages[0] for c in calls(plan_of(PREFIXED, salt=salt))} for salt in (1, 2))
    (one,), (other,) = first, second
    assert one.role == "system"
    assert len(one.text.split()) == 1 + 100
    assert head(one.text) != head(other.text)


def test_the_salt_changes_the_first_words_and_nothing_else() -> None:
    for one, other in zip(calls(plan_of(salt=1)), calls(plan_of(salt=2)), strict=True):
        assert words(one)[:8] != words(other)[:8]
        assert words(one)[8:] == words(other)[8:]
        assert one._replace(messages=()) == other._replace(messages=())


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert plan_hash(plan_of()) == GOLDEN_HASH
    assert plan_hash(plan_of(salt=99)) == GOLDEN_HASH
    assert plan_hash(plan_of(replace(SCENARIO, name="x", description="y"))) == GOLDEN_HASH


def test_the_calls_are_the_same_on_every_machine() -> None:
    plan = plan_of(PREFIXED, duration="2s", rate=20.0)
    # As calls were before there were sessions.
    before = [
        f"Call({', '.join(f'{name}={value!r}' for name, value in list(c._asdict().items())[:9])})" for c in calls(plan)
    ]
    assert hashlib.sha256(f"[{', '.join(before)}]".encode()).hexdigest()[:16] == GOLDEN_CALLS


@pytest.mark.parametrize(
    "other",
    [
        plan_of(seed=2),
        plan_of(requests=41),
        plan_of(concurrency=5),
        plan_of(warmup="9"),
        plan_of(rate=3.0),
        plan_of(rate=3.0, arrivals="constant"),
        plan_of(duration="3s"),
        plan_of(replace(SCENARIO, prompt_tokens=Lengths("fixed", 100, 100))),
        plan_of(replace(SCENARIO, output_tokens=Lengths("fixed", 9, 9))),
        plan_of(replace(SCENARIO, shared_prefix_tokens=10)),
        plan_of(vocabulary=replace(VOCABULARY, overhead_tokens=13)),
    ],
)
def test_the_hash_changes_with_whatever_changes_the_load(other: Plan) -> None:
    assert plan_hash(other) != plan_hash(plan_of())


def test_the_hash_of_an_open_loop_sees_a_nanosecond_and_that_of_a_closed_one_is_as_it_was() -> None:
    plan = plan_of(rate=3.0)
    assert plan.due_ns is not None
    later = plan.due_ns + np.eye(1, len(plan.due_ns), 5, dtype=np.int64)[0]
    assert plan_hash(replace(plan, due_ns=later)) != plan_hash(plan)


def test_lengths_follow_their_distributions() -> None:
    draws = (np.arange(10_000) + 0.5) / 10_000
    lognormal = np.array([sample(Lengths("lognormal", 20, 2000, 256, 0.7), draw) for draw in draws])
    assert np.median(lognormal) == 256
    assert np.log(lognormal).std() == pytest.approx(0.7, rel=0.02)
    uniform = [sample(Lengths("uniform", 3, 6), draw) for draw in draws]
    assert np.bincount(uniform).tolist() == [0, 0, 0, 2500, 2500, 2500, 2500]


def test_the_lengths_of_a_plan_have_the_median_of_the_scenario() -> None:
    assert np.median([c.prompt_tokens for c in calls(plan_of(requests=4000))]) == pytest.approx(100, rel=0.05)


@settings(deadline=None, max_examples=100)
@given(
    draw=st.floats(0, 1, exclude_max=True),
    low=st.integers(1, 2_000_000),
    span=st.integers(0, 1000),
    sigma=st.floats(0.01, 3),
)
def test_a_length_is_never_out_of_bounds(draw: float, low: int, span: int, sigma: float) -> None:
    high = low + span
    for lengths in (
        Lengths("fixed", low, low),
        Lengths("uniform", low, high),
        Lengths("lognormal", low, high, (low + high) / 2, sigma),
    ):
        assert lengths.low <= sample(lengths, draw) <= lengths.high


@pytest.mark.parametrize("load", LOADS)
def test_the_plan_file_has_a_row_for_each_call(tmp_path: Path, load: dict[str, Any]) -> None:
    plan = plan_of(PREFIXED, **load)
    write_plan(plan, tmp_path / "plan.parquet", range(total(plan) or 0))
    rows = pq.read_table(tmp_path / "plan.parquet").to_pylist()
    expected = list(calls(plan))
    for row, c in zip(rows, expected, strict=True):
        prompt = hashlib.sha256("\0".join(itertools.chain(*c.messages)).encode()).hexdigest()
        assert row == {
            "seq": c.seq,
            "due_ns": c.due_ns,
            "session": c.session,
            "turn": 0,
            "phase": c.phase,
            "prompt_tokens": c.prompt_tokens,
            "max_tokens": c.max_tokens,
            "prompt_hash": prompt[:16],
            "pause_ns": None,
            "cacheable_tokens": 100 if c.seq else 0,
            "class": None,
            "adapter": None,
            "image_bytes": None,
            "retrieval_ns": None,
        }


def test_a_plan_file_of_no_calls_is_still_a_table(tmp_path: Path) -> None:
    write_plan(plan_of(), tmp_path / "plan.parquet", [])
    assert pq.read_table(tmp_path / "plan.parquet").num_rows == 0
