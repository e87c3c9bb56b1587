"""Prompts of passages and a question, from documents, the user's own retriever, or recorded retrievals.

The retriever is called before the load, question by question, so that none of its work runs while requests are timed.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from bench.app.recordings import SAMPLE_MAX, Recording, read_dataset
from bench.app.retrieval import RetrievedPassages, retriever
from bench.plan.recording import RecordedSession, RecordedTurn
from bench.plan.rng import stream
from bench.plan.texts import TextsWriter, TurnText
from bench.types import Documents, Message
from scenarios.documents import RetrievedRow, joined, read_documents, read_retrieved

INSTRUCTION: Final = "Answer the question by these passages."
_QUOTED_WORDS: Final = 12
_ANSWERS_KEPT: Final = 4096


def read_passages(documents: Documents, *, seed: int, wanted: int) -> Recording:
    """`wanted` prompts, fewer if the file has fewer questions; their answers' lengths are the scenario's.

    Raises UserError for a file that cannot be read, and if the retriever fails.
    """
    wanted = min(wanted, SAMPLE_MAX)
    recorded = documents.retrieved
    rows = _found(documents, seed, wanted) if recorded is None else read_retrieved(recorded, wanted)
    writer, digest, sessions, empty = TextsWriter(), hashlib.sha256(), [], 0
    for row in rows:
        text = prompt(row)
        size = text.encode("utf-8", "replace")
        digest.update(hashlib.sha256(size).digest())
        empty += not row.contexts
        place = writer.add(TurnText((Message("user", text),), None))
        sessions.append(
            RecordedSession((RecordedTurn(place=place, text_bytes=len(size), retrieval_ns=row.retrieval_ns),))
        )
    return Recording(
        kind="documents",
        name=documents.name,
        sha256=digest.hexdigest(),
        rows=len(sessions),
        empty=empty,
        failed=0,
        available=len(sessions),
        sessions=tuple(sessions),
        writer=writer,
        block_tokens=None,
        output="scenario",
    )


def prompt(row: RetrievedRow) -> str:
    """The passages as retrieved, and the question."""
    return joined([INSTRUCTION, *row.contexts, f"Question: {row.question}"])


def _found(documents: Documents, seed: int, wanted: int) -> Iterator[RetrievedRow]:
    chunks = [] if documents.folder is None else read_documents(documents.folder, documents.chunk_words)
    asked: Iterator[tuple[str, int | None]]
    if documents.questions is None:
        asked = (_question(chunks, seed, number) for number in range(wanted))
    else:
        asked = ((text, None) for text in _questions(documents.questions, seed, wanted))
    if documents.retrieve is None:
        for number, (question, own) in enumerate(asked):
            yield RetrievedRow(question, _drawn(chunks, documents.contexts, own, seed, number), None)
        return
    for question, _ in asked:
        found = _asked(documents.retrieve, documents.contexts, question)
        yield RetrievedRow(question, found.contexts, found.took_ns)


@lru_cache(_ANSWERS_KEPT)
def _asked(named: str, contexts: int, question: str) -> RetrievedPassages:
    """What the retriever returned, shared by all loads of a study."""
    return retriever(named, contexts)(question)


def _questions(name: str, seed: int, wanted: int) -> list[str]:
    """The first question of each row of a file, in an order drawn by the seed."""
    found = read_dataset(name, seed=seed, wanted=wanted, output="scenario", flag="questions:")
    places = [session.turns[0].place for session in found.sessions]
    texts = found.writer.texts([place for place in places if place is not None])
    return [texts[number].messages[-1].text for number in range(len(places))]


def _question(chunks: list[str], seed: int, number: int) -> tuple[str, int]:
    """A question with words of a randomly drawn passage, and the index of that passage."""
    of_passage, of_words = stream(seed, "question", number).take(2).tolist()
    own = of_passage % len(chunks)
    words = chunks[own].split()
    begin = of_words % max(1, len(words) - _QUOTED_WORDS + 1)
    return f"What is said of this: {' '.join(words[begin : begin + _QUOTED_WORDS])}?", own


def _drawn(chunks: list[str], count: int, own: int | None, seed: int, number: int) -> tuple[str, ...]:
    """The question's own passage and others drawn at random, without repeats."""
    size = min(count, len(chunks))
    # A Fisher-Yates shuffle of the first places only; the dictionary holds what has been moved.
    moved = {} if own is None else {own: 0, 0: own}
    for place, draw in enumerate(stream(seed, "passages", number).take(size).tolist()):
        if place or own is None:
            other = place + draw % (len(chunks) - place)
            moved[place], moved[other] = moved.get(other, other), moved.get(place, place)
    return tuple(chunks[moved.get(place, place)] for place in range(size))
