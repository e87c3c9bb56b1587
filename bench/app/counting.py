"""Count answers with the user's tokenizer if the server does not report token counts."""

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path

from bench.app.request import backend_named
from bench.plan import tokenizer
from bench.plan.prompts import Count
from bench.runs.manifest import RunManifest
from bench.types import Body, Decode, Message, Reply, Usage, UserError


def decoder(run: RunManifest) -> Decode:
    """How a run's answers are decoded, with the run's tokenizer if the backend relies on it for counts."""
    decode, path = backend_named(run.backend).decode, (run.options or {}).get("tokenizer")
    return decode if path is None else partial(_counted, decode, path)


def _counted(decode: Decode, path: str, status: int, headers: Mapping[str, str], body: Body) -> Reply:
    reply = decode(status, headers, body)
    count = _counter(path) if reply.text and reply.usage is None else None
    if count is None:
        return reply
    tokens = count((Message("assistant", reply.text),))
    return reply._replace(usage=Usage(output_tokens=tokens), counted_by="tokenizer")


@lru_cache(maxsize=1)
def _counter(path: str) -> Count | None:
    """None if the tokenizer is gone: tokens are then counted by arrivals, which the records say."""
    try:
        return tokenizer.counter(Path(path))
    except UserError:
        return None
