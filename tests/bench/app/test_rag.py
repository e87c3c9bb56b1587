"""Prompts of passages: they hold what came back and nothing else, and are the same for everybody; faults are a line."""

import json
import pickle
import shlex
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.app import rag
from bench.app.dry import dry_plan
from bench.app.options import RunOptions
from bench.app.rag import read_passages
from bench.app.recordings import Recording
from bench.app.request import RunRequest, run_request
from bench.app.retrieval import retriever
from bench.plan.calls import call, calls, total
from bench.plan.recorded import Recorded, keep, restore
from bench.plan.written import plan_hash
from bench.types import Documents, UserError
from scenarios.documents import read_documents

WebServer = Callable[[type[BaseHTTPRequestHandler]], str]


def program(code: str, *arguments: str) -> str:
    return shlex.join([sys.executable, "-c", f"import json, os, sys, time\n{code}", *arguments])


def request(folder: Path, keys: str, **options: Any) -> RunRequest:
    path = folder / "s.yaml"
    path.write_text(f"prompt_tokens: 64\noutput_tokens: 8\nrequests: 6\nwarmup_requests: 2\nconcurrency: 2\n{keys}\n")
    asked = {"backend": "openai", "model": "m", "scenario": str(path), "url": "http://127.0.0.1:9", **options}
    return run_request(RunOptions.of(asked))


def prompts(recording: Recording) -> list[str]:
    places = [session.turns[0].place for session in recording.sessions]
    texts = recording.writer.texts([place for place in places if place is not None])
    return [texts[i].messages[0].text for i in range(len(places))]


def manual(folder: Path, words: int = 60) -> str:
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text(" ".join(f"w{i}" for i in range(words)))
    return str(folder / "docs")


# --- prompts ----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(words=st.integers(1, 80), size=st.integers(1, 9), count=st.integers(1, 12), seed=st.integers(0, 5))
def test_without_a_retriever_passages_are_drawn_once_each_and_the_questions_own_is_the_first(
    tmp_path_factory: pytest.TempPathFactory, words: int, size: int, count: int, seed: int
) -> None:
    folder = manual(tmp_path_factory.mktemp("rag"), words)
    known = read_documents(folder, size)
    asked = Documents(folder, size, contexts=count)
    found = prompts(read_passages(asked, seed=seed, wanted=5))
    assert found == prompts(read_passages(asked, seed=seed, wanted=9))[:5]
    for text in found:
        # In their order, between two empty lines; no word of the documents has one.
        _, *passages, question = text.split("\n\n")
        assert len(passages) == min(count, len(known)) == len(set(passages)) and set(passages) <= set(known)
        assert question.removeprefix("Question: What is said of this: ").removesuffix("?") in passages[0]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.text(min_size=1).filter(str.strip), st.lists(st.text(), max_size=4)), min_size=1, max_size=6
    )
)
def test_a_prompt_holds_exactly_the_passages_that_were_found(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, list[str]]]
) -> None:
    path = tmp_path_factory.mktemp("rag") / "r.jsonl"
    path.write_text("".join(json.dumps({"question": question, "contexts": texts}) + "\n" for question, texts in rows))
    found = read_passages(Documents(retrieved=str(path)), seed=0, wanted=99)
    instruction = "Answer the question by these passages."
    wanted = ["\n\n".join([instruction, *texts, f"Question: {question}"]) for question, texts in rows]
    assert prompts(found) == wanted and found.empty == sum(not texts for _, texts in rows)


def test_a_program_finds_the_passages_and_its_time_is_a_calls_own(tmp_path: Path) -> None:
    manual(tmp_path)
    code = "q = sys.stdin.read(); time.sleep(0.02); print(json.dumps([q[-9:], sys.argv[1]]))"
    keys = f"documents: docs\nchunk_words: 10\ncontexts: 3\nretrieve: {json.dumps(program(code, '{k}'))}"
    made = request(tmp_path, keys)
    plan, recorded = dry_plan(made)
    assert recorded is not None and (recorded.kind, recorded.rows, recorded.output) == ("documents", 8, "scenario")
    assert total(plan) == 8
    for one in calls(plan):
        _, first, second, question = one.messages[0].text.split("\n\n")
        assert question.endswith(first) and second == "3" and one.max_tokens == 8
        assert one.retrieval_ns is not None and 20_000_000 <= one.retrieval_ns < 60_000_000_000
    assert made.workload.scenario.documents is None and made.workload.scenario.temperature is None


def test_the_plan_is_the_same_however_long_finding_takes_and_for_any_number_of_workers(tmp_path: Path) -> None:
    manual(tmp_path, 6000)
    keys = f"documents: docs\nretrieve: {json.dumps(program('print(json.dumps([sys.stdin.read()]))'))}"
    options = {"concurrency": 5, "requests": 5, "warmup": "0"}
    plan, again = (dry_plan(request(tmp_path, keys, workers=5, **options))[0] for _ in range(2))
    assert call(plan, 0).retrieval_ns == call(again, 0).retrieval_ns  # it is not asked again
    rag._asked.cache_clear()
    again = dry_plan(request(tmp_path, keys, workers=5, **options))[0]
    seeded = dry_plan(request(tmp_path, keys, seed=9, **options))[0]
    assert plan_hash(plan) == plan_hash(again) != plan_hash(seeded)
    assert call(plan, 0).retrieval_ns != call(again, 0).retrieval_ns
    for workers in (1, 2, 5):
        shared = [one for worker in range(workers) for one in calls(pickle.loads(pickle.dumps(again)), worker, workers)]
        texts = [one.messages for one in sorted(shared, key=lambda one: one.seq)]
        assert texts == [one.messages for one in calls(plan)] and len(set(texts)) == 5


def test_what_finding_took_is_kept_with_the_plan(tmp_path: Path) -> None:
    rows = [{"question": "q", "contexts": ["c"], "retrieval_ms": 2}, {"question": "r", "contexts": ["c"]}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan, _ = dry_plan(request(tmp_path, "retrieved: r.jsonl", requests=4))
    assert isinstance(plan.source, Recorded)
    took = [2_000_000, None, 2_000_000, None]  # when all questions are used up they come again
    assert [call(plan, seq).retrieval_ns for seq in range(4)] == took
    keep(plan.source, tmp_path / "kept.npz")
    kept = restore(tmp_path / "kept.npz", 0, 0, plan.source.vocabulary)
    assert [kept.call(seq, 0).retrieval_ns for seq in range(4)] == took
    assert b"Answer" not in (tmp_path / "kept.npz").read_bytes()


def test_questions_are_those_of_a_file_in_an_order_of_the_seed(tmp_path: Path) -> None:
    manual(tmp_path)
    (tmp_path / "q.txt").write_text("".join(f"question {i}\n" for i in range(30)))
    asked = Documents(str(tmp_path / "docs"), 10, str(tmp_path / "q.txt"), 2)
    every = [text.rpartition("\n\n")[2] for text in prompts(read_passages(asked, seed=1, wanted=99))]
    assert sorted(every) == sorted(f"Question: question {i}" for i in range(30)) != every
    with pytest.raises(UserError, match=r"questions: .*none\.txt: no such file"):
        read_passages(Documents(str(tmp_path / "docs"), questions=str(tmp_path / "none.txt")), seed=1, wanted=9)


@pytest.mark.parametrize(("flag", "value"), [("turns", "3"), ("prompt_tokens", 9)])
def test_flags_that_change_prompts_do_not_go_with_documents(tmp_path: Path, flag: str, value: Any) -> None:
    manual(tmp_path)
    with pytest.raises(UserError, match=f"--{flag.replace('_', '-')}: the file decides the "):
        request(tmp_path, "documents: docs", **{flag: value})


# --- retrievers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ('["a", "b"]', ("a", "b")),
        ('[{"text": "a", "score": 1}]', ("a",)),
        ('{"contexts": ["a"]}', ("a",)),
        ('"a"\n"b\\n"', ("a", "b\n")),
        ('{"text": "a"}\n{"text": "b"}\n', ("a", "b")),
        ('[\n"a",\n"b"\n]', ("a", "b")),
        ("a b\n\nc\n", ("a b", "c")),
        ("[]", ()),
    ],
)
def test_a_program_writes_json_or_lines(written: str, found: tuple[str, ...]) -> None:
    assert retriever(program("print(sys.argv[1])", written), 4)("q").contexts == found


def test_no_shell_reads_the_command_or_the_question(tmp_path: Path) -> None:
    ask = retriever(program("print(json.dumps([sys.argv[1], sys.stdin.read()]))", f"; touch {tmp_path}/x"), 2)
    question = f"$(touch {tmp_path}/y) é " * 10_000
    assert ask(question).contexts == (f"; touch {tmp_path}/x", question) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit('no index\\nhere')", "exited with code 1: no index here"),
        ("os.kill(os.getpid(), 9)", "exited with code -9"),
        ("pass", "gave no passages"),
        ("print('{')", "gave no passages"),
        ("print('[1]')", "gave no passages"),
        ("print('{}')", "gave no passages"),
        ("os.write(1, b'\\xff')", "gave no passages"),
        ("print('a\\nb\\nc')", "gave 3 passages: expected 2 at most"),
        ("print('[' * 100000)", "gave no passages"),
        ("while True: os.write(1, b'x' * 65536)", "wrote more than 8 MiB"),
        ("while True: os.write(2, b'x' * 65536)", "wrote more than 8 MiB"),
    ],
)  # fmt: skip
def test_faults_of_a_program_are_one_line(code: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"^retrieve: .*{reason}") as raised:
        retriever(program(code), 2)("q")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "code", ["time.sleep(60)", "os.close(1); os.close(2); time.sleep(60)", "os.fork(); time.sleep(60)"]
)
def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(code: str) -> None:
    begin_s = time.monotonic()
    with pytest.raises(UserError, match=r"had not ended after 0\.3 s"):
        retriever(program(code), 2, timeout_s=0.3)("q")
    assert time.monotonic() - begin_s < 30


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("", "expected a command"),
        ("'a", "expected words quoted as for a shell"),
        ("/none/of/it", "cannot be started: No such file"),
        ("http://me:secret@127.0.0.1/", "without user or password"),
    ],
)
def test_what_cannot_be_asked_is_one_line(named: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"retrieve: .*{reason}") as raised:
        retriever(named, 2)("q")
    assert "secret" not in str(raised.value)


class Search(BaseHTTPRequestHandler):
    asked: dict[str, Any]

    def do_POST(self) -> None:
        Search.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        code, _, answer = Search.asked["query"].partition(" ")
        self.send_response(int(code))
        self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_url_is_asked_by_post_and_answers_in_json(web_server: WebServer) -> None:
    found = retriever(f"{web_server(Search)}/search?key=very-secret-key", 3)('200 {"contexts": [{"text": "é"}]}')
    assert found.contexts == ("é",) and found.took_ns > 0
    assert Search.asked == {"query": '200 {"contexts": [{"text": "é"}]}', "k": 3}


@pytest.mark.parametrize("answer", ["500 very-secret-key", "302 []", "200 text", "200 [1]", '200 ["a", "b", "c", "d"]'])
def test_faults_of_a_url_are_one_line_without_its_key(web_server: WebServer, answer: str) -> None:
    with pytest.raises(UserError, match=r"^retrieve: ") as raised:
        retriever(f"{web_server(Search)}/search?key=very-secret-key", 3)(answer)
    assert "very-secret-key" not in str(raised.value) and "\n" not in str(raised.value)


def test_nobody_at_a_url_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^retrieve: .*127"):
        retriever("http://127.0.0.1:9/", 3)("q")
