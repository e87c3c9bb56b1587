"""Answers in one piece, of every dialect: the text, usage and finish of the stream, and no time of its tokens."""

import json
from array import array
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.dialect import claude, responses, tgi
from bench.runs.arrivals import stopwatch
from bench.runs.records import Planned, record
from bench.types import Body, Exchange, Reply, Usage
from bench.wire.http1 import parse

FIXTURES = Path(__file__).parents[1] / "fixtures"
Decode = Callable[..., Reply]
WORDS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6)


def body(*parts: bytes) -> Body:
    return Body(b"".join(parts), list(accumulate(map(len, parts))), [10 * (i + 1) for i in range(len(parts))])


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chat(words: list[str], usage: tuple[int, int], finish: str) -> tuple[Decode, list[bytes], bytes]:
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    chunks = [event({"choices": [{"delta": {"content": word}, "finish_reason": None}]}) for word in words]
    chunks += [event({"choices": [{"delta": {}, "finish_reason": finish}]}), event({"choices": [], "usage": counts})]
    message = {"role": "assistant", "content": "".join(words)}
    whole = {"object": "chat.completion", "choices": [{"message": message, "finish_reason": finish}], "usage": counts}
    return responses.decode, [*chunks, b"data: [DONE]\n\n"], json.dumps(whole).encode()


def completions(words: list[str], usage: tuple[int, int], finish: str) -> tuple[Decode, list[bytes], bytes]:
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    chunks = [event({"choices": [{"text": word, "finish_reason": None}]}) for word in words]
    chunks += [event({"choices": [{"text": "", "finish_reason": finish}], "usage": counts}), b"data: [DONE]\n\n"]
    whole = {"choices": [{"text": "".join(words), "finish_reason": finish}], "usage": counts}
    return responses.decode, chunks, json.dumps(whole).encode()


def by_responses(words: list[str], usage: tuple[int, int], finish: str) -> tuple[Decode, list[bytes], bytes]:
    done = {
        "object": "response", "status": "incomplete", "incomplete_details": {"reason": finish},
        "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
    }  # fmt: skip
    part = {"type": "output_text", "text": "".join(words), "annotations": []}
    whole = {**done, "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": [part]}]}
    chunks = [event({"type": "response.created", "response": {"object": "response", "status": "in_progress"}})]
    chunks += [event({"type": "response.output_item.added", "item": {"type": "message", "content": []}})]
    chunks += [event({"type": "response.output_text.delta", "delta": word}) for word in words]
    chunks += [event({"type": "response.output_text.done", "text": "".join(words)})]
    return (
        responses.decode,
        [*chunks, event({"type": "response.incomplete", "response": whole})],
        json.dumps(whole).encode(),
    )


def messages(words: list[str], usage: tuple[int, int], finish: str) -> tuple[Decode, list[bytes], bytes]:
    first = {"input_tokens": usage[0], "output_tokens": 0}
    chunks = [event({"type": "message_start", "message": {"content": [], "usage": first}})]
    chunks += [event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": word}}) for word in words]
    chunks += [event({"type": "message_delta", "delta": {"stop_reason": finish}, "usage": {"output_tokens": usage[1]}})]
    whole = {
        "type": "message", "content": [{"type": "text", "text": "".join(words)}], "stop_reason": finish,
        "usage": {"input_tokens": usage[0], "output_tokens": usage[1]},
    }  # fmt: skip
    return claude.decode, [*chunks, event({"type": "message_stop"})], json.dumps(whole).encode()


@pytest.mark.parametrize("dialect", [chat, completions, by_responses, messages])
@settings(max_examples=60, deadline=None)
@given(
    words=WORDS,
    usage=st.tuples(st.integers(1, 99), st.integers(1, 99)),
    finish=st.sampled_from(["stop", "length", "max_tokens"]),
)
def test_an_answer_in_one_piece_says_what_the_stream_says(
    dialect: Any, words: list[str], usage: tuple[int, int], finish: str
) -> None:
    decode, chunks, whole = dialect(words, usage, finish)
    streamed, at_once = decode(200, {}, body(*chunks)), decode(200, {}, body(whole))
    assert streamed.streamed and not at_once.streamed
    for name in ("text", "usage", "finish", "error", "unread"):
        assert getattr(streamed, name) == getattr(at_once, name), name
    assert (streamed.text, streamed.usage) == ("".join(words), Usage(usage[0], output_tokens=usage[1]))
    assert (streamed.usage_settles, at_once.usage_settles) == ("all", "all")


@pytest.mark.parametrize("dialect", [chat, completions, by_responses, messages])
def test_a_stream_cut_anywhere_is_no_whole_answer_and_no_crash(dialect: Any) -> None:
    decode, chunks, whole = dialect(["one", " two"], (3, 2), "length")
    stream = b"".join(chunks)
    before = ""
    for cut in range(len(stream)):
        reply = decode(200, {}, body(stream[:cut]))
        assert reply.text.startswith(before)
        before = reply.text
    for cut in range(len(whole)):
        assert decode(200, {}, body(whole[:cut])).error is not None


def answer(server: str, name: str) -> Reply:
    data = (FIXTURES / server / "captures" / f"{name}.http").read_bytes()
    response = parse(data, [len(data)], [10])
    assert response.status == 200
    decode = {"tgi": tgi.decode}.get(server, responses.decode)
    return decode(200, response.headers, response.body)


@pytest.mark.parametrize(
    ("server", "name", "text", "usage"),
    [
        ("tgi", "generate-whole", " son book did middle", Usage(6, output_tokens=4)),
        ("tgi", "chat-whole", " steel kind fire seat", Usage(7, output_tokens=4, total_tokens=11)),
        ("ollama", "chat-whole", " fruit after can would", Usage(7, output_tokens=4, total_tokens=11)),
    ],
)
def test_what_real_servers_sent_in_one_piece_is_read_and_is_no_stream(
    server: str, name: str, text: str, usage: Usage
) -> None:
    reply = answer(server, name)
    assert (reply.text, reply.usage, reply.finish, reply.error) == (text, usage, "length", None)
    assert not reply.streamed


def test_reasoning_and_calls_of_the_responses_api_are_output_of_their_kind() -> None:
    reply = responses.decode(
        200,
        {},
        body(
            event({"type": "response.created", "response": {}}),
            event({"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
            event({"type": "response.output_item.added", "item": {"type": "function_call", "name": "look"}}),
            event({"type": "response.function_call_arguments.delta", "delta": "{}"}),
            event({"type": "response.output_text.delta", "delta": "yes"}),
            event({"type": "response.completed", "response": {"status": "completed"}}),
        ),
    )
    assert [kind for _, _, kind in reply.deltas] == ["reasoning", "tool", "tool", "text"]
    assert (reply.text, reply.finish, reply.error) == ("yes", "completed", None)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}, "error_event"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, "error_event"),
        (
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            "ended_early",
        ),
    ],
)
def test_failures_of_the_responses_api_are_failures(said: dict[str, Any], code: str) -> None:
    begun = event({"type": "response.created", "response": {}})
    text = event({"type": "response.output_text.delta", "delta": "y"})
    reply = responses.decode(200, {}, body(begun, text, event(said)))
    assert reply.error is not None and reply.error[0] == code


def test_a_whole_answers_tokens_count_at_its_end_and_have_no_times() -> None:
    data = (FIXTURES / "tgi" / "captures" / "generate-whole.http").read_bytes()
    ms = 1_000_000
    exchange = Exchange(
        0,
        0,
        0,
        ms,
        9 * ms,
        None,
        array("q", [5 * ms, 9 * ms]),
        array("q", [50, len(data) - 50]),
        array("q"),
        data,
        None,
    )
    found = record(exchange, Planned(0, 0, 0, 0, "measured", 6, 4), stopwatch(0, []), 0, tgi.decode)
    assert found.error is None
    assert (found.first_token_ns, found.first_text_ns, found.last_token_ns, found.first_blank_ns) == (None,) * 4
    assert (found.first_byte_ns, found.end_ns) == (5 * ms, 9 * ms)
    assert (found.output_tokens, found.early_tokens, list(found.arrivals_ns)) == (4, 4, [])
    assert (found.prompt_tokens, found.finish, found.coalesced_reads) == (6, "length", 0)
