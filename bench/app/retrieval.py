"""The user's own retriever, called before the load: a program or a URL, timed from the question to the last byte.

Nothing beyond what the user named is run or asked: no shell reads the command, no redirect is followed.
"""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from backends.cold.http import post_json
from bench.app.address import long_enough
from bench.app.options import words_of
from bench.types import Target, UserError
from scenarios.documents import texts_of

TIMEOUT_S: Final = 60.0
MAX_BYTES: Final = 8 * 2**20
_SHOWN: Final = 200


class RetrievedPassages(NamedTuple):
    """The passages returned for a question, and how long that took."""

    contexts: tuple[str, ...]
    took_ns: int


def retriever(named: str, contexts: int, timeout_s: float = TIMEOUT_S) -> Callable[[str], RetrievedPassages]:
    """A function that asks a program or a URL for `contexts` passages. Raises UserError, and so does the function."""
    if named.startswith(("http://", "https://")):
        url = urlsplit(named)
        if url.username is not None or url.password is not None:
            raise UserError("retrieve: expected a URL without user or password")
        target = Target(f"{url.scheme}://{url.netloc}{url.path}", "", query=url.query, secrets=_values(url.query))
        return lambda question: _asked_url(target, question, contexts, timeout_s)
    words = [word.replace("{k}", str(contexts)) for word in words_of("retrieve", named)]
    if not words:
        raise UserError("retrieve: expected a command such as './search.py {k}', or a URL")
    return lambda question: _asked_program(words, question, contexts, timeout_s)


def _asked_url(target: Target, question: str, contexts: int, timeout_s: float) -> RetrievedPassages:
    begin_ns = time.monotonic_ns()
    try:
        answer = post_json(target, "", {"query": question, "k": contexts}, headers=(), timeout_s=timeout_s)
    except UserError as problem:
        raise UserError(f"retrieve: {problem}") from None
    took_ns = time.monotonic_ns() - begin_ns
    return RetrievedPassages(_checked(texts_of(answer), target.url, contexts), took_ns)


def _asked_program(words: list[str], question: str, contexts: int, timeout_s: float) -> RetrievedPassages:
    begin_ns = time.monotonic_ns()
    output, errors, status = _run(words, question, timeout_s)
    took_ns = time.monotonic_ns() - begin_ns
    if status != 0:
        said = " ".join(errors.decode("utf-8", "replace").split())[-_SHOWN:]
        raise UserError(f"retrieve: {words[0]} exited with code {status}{': ' + said if said else ''}")
    return RetrievedPassages(_checked(_passages(output), words[0], contexts), took_ns)


def _run(words: list[str], question: str, timeout_s: float) -> tuple[bytes, bytes, int]:
    """Its output, its standard error and exit code; it and all its children are ended after the time limit."""
    with tempfile.TemporaryFile() as asked:
        asked.write(question.encode("utf-8", "replace"))
        asked.seek(0)
        try:
            process = subprocess.Popen(
                words, stdin=asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise UserError(f"retrieve: {words[0]} cannot be started: {getattr(error, 'strerror', error)}") from None
    try:
        return _read(process, words[0], time.monotonic() + timeout_s, timeout_s)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # children that it left behind, too
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _read(process: "subprocess.Popen[bytes]", name: str, until_s: float, timeout_s: float) -> tuple[bytes, bytes, int]:
    assert process.stdout and process.stderr
    read = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as open_pipes:
        for pipe in read:
            open_pipes.register(pipe, selectors.EVENT_READ)
        while open_pipes.get_map():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise UserError(f"retrieve: {name} had not ended after {timeout_s:g} s")
            for key, _ in open_pipes.select(left_s):
                if piece := os.read(key.fd, 1 << 16):
                    read[key.fd] += piece
                    if len(read[key.fd]) > MAX_BYTES:
                        raise UserError(f"retrieve: {name} wrote more than {MAX_BYTES // 2**20} MiB")
                else:
                    open_pipes.unregister(key.fd)
    try:
        status = process.wait(max(0.0, until_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise UserError(f"retrieve: {name} had not ended after {timeout_s:g} s") from None
    output, errors = read.values()
    return bytes(output), bytes(errors), status


def _passages(output: bytes) -> tuple[str, ...] | None:
    """The passages in a program's output: a JSON list, JSON lines, or one per line; None for anything else."""
    try:
        lines = [line for line in output.decode("utf-8").splitlines() if line.strip()]
        if not lines:
            return None
        if not lines[0].lstrip().startswith(("[", "{", '"')):
            return tuple(lines)
        with suppress(ValueError):
            whole = texts_of(json.loads(output))
            if whole is not None:
                return whole
        return texts_of([json.loads(line) for line in lines])
    except (ValueError, RecursionError):
        return None


def _checked(texts: tuple[str, ...] | None, name: str, contexts: int) -> tuple[str, ...]:
    if texts is None:
        raise UserError(
            f'retrieve: {name} gave no passages: expected JSON such as ["…", "…"] or '
            '{"contexts": [{"text": "…"}]}, [] for none'
        )
    if len(texts) > contexts:
        raise UserError(f"retrieve: {name} gave {len(texts)} passages: expected {contexts} at most (`contexts`)")
    return texts


def _values(query: str) -> tuple[str, ...]:
    """The values in a URL's query, which may be keys."""
    return long_enough(pair.partition("=")[2] for pair in query.split("&"))
