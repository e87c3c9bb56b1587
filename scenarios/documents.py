"""A scenario's documents, and what is read from them: passages, and recorded retrievals."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.types import Documents, UserError
from scenarios.files import visible

SUFFIXES: Final = (".txt", ".md", ".markdown", ".rst")
MAX_CONTEXTS: Final = 1000
_MAX_BYTES: Final = 256 * 2**20
_LINE_BYTES: Final = 8 * 2**20
_WORDS: Final = re.compile(r"\S+\s*")


class DocumentKeys(BaseModel):
    """The scenario keys that make prompts from passages."""

    model_config = ConfigDict(strict=True, extra="forbid")

    documents: str | None = None
    chunk_words: Annotated[int, Field(ge=1, le=100_000)] = 150
    questions: str | None = None
    contexts: Annotated[int, Field(ge=1, le=MAX_CONTEXTS)] = 4
    retrieve: str | None = None
    retrieved: str | None = None

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        given = DocumentKeys.model_fields.keys() & self.model_fields_set
        others = ", ".join(sorted(given - {"retrieved"}))
        if self.retrieved is not None and others:
            raise ValueError(f"retrieved already has the questions and their passages; leave out {others}")
        if self.documents is None and self.retrieved is None and given:
            if self.retrieve is None or self.questions is None:
                raise ValueError(f"{min(given)} needs documents, or both questions and retrieve")
            if "chunk_words" in given:
                raise ValueError("chunk_words needs documents")
        return self

    def passages(self) -> Documents | None:
        """The documents that these keys name; None if there are none."""
        if not DocumentKeys.model_fields.keys() & self.model_fields_set:
            return None
        return Documents(self.documents, self.chunk_words, self.questions, self.contexts, self.retrieve, self.retrieved)


class RetrievedRow(NamedTuple):
    """A question and the passages found for it; how long that took, if the file says so."""

    question: str
    contexts: tuple[str, ...]
    retrieval_ns: int | None


def beside(documents: Documents | None, folder: Path) -> Documents | None:
    """The same, with paths relative to the scenario's folder."""
    if documents is None:
        return None
    return replace(
        documents,
        folder=documents.folder and str(folder / documents.folder),
        questions=documents.questions and str(folder / documents.questions),
        retrieved=documents.retrieved and str(folder / documents.retrieved),
    )


def chunks(text: str, words: int) -> list[str]:
    """A text in pieces of `words` words, the last perhaps shorter; joined they are exactly the text.

    White space goes with the word before it, leading white space with the first. A text without words has no pieces.
    """
    found = list(_WORDS.finditer(text))
    edges = (0, *(found[i].start() for i in range(words, len(found), words)), len(text))
    return [text[begin:end] for begin, end in pairwise(edges)] if found else []


def read_documents(folder: str, words: int) -> list[str]:
    """The passages of all documents of a folder, in the order of their names. Raises UserError."""
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f"documents: {folder} is not a folder; expected one with files {', '.join(SUFFIXES)}")
    files = [one for one in visible(root) if one.suffix.lower() in SUFFIXES]
    if sum(one.stat().st_size for one in files) > _MAX_BYTES:
        raise UserError(f"documents: {folder} has more than {_MAX_BYTES // 2**20} MiB; give a part of it")
    found = [chunk for file in files for chunk in chunks(_text(file), words)]
    if not found:
        raise UserError(f"documents: no text in {folder}: expected files {', '.join(SUFFIXES)}")
    return found


def read_retrieved(path: str, most: int) -> list[RetrievedRow]:
    """The first rows of a file of questions with their passages, a JSON object per line. Raises UserError."""
    try:
        with Path(path).open("rb") as file:
            found = list(_rows(path, file, most))
    except OSError as error:
        raise UserError(f"retrieved: {path} cannot be read: {error.strerror}") from error
    if not found:
        raise UserError(f'retrieved: {path} has no rows: expected {{"question": …, "contexts": […]}} per line')
    return found


def texts_of(found: Any) -> tuple[str, ...] | None:
    """Passages in JSON: a list of texts or objects with a `text`, or such a list as `contexts`; None otherwise."""
    if isinstance(found, dict):
        found = found.get("contexts")
    if not isinstance(found, list):
        return None
    each = [one.get("text") if isinstance(one, dict) else one for one in found]
    texts = tuple(one for one in each if isinstance(one, str))
    return texts if len(texts) == len(each) else None


def _rows(path: str, file: Any, most: int) -> Iterator[RetrievedRow]:
    kept = number = 0
    while kept < most and (line := file.readline(_LINE_BYTES + 1)):
        number += 1
        if len(line) > _LINE_BYTES:
            raise UserError(f"{path}:{number}: expected at most {_LINE_BYTES // 2**20} MiB per row, got more")
        if line.strip():
            kept += 1
            yield _row(line, f"{path}:{number}")


def _row(line: bytes, where: str) -> RetrievedRow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise UserError(f'{where}: expected a JSON object {{"question": …, "contexts": […]}}')
    question, texts, took_ms = row.get("question"), texts_of(row.get("contexts")), row.get("retrieval_ms")
    if not isinstance(question, str) or not question.strip():
        raise UserError(f"{where}: question: expected a text, got {question!r:.60}")
    if texts is None or len(texts) > MAX_CONTEXTS:
        raise UserError(f"{where}: contexts: expected a list of at most {MAX_CONTEXTS} texts")
    if took_ms is None:
        return RetrievedRow(question, texts, None)
    if isinstance(took_ms, bool) or not isinstance(took_ms, int | float) or not 0 <= took_ms <= 1e7:
        raise UserError(f"{where}: retrieval_ms: expected milliseconds from 0 to 10000000, got {took_ms!r:.60}")
    return RetrievedRow(question, texts, round(took_ms * 1e6))


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text at byte {error.start}"
        raise UserError(f"documents: {file} cannot be read: {reason}") from error


def joined(texts: Sequence[str]) -> str:
    """Passages one below the other, as they are, with an empty line between two."""
    return "\n\n".join(texts)
