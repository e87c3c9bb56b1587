"""What is known of a program before the load: it runs on this machine, under the bridge that was launched for it."""

import shlex

from backends.cold import http
from backends.dialect.outside import known_fields, known_word, lenient
from bench.types import Message, ServerInfo, Target, UserError


def preflight(target: Target) -> ServerInfo:
    """What is run, and what other users can see of it."""
    answer = lenient(http.fetch(target, "/health").data)
    words = known_fields(answer).get("words")
    if not (isinstance(words, list) and words and all(isinstance(word, str) for word in words)):
        raise UserError(f"{target.url} does not run a program; leave out --url, and give the program as --command")
    notes = []
    if any("{prompt}" in word for word in words):
        notes.append(
            "prompts are command-line arguments, which other users of this machine can see; a --command without "
            "{prompt} gets them on its standard input"
        )
    return ServerInfo(
        name="exec",
        version=None,
        model=target.model,
        context_tokens=None,
        metrics_path="/metrics",
        settings={"command": shlex.join(words), "mode": known_word(answer.get("mode"))},
        notes=tuple(notes),
    )


def count_tokens(target: Target, messages: tuple[Message, ...]) -> int | None:
    """None: a program does not report its tokenizer."""
    return None
