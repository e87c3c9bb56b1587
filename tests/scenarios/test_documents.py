"""Documents: pieces that are the text, contexts that were recorded, and what a scenario may say of them."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.types import UserError
from scenarios import load_scenario
from scenarios.documents import chunks, read_documents, read_retrieved

LENGTHS = "prompt_tokens: 64\noutput_tokens: 8\n"


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from("ab é\n\t\u2003#."), max_size=200), words=st.integers(1, 9))
def test_chunks_are_the_text_to_the_letter_and_full_but_for_the_last(text: str, words: int) -> None:
    found = chunks(text, words)
    assert "".join(found) == (text if text.split() else "")
    sizes = [len(chunk.split()) for chunk in found]
    assert sizes[:-1] == [words] * (len(sizes) - 1) and all(0 < size <= words for size in sizes)


def test_a_folder_is_read_in_the_order_of_names_and_of_text_and_markdown_alone(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name, text in (
        ("b.md", "b1 b2 b3"),
        ("a.TXT", "a1"),
        ("sub/c.rst", "c1"),
        (".hidden/d.txt", "d"),
        ("e.pdf", "e"),
    ):
        (tmp_path / name).write_text(text)
    assert read_documents(str(tmp_path), 2) == ["a1", "b1 b2 ", "b3", "c1"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"\xff", r"a\.txt cannot be read: not UTF-8 text at byte 0"),
        ("a.txt", b" \n", "no text in"),
        ("a.pdf", b"a", "no text"),
    ],
)
def test_documents_without_text_are_one_line(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read_documents(str(tmp_path), 2)
    with pytest.raises(UserError, match="is not a folder"):
        read_documents(str(tmp_path / "none"), 2)


def test_recorded_contexts_are_rows_with_their_time_where_it_is_known(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(
        '{"question": "q", "contexts": ["a", {"text": "b"}], "retrieval_ms": 1.5}\n\n'
        '{"question": "r", "contexts": []}\n'
    )
    assert read_retrieved(str(path), 9) == [("q", ("a", "b"), 1_500_000), ("r", (), None)]
    assert len(read_retrieved(str(path), 1)) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ('{"contexts": []}', "question: expected a text, got None"),
        ('{"question": " ", "contexts": []}', "question: expected a text"),
        ('{"question": "q"}', "contexts: expected a list"),
        ('{"question": "q", "contexts": [1]}', "contexts: expected a list"),
        ('{"question": "q", "contexts": [], "retrieval_ms": -1}', "retrieval_ms: expected milliseconds"),
        ('{"question": "q", "contexts": [], "retrieval_ms": true}', "retrieval_ms: expected milliseconds"),
        ('{"question": "q", "contexts": [], "retrieval_ms": NaN}', "retrieval_ms: expected milliseconds"),
        ('{"question": "q", "contexts": ["\xff"]}', "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ("x" * (8 * 2**20 + 1), "expected at most 8 MiB per row"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_recorded_contexts_is_said_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\n" + line.encode("latin-1"))
    with pytest.raises(UserError, match=rf"r\.jsonl:2: {reason}"):
        read_retrieved(str(path), 9)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("retrieved: a\nretrieve: b", "leave out retrieve"),
        ("questions: a", "questions needs documents, or both questions and retrieve"),
        ("retrieve: a", "retrieve needs documents"),
        ("questions: q\nretrieve: a\nchunk_words: 3", "chunk_words needs documents"),
        ("documents: a\ndataset: b", "leave out dataset"),
        ("documents: a\nturns: 2", "leave out turns"),
        ("documents: a\ncontexts: 0", "contexts: must be at least 1"),
        ("documents: a\nchunk_tokens: 4", "chunk_tokens: unknown key"),
    ],
)  # fmt: skip
def test_keys_that_do_not_go_together_are_one_line(tmp_path: Path, keys: str, reason: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(LENGTHS + keys)
    with pytest.raises(UserError, match=reason) as raised:
        load_scenario(str(path))
    assert "\n" not in str(raised.value)


def test_files_lie_beside_the_scenario_and_the_retriever_is_shown_by_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"{LENGTHS}documents: d\nquestions: /q.txt\nretrieve: http://h/?key=secret")
    found = load_scenario(str(path)).documents
    assert found is not None
    assert (found.folder, found.questions, found.retrieve) == (str(tmp_path / "d"), "/q.txt", "http://h/?key=secret")
    assert "secret" not in repr(found)
    assert load_scenario("rag").documents is None
