"""Traffic of one's own as a load: what is drawn of a dataset, when a trace is sent, what does not go together."""

import json
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.app import dry, recordings
from bench.app.dry import dry_plan
from bench.app.options import RunOptions
from bench.app.recordings import Recording, TraceCut, read_dataset, read_trace
from bench.app.request import RunRequest, run_request
from bench.plan.calls import call, lengths, total
from bench.plan.written import plan_hash
from bench.types import UserError
from scenarios.traffic.rows import SECOND_NS

URL = "http://127.0.0.1:9"
SLICES = Path(__file__).parents[2] / "fixtures" / "traffic"
MOONCAKE = str(SLICES / "mooncake_conversation_first2000.jsonl.gz")
AZURE = str(SLICES / "azure_conv_2023_first3000.csv.gz")


def request(**options: Any) -> RunRequest:
    return run_request(RunOptions.of({"backend": "openai", "model": "m", "scenario": "smoke", "url": URL, **options}))


def prompts_file(folder: Path, prompts: Sequence[str], name: str = "p.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps({"prompt": prompt, "response": "so " * 9}) + "\n" for prompt in prompts))
    return str(path)


def said(recording: Recording) -> list[str]:
    """The first prompts of its sessions, in the order in which they are sent."""
    places = [session.turns[0].place for session in recording.sessions]
    texts = recording.writer.texts([place for place in places if place is not None])
    return [texts[i].messages[-1].text for i in range(len(places))]


# --- datasets ---------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 300), wanted=st.integers(1, 40), seed=st.integers(0, 3))
def test_a_sample_has_no_prompt_twice_and_begins_every_larger_one(
    tmp_path_factory: pytest.TempPathFactory, count: int, wanted: int, seed: int
) -> None:
    name = prompts_file(tmp_path_factory.mktemp("sample"), [str(i) for i in range(count)])
    drawn = read_dataset(name, seed=seed, wanted=wanted, output="file")
    every = said(read_dataset(name, seed=seed, wanted=10**6, output="file"))
    assert sorted(every, key=int) == [str(i) for i in range(count)]
    assert said(drawn) == every[: len(drawn.sessions)] and drawn.available == count
    assert len(drawn.sessions) >= min(wanted, count)


def test_the_loads_of_a_study_read_a_dataset_once_unless_it_has_changed(tmp_path: Path) -> None:
    name = prompts_file(tmp_path, [str(i) for i in range(40)])
    found = [read_dataset(name, seed=1, wanted=wanted, output="file") for wanted in (9, 12, 16)]
    assert found[0] is found[1] is found[2] and len(found[0].sessions) == 16
    assert read_dataset(name, seed=2, wanted=9, output="file") is not found[0]
    prompts_file(tmp_path, [str(i) for i in range(41)])
    assert read_dataset(name, seed=1, wanted=9, output="file").available == 41


def test_each_seed_draws_another_sample_evenly(tmp_path: Path) -> None:
    name = prompts_file(tmp_path, [str(i) for i in range(20)])
    first = [said(read_dataset(name, seed=seed, wanted=1, output="file"))[0] for seed in range(400)]
    assert {first.count(str(i)) > 3 for i in range(20)} == {True}


def test_empty_rows_are_counted_and_left_out_and_files_are_hashed(tmp_path: Path) -> None:
    found = read_dataset(prompts_file(tmp_path, ["a", "", "  ", "b"]), seed=0, wanted=9, output="file")
    assert (found.rows, found.empty, found.available) == (4, 2, 2)
    both = read_dataset(str(tmp_path), seed=0, wanted=9, output="file")
    other = read_dataset(prompts_file(tmp_path, ["c"], "q.jsonl"), seed=0, wanted=9, output="file")
    assert len({found.sha256, both.sha256, other.sha256}) == 2
    assert sorted(said(read_dataset(str(tmp_path), seed=0, wanted=9, output="file"))) == ["a", "b", "c"]


def test_conversations_are_sessions_and_other_rows_are_not(tmp_path: Path) -> None:
    turns = [("human", "one"), ("gpt", "two"), ("human", "three"), ("gpt", "four")]
    rows = [{"id": "x", "conversations": [{"from": who, "value": text} for who, text in turns]}]
    (tmp_path / "s.json").write_text(json.dumps(rows))
    (session,) = read_dataset(str(tmp_path / "s.json"), seed=0, wanted=9, output="file").sessions
    assert [turn.answer_bytes for turn in session.turns] == [3, 4] and [turn.text_bytes for turn in session.turns] == [
        3,
        5,
    ]
    (tmp_path / "p.json").write_text(json.dumps([{"prompt": "a"}, {"prompt": "a"}]))
    assert len(read_dataset(str(tmp_path / "p.json"), seed=0, wanted=9, output="file").sessions) == 2


def test_memory_is_bounded_however_large_the_dataset(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for i in range(4000):
            file.write(json.dumps({"prompt": f"{i} " + "word " * 800, "response": "yes"}) + "\n")
    assert path.stat().st_size > 15 << 20
    tracemalloc.start()
    found = read_dataset(str(path), seed=0, wanted=100, output="file")
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()
    assert len(found.sessions) == 128


def test_a_file_without_text_is_no_dataset_and_one_without_times_is_no_trace(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 2 has no text; expected prompts or messages"):
        request(dataset=AZURE)
    with pytest.raises(UserError, match=r"p\.jsonl: line 1 has no time"):
        request(trace=prompts_file(tmp_path, ["a"]))
    (tmp_path / "e.txt").write_text("\n \n")
    with pytest.raises(UserError, match="is empty; expected requests"):
        request(dataset=str(tmp_path / "e.txt"))


def test_the_plan_of_a_dataset_depends_on_the_file_the_seed_and_the_choice_of_lengths(tmp_path: Path) -> None:
    name = prompts_file(tmp_path, [f"prompt {i}" for i in range(50)])

    def hashed(**options: Any) -> str:
        return plan_hash(dry_plan(request(dataset=name, requests=20, **options))[0])

    assert hashed() == hashed(workers=2) == hashed(out="elsewhere")
    other = hashed(seed=1), hashed(dataset_output="scenario"), hashed(output_tokens=9)
    (tmp_path / "p.jsonl").write_text((tmp_path / "p.jsonl").read_text() + '{"prompt": "one more"}\n')
    assert len({hashed(), *other}) == 4


def test_a_scenario_may_name_its_dataset_beside_it(tmp_path: Path) -> None:
    prompts_file(tmp_path, ["a", "b"])
    scenario = tmp_path / "mine.yaml"
    scenario.write_text("prompt_tokens: 64\noutput_tokens: 16\ndataset: p.jsonl\ndataset_output: scenario\n")
    found = request(scenario=str(scenario))
    plan, recorded = dry_plan(found)
    assert recorded is not None and (recorded.kind, recorded.output, recorded.sessions) == ("dataset", "scenario", 2)
    assert call(plan, 0).max_tokens == 16 and found.workload.scenario.temperature is None


def test_what_is_said_and_kept_of_a_dataset_has_nothing_of_its_text(tmp_path: Path) -> None:
    found = request(dataset=prompts_file(tmp_path, ["my own secret words", ""]), requests=3, warmup=0, concurrency=1)
    lines = dry.lines(dry.dry_run(found))
    assert "rows, 1 empty" in "\n".join(lines) and "2 prompts are sent again word for word" in "\n".join(lines)
    assert not any("secret" in line for line in lines) and "secret" not in repr(dry_plan(found)[1])


# --- traces -----------------------------------------------------------------------------------------------------


def timed(folder: Path, times_s: Sequence[float]) -> str:
    path = folder / "t.jsonl"
    rows = ({"timestamp": f"{1_700_000_000 + t:.3f}", "prompt_tokens": 90, "output_tokens": 5} for t in times_s)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@settings(max_examples=30, deadline=None)
@given(
    times_ms=st.lists(st.integers(0, 10**7), min_size=1, max_size=30).map(sorted),
    speed=st.sampled_from([Fraction(1), Fraction(2), Fraction(1, 2), Fraction(3), Fraction(13, 10)]),
    from_ms=st.integers(0, 5000),
    for_ms=st.none() | st.integers(1, 10**7),
)
def test_a_trace_is_due_when_it_came_at_its_speed_exactly(
    tmp_path_factory: pytest.TempPathFactory, times_ms: list[int], speed: Fraction, from_ms: int, for_ms: int | None
) -> None:
    name = timed(tmp_path_factory.mktemp("t"), [t / 1000 for t in times_ms])
    cut = TraceCut(Fraction(from_ms, 1000), None if for_ms is None else Fraction(for_ms, 1000), speed)
    first = times_ms[0]
    kept = [t - first - from_ms for t in times_ms]
    kept = [t for t in kept if t >= 0 and (for_ms is None or t < for_ms)]
    if not kept:
        with pytest.raises(UserError, match=r"--from and --for: .* has no request in that time"):
            read_trace(name, cut, "file")
        return
    due_ns = [session.due_ns for session in read_trace(name, cut, "file").sessions]
    assert due_ns == [round(t * 10**6 / speed) for t in kept]


def test_the_slices_are_sent_as_their_figures_say() -> None:
    found = request(trace=MOONCAKE)
    plan, recorded = dry_plan(found)
    assert recorded is not None and total(plan) == 2000
    # By a cache of unbounded size, as computed elsewhere.
    assert recorded.cacheable_share == pytest.approx(0.29411, abs=5e-6)
    assert found.workload.load.rate_per_s == pytest.approx(2000 / 669)
    assert plan.due_ns is not None and plan.due_ns[-1] == 669 * 10**9
    fast, _ = dry_plan(request(trace=AZURE, speed="4", requests=100))
    assert total(fast) == 100
    slow, _ = dry_plan(request(trace=AZURE))
    assert fast.due_ns is not None and slow.due_ns is not None
    assert fast.due_ns.tolist() == [round(Fraction(due, 4)) for due in slow.due_ns[:100].tolist()]


def test_an_agents_calls_follow_each_other_with_the_tools_between(tmp_path: Path) -> None:
    calls = [
        {"timestamp": f":00:{s:02}Z", "duration_ms": 2000, "tokens": {"prompt": p, "completion": 10}}
        for s, p in ((0, 100), (5, 150), (9, 210))
    ]
    sessions = [
        {"session_id": name, "turns": [{"llm_calls": [{**one, "timestamp": f"2026-06-01T{hour}{one['timestamp']}"}
                                                      for one in calls]}]}
        for name, hour in (("late", "11"), ("early", "10"))
    ]  # fmt: skip
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, sessions)))
    found = request(trace=str(tmp_path / "c.jsonl"), speed="2")
    plan, _ = dry_plan(found)
    assert (found.workload.load.sessions, total(plan)) == (2, 6)
    assert plan.due_ns is not None and plan.due_ns.tolist() == [0, 1800 * 10**9]
    assert [call(plan, seq).pause_ns for seq in range(3)] == [0, 1_500_000_000, 1_000_000_000]
    assert [call(plan, seq).cacheable_tokens for seq in range(3)] == [0, 109, 159]


def test_lengths_that_a_file_does_not_have_are_the_scenarios(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time,output_tokens\n1700000000,900\n1700000001,\n1700000002,\n")
    plan, recorded = dry_plan(request(trace=str(tmp_path / "t.csv")))
    assert recorded is not None and (recorded.drawn_prompts, recorded.drawn_outputs) == (3, 2)
    # smoke: 64 tokens, answers of 16.
    assert [(call(plan, i).prompt_tokens or lengths(plan, i)[0], call(plan, i).max_tokens) for i in range(3)] == [
        (64, 900), (64, 16), (64, 16)
    ]  # fmt: skip


def test_times_that_go_backwards_are_no_trace(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("1700000003\n1700000002\n")
    with pytest.raises(UserError, match=r"t\.txt:2: its time is 1 s before the previous one; sort the file by time"):
        request(trace=str(tmp_path / "t.txt"))


def test_calls_that_failed_are_sent_for_one_token(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text("Timestamp,Model,Request tokens,Response tokens\n5,m,80,18\n6,m,90,0\n")
    plan, recorded = dry_plan(request(trace=str(path)))
    assert recorded is not None and recorded.failed == 1
    assert [call(plan, seq).max_tokens for seq in range(2)] == [18, 1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dataset": "a", "trace": "b"}, "--dataset and --trace exclude each other"),
        ({"speed": "2"}, "--speed: applies to a trace"),
        ({"from": "2s"}, "--from: applies to a trace"),
        ({"for": "2s"}, "--for: applies to a trace"),
        ({"dataset_output": "file"}, "--dataset-output: applies to a dataset"),
        ({"dataset": "a", "dataset_output": "file", "output_tokens": 5}, "exclude each other"),
        ({"dataset": "a", "prompt_tokens": 5}, "--prompt-tokens: the file decides the prompts"),
        ({"dataset": "none.jsonl"}, "--dataset none.jsonl: no such file"),
        ({"trace": AZURE, "rate": 2}, "--rate: a trace has its own arrival times"),
        ({"trace": AZURE, "concurrency": 2}, "--concurrency: a trace has its own arrival times"),
        ({"trace": AZURE, "duration": "9s"}, "--duration: a trace has its own arrival times"),
        ({"trace": AZURE, "requests": 3001}, "--requests: must be from 1 to 3000"),
        ({"trace": AZURE, "warmup": "3k"}, "--warmup: expected a number below the 3000 sessions of .*, got .3k."),
        ({"trace": AZURE, "speed": "0"}, "--speed: must be from 0.001 to 1000"),
        ({"trace": AZURE, "speed": "inf"}, "--speed: must be from 0.001 to 1000"),
        ({"trace": AZURE, "for": "0s"}, "--for: must be more than 0 s"),
        ({"trace": AZURE, "from": "2"}, "--from: expected a time with its unit"),
        ({"trace": AZURE, "from": "2h"}, "has no request in that time; its last one came 628"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_line(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        request(**options)
    assert "\n" not in str(caught.value)


def test_a_sample_is_bounded_where_the_load_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "SAMPLE_MAX", 5)
    found = request(dataset=prompts_file(tmp_path, [str(i) for i in range(20)]), duration="9s", concurrency=1)
    plan, recorded = dry_plan(found)
    assert recorded is not None and recorded.sessions == 5 and total(plan) is None
    assert call(plan, 5).messages == call(plan, 0).messages


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", None]), st.sampled_from(["Hi", "Ho"])),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_rows_of_one_time_or_session_and_rows_that_come_twice_are_each_a_request_in_the_files_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None, str]]
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    said = (
        {"timestamp": t, "prompt": text, **({} if name is None else {"session_id": name})} for t, name, text in rows
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    recording = read_trace(str(path), TraceCut(), "file")
    assert [session.due_ns for session in recording.sessions] == [(t - rows[0][0]) * SECOND_NS for t, *_ in rows]
    texts = recording.writer.texts([session.turns[0].place or (0, 0) for session in recording.sessions])
    assert [texts[n].messages[0].text for n in range(len(rows))] == [text for *_, text in rows]


def test_a_session_whose_rows_are_out_of_order_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"timestamp": t, "prompt": "Hi", "session": "a"}) + "\n" for t in (1, 3, 2)))
    with pytest.raises(UserError, match=r"log.jsonl:3: timestamp: goes 1 s backwards from line 2; sort the file"):
        read_trace(str(path), TraceCut(), "file")
