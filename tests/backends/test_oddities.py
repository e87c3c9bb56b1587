"""Streams that other clients read, values that no sound server sends, and reasons that are failures: every dialect."""

import json
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BACKENDS
from backends.dialect import claude, openai, tgi
from bench.types import Body, Call, Message, Reply, Target, Usage

CALL = Call(0, None, 0, 0, None, (Message("user", "hi"),), 16, 7, None)


def event(value: Any, name: str = "") -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: %b\n\n" % data


class Dialect(NamedTuple):
    """How a dialect says a word of text, and its end with a reason and counts of the prompt and the output."""

    decode: Callable[[int, Mapping[str, str], Body], Reply]
    word: Callable[[str], bytes]
    end: Callable[[Any, Any, Any], bytes]
    sound_reason: str


def _native_end(reason: Any, prompt: Any, output: Any) -> bytes:
    details = {"finish_reason": reason, "generated_tokens": output, "input_length": prompt}
    token = {"id": 1, "text": "", "special": True}
    return event({"token": token, "generated_text": "ab", "details": details})


def _messages_end(reason: Any, prompt: Any, output: Any) -> bytes:
    usage = {"input_tokens": prompt, "output_tokens": output}
    delta = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    return event(delta) + event({"type": "message_stop"})


def _chat_end(field: str, empty: Any) -> Callable[[Any, Any, Any], bytes]:
    def end(reason: Any, prompt: Any, output: Any) -> bytes:
        usage = {"prompt_tokens": prompt, "completion_tokens": output}
        choices = [{"index": 0, field: empty, "finish_reason": reason}]
        return event({"choices": choices}) + event({"choices": [], "usage": usage}) + event(b"[DONE]")

    return end


DIALECTS = {
    "chat": Dialect(
        openai.decode, lambda text: event({"choices": [{"delta": {"content": text}}]}), _chat_end("delta", {}), "stop"
    ),
    "completions": Dialect(
        openai.decode, lambda text: event({"choices": [{"text": text}]}), _chat_end("text", ""), "length"
    ),
    "native": Dialect(
        tgi.decode,
        lambda text: event({"token": {"id": 1, "text": text, "special": False}, "generated_text": None}),
        _native_end,
        "eos_token",
    ),
    "messages": Dialect(
        claude.decode,
        lambda text: event({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}),
        _messages_end,
        "end_turn",
    ),
}
every = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


DONE, STOP = event(b"[DONE]"), event({"type": "message_stop"})


def body(*segments: bytes) -> Body:
    """Segment i arrives at 10 * (i + 1)."""
    return Body(b"".join(segments), list(accumulate(map(len, segments))), [10 * (i + 1) for i in range(len(segments))])


def ask(dialect: Dialect, *segments: bytes) -> Reply:
    return dialect.decode(200, {}, body(*segments))


def parts(dialect: Dialect) -> list[bytes]:
    return [dialect.word("a"), dialect.word("b"), dialect.end(dialect.sound_reason, 7, 2)]


# --- streams that other clients read ----------------------------------------------------------------------------

HARMLESS = {
    "a blank data": b"data:\n\n",
    "a blank data with a space": b"data: \n\n",
    "two blank data lines": b"data:\ndata:\n\n",
    "a comment": b": keep-alive\n\n",
    "a comment without its blank line": b": keep-alive\n",
    "a ping": b"event: ping\n\n",
    "a ping with data": b"event: ping\ndata: 1\n\n",
    "null": b"data: null\n\n",
    "an id and a retry": b"id: 7\nretry: 100\n\n",
    "an object of no kind": b"data: {}\n\n",
}


@every
@pytest.mark.parametrize("name", HARMLESS)
def test_what_keeps_a_connection_alive_is_nothing(dialect: Dialect, name: str) -> None:
    if name == "an object of no kind" and dialect.decode is not openai.decode:
        return
    plain = ask(dialect, b"".join(parts(dialect)))
    assert (plain.text, plain.error, plain.unread, len(plain.deltas)) == ("ab", None, 0, len(plain.deltas))
    for at in range(3):
        segments = parts(dialect)
        segments.insert(at, HARMLESS[name])
        assert ask(dialect, b"".join(segments)) == plain


@every
def test_a_byte_order_mark_is_no_part_of_the_first_event(dialect: Dialect) -> None:
    plain = ask(dialect, b"".join(parts(dialect)))
    assert ask(dialect, b"\xef\xbb\xbf" + b"".join(parts(dialect))) == plain


ENDS = [
    *(b"data: [DONE] \n\n", b"data:[DONE]\t\n\n", b"data:  [DONE]\r\n\r\n", b"[DONE]\n\n", b'data: "[DONE]"\n\n'),
    *(b"data: [done]\n\n", b"event: done\ndata: [DONE]\n\n", b"data: [DONE]"),
]


@pytest.mark.parametrize("done", ENDS)
def test_done_may_have_blanks_around_it(done: bytes) -> None:
    reply = ask(DIALECTS["chat"], DIALECTS["chat"].word("a"), done)
    assert (reply.text, reply.error, reply.unread) == ("a", None, 0)


UNREADABLE = [
    b'data: {"choices":[{"del\n\n',
    b"data: [1]\n\n",
    b"data: 5\n\n",
    b'data: "keep going"\n\n',
    b"data: ping\n\n",
    b"<!-- a proxy was here -->\n\n",
    b'data: {"choices": ["a"], "type": "content_block_delta", "delta": []}\n\n',
    b'data: {"choices": [{"delta": {"content": 5}}], "type": "content_block_delta", '
    b'"delta": {"type": "text_delta", "text": 5}}\n\n',
]


@every
@pytest.mark.parametrize("odd", UNREADABLE)
def test_an_event_that_cannot_be_read_is_counted_and_the_answer_stays(dialect: Dialect, odd: bytes) -> None:
    plain = ask(dialect, b"".join(parts(dialect)))
    for at in range(3):
        segments = parts(dialect)
        segments.insert(at, odd)
        reply = ask(dialect, b"".join(segments))
        assert reply._replace(unread=0, unread_example=None) == plain
        assert reply.unread == 1
        assert reply.unread_example
        assert len(reply.unread_example) <= 200


@every
def test_where_nothing_can_be_read_the_call_is_malformed_and_the_message_shows_it(dialect: Dialect) -> None:
    for data in (b"data: {nope\n\n", b"<html><body>Welcome", b"data: hello\n\ndata: [DONE]\n\n", b"OK"):
        error = ask(dialect, data).error
        assert error is not None
        assert error[0] == "malformed", data
        assert "not a" in error[1]


ERRORS = {
    "an error field": (b"error: the model crashed\n\n", "the model crashed"),
    "an error field with JSON": (b'error: {"code":500,"message":"the model crashed"}\n\n', "the model crashed"),
    "an error event with words": (b"event: error\ndata: the model crashed\n\n", "the model crashed"),
    "an error event with JSON": (b'event: error\ndata: {"message":"the model crashed"}\n\n', "the model crashed"),
    "error words as data": (b"data: error: the model crashed\n\n", "error: the model crashed"),
    "error words in brackets": (b"data: [ERROR] the model crashed\n\n", "[ERROR] the model crashed"),
    "a bare line of words": (b"Internal Server Error\n\n", "Internal Server Error"),
    "a bare line without its end": (b"Internal Server Error", "Internal Server Error"),
    "bare JSON": (b'{"error":{"message":"the model crashed"}}', "the model crashed"),
    "bare JSON with line ends": (b'\n{"error":"the model crashed"}\n\n', "the model crashed"),
    "bare JSON on several lines": (b'{\n "error": {\n  "message": "the model crashed"\n }\n}\n', "the model crashed"),
    "bare JSON in a list": (b'[{"error":{"message":"the model crashed"}}]\n', "the model crashed"),
}


@every
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("words", [0, 1])
def test_an_error_in_mid_stream_has_its_own_words(dialect: Dialect, name: str, words: int) -> None:
    error, message = ERRORS[name]
    reply = ask(dialect, *[dialect.word("a")] * words, error)
    assert (reply.error, reply.text) == (("error_event", message), "a" * words)
    assert len(reply.deltas) == words


@every
def test_words_of_no_error_that_a_stream_ends_by_are_shown(dialect: Dialect) -> None:
    error = ask(dialect, dialect.word("a"), b"upstream timed out").error
    assert error is not None
    assert error[0] == "cut_stream"
    assert "could not read b'upstream timed out'" in error[1]


def test_output_may_come_as_blocks() -> None:
    thought: Any = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    for content, text, kind in (
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", "text"),
        ([thought], "", "reasoning"),
        ([thought, {"type": "text", "text": "a"}], "a", "text"),
        ({"type": "text", "text": "a"}, "a", "text"),
        ({"parts": [{"text": "a"}, "b"]}, "ab", "text"),
        (["a", "b"], "ab", "text"),
        ([{"type": "text", "text": {"value": "a"}}], "a", "text"),
        ({"type": "reasoning", "text": "hm"}, "", "reasoning"),
    ):
        reply = openai.decode(200, {}, body(event({"choices": [{"delta": {"content": content}}]}), event(b"[DONE]")))
        assert (reply.text, [delta[2] for delta in reply.deltas], reply.error) == (text, [kind], None), content
    nothing: list[Any] = [[], {}, [{"type": "reference", "reference_ids": [1]}], [None]]
    for content in nothing:
        reply = openai.decode(200, {}, body(event({"choices": [{"delta": {"content": content}}]}), event(b"[DONE]")))
        assert (reply.deltas, reply.unread) == ([], 0), content


@every
def test_white_space_is_blank_until_something_else_has_come(dialect: Dialect) -> None:
    words = [dialect.word(text) for text in (" ", "\n\n", "a", " ", "b")]
    reply = ask(dialect, *words, dialect.end(dialect.sound_reason, 7, 5))
    assert [kind for _, _, kind in reply.deltas][:5] == ["blank", "blank", "text", "text", "text"]
    if dialect is not DIALECTS["native"]:
        assert reply.text == " \n\na b"


def test_reasoning_and_calls_are_no_blanks() -> None:
    deltas = [{"reasoning": "\n"}, {"reasoning": "hm"}, {"content": "\n"}, {"content": "a"}]
    chunks = [event({"choices": [{"delta": delta}]}) for delta in deltas]
    reply = openai.decode(200, {}, body(*chunks, event(b"[DONE]")))
    assert [kind for _, _, kind in reply.deltas] == ["blank", "reasoning", "text", "text"]
    call = event({"choices": [{"delta": {"tool_calls": [{"function": {"arguments": " "}}]}}]})
    assert [kind for _, _, kind in openai.decode(200, {}, body(call, event(b"[DONE]"))).deltas] == ["tool"]


@pytest.mark.parametrize("backend", [BACKENDS[name] for name in BACKENDS])
@pytest.mark.parametrize("options", [{}, {"dialect": "chat"}])
def test_no_dialect_asks_for_compression(backend: Any, options: dict[str, str]) -> None:
    headers = backend.request(CALL, Target("http://h", "m", options=options)).headers
    assert [value for name, value in headers if name == "Accept-Encoding"] == ["identity"]


@every
def test_a_coding_that_came_unasked_is_said(dialect: Dialect) -> None:
    for coding, said in ("gzip", "gzip"), ("Gzip, br", "gzip, br"), ("identity", None), ("", None), ("\x1b", None):
        reply = dialect.decode(200, {"content-encoding": coding}, body(*parts(dialect)))
        assert (reply.encoding, reply.error) == (said, None)
    assert dialect.decode(503, {"content-encoding": "gzip"}, body(b"busy")).encoding == "gzip"


# --- values that no sound server sends --------------------------------------------------------------------------


@every
@pytest.mark.parametrize("odd", [-1, True, False, 3 * 10**9, 2**63, 10**30, 1.5, float("inf"), "7", [7], {}, 1e300])
def test_a_count_that_cannot_be_makes_the_call_malformed(dialect: Dialect, odd: Any) -> None:
    for counts in ((odd, 2), (7, odd)):
        reply = ask(dialect, *parts(dialect)[:2], dialect.end(dialect.sound_reason, *counts))
        assert reply.error is not None
        assert reply.error[0] == "malformed"
        assert "expected a whole number from 0 to 1,000,000,000" in reply.error[1]
        assert (reply.text, reply.deltas[0][2]) == ("ab", "text")


@every
@pytest.mark.parametrize(("said", "meant"), [(None, None), (0, 0), (7.0, 7), (10**9, 10**9)])
def test_a_count_may_be_missing_zero_or_written_with_a_point(dialect: Dialect, said: Any, meant: int | None) -> None:
    reply = ask(dialect, *parts(dialect)[:2], dialect.end(dialect.sound_reason, said, said))
    assert reply.error is None
    assert reply.usage in (Usage(prompt_tokens=meant, output_tokens=meant), None if meant is None else ())


@every
@pytest.mark.parametrize("odd", [5, True, ["stop"], {"stop": 1}, "x" * 101, "st\x1bop", "\ud800", "a\u202eb", "st\nop"])
def test_a_reason_that_is_no_short_word_makes_the_call_malformed(dialect: Dialect, odd: Any) -> None:
    reply = ask(dialect, *parts(dialect)[:2], dialect.end(odd, 7, 2))
    assert reply.error is not None
    assert reply.error[0] == "malformed"
    assert reply.error[1].isprintable()
    assert (reply.finish, reply.text) == (None, "ab")


# --- reasons that are failures ----------------------------------------------------------------------------------

FAILURES = [
    *("content_filter", "refusal", "error", "abort", "network_error", "insufficient_system_resource", "pause_turn"),
    *("SAFETY", "cancelled", "sensitive", "load", "unknown", "whatever a server may yet think of"),
]
SOUND = [
    *("FinishReason.STOP", "FINISH_REASON_MAX_TOKENS", " stop", "stop\n", "tool-calls", "endoftext", "token_limit"),
    *("stop", "STOP", "length", "max_tokens", "MAX_TOKENS", "eos", "eos_token", "end_turn", "stop_sequence"),
    *("tool_calls", "function_call", "tool_use", "COMPLETE", "model_length", "model_context_window_exceeded"),
]


@every
@pytest.mark.parametrize("reason", FAILURES)
def test_an_answer_that_ends_for_another_reason_than_was_asked_for_is_no_success(dialect: Dialect, reason: str) -> None:
    reply = ask(dialect, *parts(dialect)[:2], dialect.end(reason, 7, 2))
    assert reply.error == ("ended_early", f"the server ended the answer early: {reason}")
    assert (reply.finish, reply.text) == (reason, "ab")
    assert reply.usage is not None


@every
@pytest.mark.parametrize("reason", SOUND)
def test_an_answer_that_ends_as_it_was_asked_to_is_one(dialect: Dialect, reason: str) -> None:
    reply = ask(dialect, *parts(dialect)[:2], dialect.end(reason, 7, 2))
    assert (reply.error, reply.finish) == (None, reason.strip())


@pytest.mark.parametrize("name", ["chat", "completions"])
@given(st.lists(st.sampled_from(["", None, "null", "None", "NULL", "not_finished", "in_progress"]), max_size=4))
def test_a_reason_that_says_the_answer_goes_on_is_none(name: str, said: list[str | None]) -> None:
    dialect = DIALECTS[name]
    ends = [dialect.end(one, None, None).removesuffix(DONE) for one in said]
    assert error_of(dialect, dialect.word("a"), *ends)[0] == "cut_stream"
    assert error_of(dialect, dialect.word("a"), *ends, dialect.end("stop", 7, 2)) == (None, None)


# In TGI's native stream the first reason ends the answer.
@pytest.mark.parametrize("name", ["chat", "completions", "messages"])
@given(st.sampled_from(SOUND), st.sampled_from(FAILURES), st.booleans())
def test_of_two_reasons_a_failure_counts(name: str, sound: str, failure: str, failed_first: bool) -> None:
    dialect = DIALECTS[name]
    first, second = (failure, sound) if failed_first else (sound, failure)
    ends = dialect.end(first, None, None).removesuffix(DONE).removesuffix(STOP), dialect.end(second, 7, 2)
    assert error_of(dialect, dialect.word("a"), *ends) == (
        "ended_early", f"the server ended the answer early: {failure}")  # fmt: skip


def error_of(dialect: Dialect, *segments: bytes) -> tuple[str | None, str | None]:
    return ask(dialect, *segments).error or (None, None)


# --- usage wherever it is ---------------------------------------------------------------------------------------


def chat(*chunks: Any) -> Reply:
    return openai.decode(200, {}, body(*[event(chunk) for chunk in chunks], event(b"[DONE]")))


WORD = {"choices": [{"delta": {"content": "a"}}]}
COUNTS = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
FOUND = Usage(7, output_tokens=2, total_tokens=9)
ZEROS = dict.fromkeys(COUNTS, 0)


@pytest.mark.parametrize(
    "chunks",
    [
        [WORD, {"choices": [], "usage": COUNTS}],
        [WORD, {"choices": [{"delta": {}, "finish_reason": "stop", "usage": COUNTS}]}],  # Moonshot
        [WORD, {"choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"id": "x", "usage": COUNTS}}],
        [WORD, {"choices": None, "usage": COUNTS}],
        [WORD, {"usage": COUNTS}],
        [WORD, {"usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}}],
        [WORD, {"choices": [{"delta": {"usage": COUNTS}, "finish_reason": "stop"}]}],
        [WORD, {"choices": [{"delta": {}, "message": {"usage": COUNTS}}]}],
        [WORD, COUNTS],
        [WORD, {"usage": [COUNTS]}],
        [WORD, {"meta": {"usage": COUNTS}}],
        [WORD, {"token_usage": COUNTS, "usage": None}],
        [WORD, {"usage": {"promptTokens": 7, "completionTokens": 2, "totalTokens": 9}}],
        [WORD, {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 9}}],
        [WORD, {"usage": {"billed": {"input_tokens": 3, "output_tokens": 2}, "tokens": COUNTS}}],
        [WORD, {"limits": {"total_tokens": 100_000}}, {"usage": COUNTS}],
        [WORD, {"limits": {"prompt_tokens": "7", "completion_tokens": -1}}, {"usage": COUNTS}],
        [WORD | {"usage": ZEROS}, WORD | {"usage": ZEROS}, {"choices": [], "usage": COUNTS}],  # Ollama
        [WORD | {"usage": None}, {"choices": [], "usage": COUNTS}],
        [WORD, {"choices": [], "usage": COUNTS}, {"choices": [], "usage": ZEROS}],
        [WORD, {"choices": [], "usage": COUNTS}, {"choices": [], "usage": {}}],
        [WORD | {"usage": {"prompt_tokens": 7}}, {"usage": {"completion_tokens": 2, "total_tokens": 9}}],
        [WORD | {"usage": {**COUNTS, "completion_tokens": 1, "total_tokens": 8}}, {"usage": COUNTS}],
    ],
)
def test_usage_is_found_wherever_servers_put_it_and_the_last_that_says_something_counts(chunks: list[Any]) -> None:
    reply = chat(*chunks)
    assert (reply.usage, reply.error) == (FOUND, None)


def test_only_usage_that_says_something_at_the_end_settles_what_is_billed() -> None:
    assert chat(WORD, {"usage": COUNTS}).usage_settles == "all"
    assert chat(WORD | {"usage": COUNTS}, WORD, {"usage": ZEROS}).usage_settles == "nothing"
    assert chat(WORD | {"usage": ZEROS}).usage_settles == "nothing"


def test_zeros_in_every_chunk_say_nothing_of_the_arrivals() -> None:
    zeros = [WORD | {"usage": ZEROS}] * 3
    assert [tokens for _, tokens, _ in chat(*zeros, {"usage": COUNTS}).deltas] == [None] * 3
    assert chat(*zeros).usage == Usage(0, output_tokens=0, total_tokens=0)
    # The whole count in every chunk is no count so far.
    assert [tokens for _, tokens, _ in chat(*[WORD | {"usage": COUNTS}] * 3).deltas] == [None] * 3


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cached_tokens": 5}},
        {"input_tokens_details": {"cached_tokens": 5}},
        {"prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 2},
        {"cached_tokens": 5},
        {"cached_tokens": 5, "prompt_tokens_details": None},
        {"cached_tokens": 5, "prompt_tokens_details": []},
        {"cached_tokens": 0, "prompt_tokens_details": {"cached_tokens": 5}},
        {"cache_read_input_tokens": 5},
        {"num_cached_tokens": 5},
        {"cached_prompt_tokens": 5},
    ],
)
def test_the_cached_part_is_found_under_any_of_its_names(details: dict[str, Any]) -> None:
    assert chat(WORD, {"usage": COUNTS | details}).usage == FOUND._replace(cached_tokens=5)


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"cache_write_tokens": 5}},
        {"prompt_tokens_details": {"cache_creation_tokens": 5, "cached_tokens": None}},
        {"prompt_tokens_details": {"cache_creation_input_tokens": 5}},
        {"cache_creation_input_tokens": 5},
    ],
)
def test_what_was_written_to_the_cache_is_found_under_any_of_its_names(details: dict[str, Any]) -> None:
    assert chat(WORD, {"usage": COUNTS | details}).usage == FOUND._replace(cache_write_tokens=5)


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_usage_is_looked_for_in_anything(value: Any) -> None:
    assert chat(WORD, {"usage": COUNTS, "x": value}).usage == FOUND
    chat(WORD, {"x": value})
    chat(WORD, {"usage": value})


@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"reasoning_text": "hm"},
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm"}]},
        {"reasoning": {"summary": [{"text": "hm"}]}},
        {"reasoning_content": [{"type": "text", "text": "hm"}], "content": ""},
    ],
)
def test_reasoning_is_found_under_any_of_its_names(thought: dict[str, Any]) -> None:
    reply = chat({"choices": [{"delta": thought}]}, WORD)
    assert ([kind for _, _, kind in reply.deltas], reply.text) == (["reasoning", "text"], "a")


IN_A_200: list[dict[str, Any]] = [
    {"code": "InvalidParameter", "message": "bad thing", "request_id": "x"},  # DashScope
    {"error_code": 336003, "error_msg": "bad thing"},  # Qianfan
    {"base_resp": {"status_code": 1004, "status_msg": "bad thing"}},  # MiniMax
    {"detail": "bad thing"},
    {"detail": [{"loc": ["body"], "msg": "bad thing"}]},
    {"success": False, "errors": [{"code": 1, "message": "bad thing"}], "result": None},  # Cloudflare
    {"fault": {"faultstring": "bad thing"}},  # Apigee
    {"status": "error", "message": "bad thing"},
    {"choices": [{"error": {"message": "bad thing", "code": 502}, "delta": {"content": ""}}]},
    {"choices": [{"delta": {"error": "bad thing"}, "finish_reason": "error"}]},
]


@pytest.mark.parametrize("said", IN_A_200)
def test_an_error_inside_a_200_has_its_words_in_whatever_shape_it_comes(said: dict[str, Any]) -> None:
    for segments in ([event(said)], [event(WORD), event(said)], [json.dumps(said).encode()]):
        assert openai.decode(200, {}, body(*segments)).error == ("error_event", "bad thing")


def test_a_document_that_is_no_completion_is_shown() -> None:
    said: Any
    for said in {"message": "hello"}, {"error": ""}, {"base_resp": {"status_code": 0}}, {}:
        error = openai.decode(200, {}, body(json.dumps(said).encode())).error
        assert error == ("malformed", f"not a chat completion: {json.dumps(said).encode()!r}")
    assert error_of(DIALECTS["chat"], b'{"choices": []}')[0] == "empty"


def messages(*usages: Any) -> Usage | None:
    begun = event({"type": "message_start", "message": {"content": [], "usage": usages[0]}})
    word = DIALECTS["messages"].word("a")
    ends = [event({"type": "message_delta", "delta": {}, "usage": usage}) for usage in usages[1:]]
    return claude.decode(200, {}, body(begun, word, *ends, event({"type": "message_stop"}))).usage


def test_counts_of_the_messages_api_that_fall_do_not_overwrite() -> None:
    first = {"input_tokens": 64, "output_tokens": 1}
    assert messages(first, {"output_tokens": 40}, {"output_tokens": 3}) == Usage(64, output_tokens=40)
    assert messages(first, {"input_tokens": 0, "output_tokens": 40}) == Usage(64, output_tokens=40)
    assert messages(first, {"output_tokens": 40}, {"input_tokens": 0, "output_tokens": 0}) == Usage(
        64, output_tokens=40
    )
    assert messages(first, {"output_tokens": None}, None) == Usage(64, output_tokens=1)


def test_an_estimate_of_the_prompt_gives_way_to_the_count() -> None:
    assert messages({"input_tokens": 3, "output_tokens": 0}, {"input_tokens": 7, "output_tokens": 4}) == Usage(
        7, output_tokens=4
    )
    assert messages({"input_tokens": 9}, {"input_tokens": 2, "cache_read_input_tokens": 5}) == Usage(7, 5)
    assert messages({"input_tokens": 2, "cache_read_input_tokens": 5}, {"output_tokens": 4}) == Usage(
        7, 5, output_tokens=4
    )


@given(st.sampled_from(sorted(DIALECTS)), JSON, JSON, JSON)
@settings(max_examples=150, deadline=None)
def test_no_reason_and_no_counts_at_all_make_decode_fail(name: str, reason: Any, prompt: Any, output: Any) -> None:
    dialect = DIALECTS[name]
    reply = ask(dialect, *parts(dialect)[:2], dialect.end(reason, prompt, output))
    assert len(reply.deltas) >= 2
    reply.text.encode()
