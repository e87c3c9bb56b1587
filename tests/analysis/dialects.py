"""Answers in virtual time, truthful or not, as every server dialect puts them on the wire; from bytes to summary.json.

A truthful answer to a prompt of 64 tokens has its first token after 20 ms and 40 tokens 5 ms apart. A lie, or an honest
oddity, is a function from an `Answer` to another; a `Dialect` writes it down as pieces of bytes, each at its instant.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pyarrow as pa

from backends import BACKENDS
from backends.dialect import claude, openai, tgi
from bench.runs.arrivals import stopwatch
from bench.runs.records import Planned, record
from bench.runs.table import to_table
from bench.types import Decode, Exchange, Record
from tests.summaries import summarize

TOKENS, PROMPT_TOKENS, TTFT_MS, GAP_MS = 40, 64, 20.0, 5.0
SLOTS = 8
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
Piece = tuple[float, bytes]


@dataclass(frozen=True)
class Event:
    """One event of output: its instant since sending, its text, how many tokens it is said to bring."""

    t_ms: float
    text: str
    tokens: int = 1


@dataclass(frozen=True)
class Answer:
    """What a server sends for call `seq`; `total` None is the sum of prompt and output."""

    seq: int
    events: tuple[Event, ...]
    output: int | None
    prompt: int = PROMPT_TOKENS
    cached: int | None = None
    reasoning: int | None = None
    total: int | None = None
    finish: str = "length"
    max_tokens: int = TOKENS
    pieces: int = 1


Change = Callable[[Answer], Answer]


def truthful(seq: int, tokens: int = TOKENS, ttft_ms: float = TTFT_MS, gap_ms: float = GAP_MS) -> Answer:
    """A sound answer; its words are those of no other call."""
    events = (Event(ttft_ms + i * gap_ms, f" w{(seq * 7919 + i * 104_729) % 9973}") for i in range(tokens))
    return Answer(seq, tuple(events), tokens, max_tokens=tokens)


def timed(answer: Answer, t_ms: Callable[[int, Event], float]) -> Answer:
    """The same with other instants."""
    return replace(answer, events=tuple(replace(e, t_ms=t_ms(i, e)) for i, e in enumerate(answer.events)))


# --- dialects ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """How a server writes answers; `counts` says that each event tells how many tokens there are so far."""

    name: str
    backend: str
    decode: Decode
    write: Callable[[Answer], Iterator[tuple[float, Any]]]
    counts: bool
    finish: Mapping[str, str]


def _usage(answer: Answer) -> dict[str, Any]:
    assert answer.output is not None
    total = answer.prompt + answer.output if answer.total is None else answer.total
    usage: dict[str, Any] = {"prompt_tokens": answer.prompt, "completion_tokens": answer.output, "total_tokens": total}
    if answer.cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": answer.cached}
    if answer.reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": answer.reasoning}
    return usage


def _chat(answer: Answer, extra: Callable[[int], dict[str, Any]]) -> Iterator[tuple[float, Any]]:
    yield answer.events[0].t_ms, _choice({"role": "assistant", "content": ""})
    count = 0
    for event in answer.events:
        count += event.tokens
        yield event.t_ms, _choice({"content": event.text}) | extra(count)
    end_ms = answer.events[-1].t_ms
    yield end_ms, _choice({}, answer.finish)
    if answer.output is not None:
        yield end_ms, {"choices": [], "usage": _usage(answer)}
    yield end_ms, b"[DONE]"


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _completions(answer: Answer) -> Iterator[tuple[float, Any]]:
    """OpenAI's completions as Ollama streams them: every chunk has a usage of zeros, the last one the counts."""
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    for event in answer.events:
        choice = {"index": 0, "text": event.text, "finish_reason": None}
        yield event.t_ms, {"object": "text_completion", "choices": [choice], "usage": zeros}
    end_ms = answer.events[-1].t_ms
    yield end_ms, {"object": "text_completion", "choices": [{"index": 0, "text": "", "finish_reason": answer.finish}]}
    if answer.output is not None:
        yield end_ms, {"object": "text_completion", "choices": [], "usage": _usage(answer)}
    yield end_ms, b"[DONE]"


def _plain_chat(answer: Answer) -> Iterator[tuple[float, Any]]:
    return _chat(answer, lambda count: {})


def _running_usage(answer: Answer) -> Iterator[tuple[float, Any]]:
    prompt, rest = answer.prompt, _usage(answer)
    return _chat(answer, lambda n: {"usage": rest | {"completion_tokens": n, "total_tokens": prompt + n}})


def _timings(answer: Answer) -> Iterator[tuple[float, Any]]:
    return _chat(answer, lambda count: {"timings": {"predicted_n": count}})


def _native(answer: Answer) -> Iterator[tuple[float, Any]]:
    """Each event is one token: one that brings several is as many events at once."""
    events = [
        Event(event.t_ms, event.text if part == 0 else f"~{part}")
        for event in answer.events
        for part in range(max(event.tokens, 1))
    ]
    for i, event in enumerate(events):
        last = i == len(events) - 1
        details = {
            "finish_reason": answer.finish,
            "generated_tokens": answer.output,
            "input_length": answer.prompt,
            "seed": None,
        }
        yield (
            event.t_ms,
            {
                "index": i + 1,
                "token": {"id": i, "text": event.text, "logprob": -1.0, "special": False},
                "generated_text": "".join(e.text for e in events) if last else None,
                "details": details if last and answer.output is not None else None,
            },
        )


def _messages(answer: Answer) -> Iterator[tuple[float, Any]]:
    cached = answer.cached or 0
    usage = {"input_tokens": answer.prompt - cached, "output_tokens": 1}
    if answer.cached is not None:
        usage |= {"cache_read_input_tokens": cached, "cache_creation_input_tokens": 0}
    start_ms, end_ms = answer.events[0].t_ms, answer.events[-1].t_ms
    yield start_ms, {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": usage}}
    yield start_ms, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for event in answer.events:
        delta = {"type": "text_delta", "text": event.text}
        yield event.t_ms, {"type": "content_block_delta", "index": 0, "delta": delta}
    yield end_ms, {"type": "content_block_stop", "index": 0}
    ending = {
        "type": "message_delta",
        "delta": {"stop_reason": answer.finish},
        "usage": {"output_tokens": answer.output},
    }
    yield end_ms, ending
    yield end_ms, {"type": "message_stop"}


OPENAI_WORDS = {"length": "length", "stop": "stop", "filter": "content_filter"}
DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("openai", "openai", openai.decode, _plain_chat, False, OPENAI_WORDS),
        Dialect("completions", "openai", openai.decode, _completions, False, OPENAI_WORDS),
        Dialect("vllm", "vllm", BACKENDS["vllm"].decode, _running_usage, True, OPENAI_WORDS),
        Dialect("llamacpp", "llamacpp", BACKENDS["llamacpp"].decode, _timings, True, OPENAI_WORDS),
        Dialect("tgi chat", "tgi", tgi.decode, _plain_chat, False, OPENAI_WORDS),
        Dialect(
            "tgi native", "tgi", tgi.decode, _native, True, {"length": "length", "stop": "eos_token", "filter": "error"}
        ),
        Dialect(
            "messages",
            "claude",
            claude.decode,
            _messages,
            False,
            {"length": "max_tokens", "stop": "end_turn", "filter": "refusal"},
        ),
    )
}


# --- from an answer to summary.json -----------------------------------------------------------------------------


def pieces(answer: Answer, dialect: Dialect) -> list[Piece]:
    """The answer's bytes with their instants, one piece an event, or each cut into `answer.pieces`."""
    answer = replace(answer, finish=dialect.finish.get(answer.finish, answer.finish))
    found = [(0.1, HEAD)]
    for t_ms, value in dialect.write(answer):
        event = b"data: %b\n\n" % (value if isinstance(value, bytes) else orjson.dumps(value))
        size = -(-len(event) // answer.pieces)
        found += [(t_ms, event[at : at + size]) for at in range(0, len(event), size)]
    return found


def to_record(answer: Answer, dialect: Dialect, sent_ns: int) -> Record:
    """One call's record: sent at `sent_ns`, planned as a prompt of 64 tokens."""
    parts = pieces(answer, dialect)
    user_ns = [sent_ns + round(t_ms * 1e6) for t_ms, _ in parts]
    exchange = Exchange(
        seq=answer.seq,
        worker=0,
        due_ns=sent_ns,
        sent_ns=sent_ns,
        end_ns=user_ns[-1],
        connect_ns=None,
        user_ns=array("q", user_ns),
        sizes=array("I", [len(data) for _, data in parts]),
        kernel=array("q"),
        data=b"".join(data for _, data in parts),
        error=None,
    )
    planned = Planned(answer.seq, None, answer.seq, 0, "measured", PROMPT_TOKENS, answer.max_tokens)
    return record(exchange, planned, stopwatch(0, []), 0, dialect.decode)


def table(change: Change, dialect: Dialect, requests: int) -> pa.Table:
    """requests.parquet of a closed loop of eight slots, each answer changed."""
    free_ns = [0] * SLOTS
    records = []
    for seq in range(requests):
        slot = seq % SLOTS
        records.append(to_record(change(truthful(seq)), dialect, free_ns[slot]))
        free_ns[slot] = (records[-1].end_ns or 0) + 100_000
    return to_table(records)


def judged(run: Mapping[str, Any], change: Change, dialect: Dialect, requests: int) -> dict[str, Any]:
    """summary.json of such a run; `run` is a run.json."""
    run = {**run, "backend": dialect.backend}
    return summarize(run, table(change, dialect, requests), None)
