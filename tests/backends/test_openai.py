import json
import re
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from backends.dialect import openai
from bench.types import Body, Call, Message, Reply, Target, Usage
from tests.simulations import few_or_many

FIXTURES = Path(__file__).parents[1] / "fixtures"
CALL = Call(0, None, 0, 0, None, (Message("system", "be brief"), Message("user", "héllo")), 16, 7, None)


def body(*segments: bytes) -> Body:
    """Segment i arrives at 10 * (i + 1)."""
    return Body(b"".join(segments), list(accumulate(map(len, segments))), [10 * (i + 1) for i in range(len(segments))])


def chunk(content: Any = None, *, finish: str | None = None, usage: Any = None, **delta: Any) -> bytes:
    delta = delta if content is None else {"content": content, **delta}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return event({"choices": choices, **({"usage": usage} if usage else {})})


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
STOP = chunk(finish="stop")


def decode(*segments: bytes, status: int = 200) -> Reply:
    return openai.decode(status, {}, body(*segments))


def said(reply: Reply) -> tuple[Any, ...]:
    """Everything but the stamps."""
    return reply.text, [delta[1:] for delta in reply.deltas], reply.usage, reply.finish, reply.error


# --- request ----------------------------------------------------------------------------------------------------


def test_a_request_asks_for_a_greedy_seeded_stream_with_usage() -> None:
    request = openai.request(CALL, Target("http://127.0.0.1:8000", "m"))
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert json.loads(request.body) == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "héllo"}],
        "max_tokens": 16,
        "temperature": 0,
        "seed": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_key_goes_into_a_header_only_when_there_is_one() -> None:
    assert "Authorization" not in dict(openai.request(CALL, Target("http://h", "m")).headers)
    assert dict(openai.request(CALL, Target("http://h", "m", "k")).headers)["Authorization"] == "Bearer k"


def test_the_base_url_may_have_a_path() -> None:
    assert openai.request(CALL, Target("https://h/api/", "m")).path == "/api/v1/chat/completions"


# --- deltas -----------------------------------------------------------------------------------------------------


def test_only_model_output_is_a_delta() -> None:
    reply = decode(
        b": ping\n\n",
        chunk(role="assistant"),
        chunk("", role="assistant"),
        event({"choices": [{"delta": {"role": "assistant", "content": None}}]}),
        event({"choices": []}),
        event({"id": "x"}),
        chunk("a"),
        chunk(""),
        chunk("b", finish="stop"),
        DONE,
    )
    assert reply == Reply("ab", [(70, None, "text"), (90, None, "text")], None, "stop", None)


@pytest.mark.parametrize(
    ("delta", "kind"),
    [
        ({"reasoning_content": "hm"}, "reasoning"),
        ({"reasoning": "hm", "content": None}, "reasoning"),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, "tool"),
        ({"content": "a", "reasoning": "hm"}, "text"),
        ({"refusal": "no"}, "text"),
    ],
)
def test_a_delta_has_the_kind_of_what_it_brings(delta: dict[str, Any], kind: str) -> None:
    assert [found[2] for found in decode(chunk(**delta), STOP).deltas] == [kind]


def test_reasoning_is_no_text() -> None:
    assert decode(chunk(reasoning="hm"), chunk("yes"), STOP).text == "yes"


def test_running_usage_gives_the_tokens_of_every_arrival() -> None:
    counts = (3, 4, 6)
    chunks = [chunk("x", usage={"completion_tokens": count, "prompt_tokens": 5}) for count in counts]
    reply = decode(*chunks, STOP)
    assert [tokens for _, tokens, _ in reply.deltas] == [3, 1, 2]
    assert reply.usage == Usage(prompt_tokens=5, output_tokens=6)


def test_tokens_per_arrival_are_unknown_unless_every_arrival_has_a_rising_count() -> None:
    counted = chunk("x", usage={"completion_tokens": 4})
    fewer = chunk("x", usage={"completion_tokens": 3})
    assert [tokens for _, tokens, _ in decode(counted, fewer, STOP).deltas] == [None, None]
    assert [tokens for _, tokens, _ in decode(chunk("x"), counted, STOP).deltas] == [None, None]
    assert [tokens for _, tokens, _ in decode(chunk("x"), STOP, event({"choices": [], "usage": {}})).deltas] == [None]


def test_usage_has_its_details_and_null_ones_are_unknown() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert decode(chunk("x"), STOP, event({"choices": [], "usage": usage})).usage == Usage(9, 0, None, 2, 1)
    bare = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}
    assert decode(chunk("x"), STOP, event({"choices": [], "usage": bare})).usage == Usage(9, None, None, 2, None)
    assert decode(chunk("x"), STOP).usage is None


def test_half_characters_are_replaced_and_split_surrogate_pairs_joined() -> None:
    raw = b'data: {"choices":[{"delta":{"content":"\xe2\x82"}}]}\n\n'
    halves = b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n', chunk("\ude00")
    reply = decode(raw, *halves, STOP)
    assert reply.text == "�😀"
    assert len(reply.deltas) == 3
    assert decode(halves[0], STOP).text == "�"


def test_line_ends_make_no_difference() -> None:
    stream = chunk("a") + chunk("b") + STOP + DONE
    assert said(decode(stream.replace(b"\n", b"\r\n"))) == said(decode(stream))


def test_an_answer_in_one_piece_is_one_delta_when_it_is_complete() -> None:
    choice = {"message": {"role": "assistant", "content": "ab"}, "finish_reason": "stop"}
    whole = json.dumps({"choices": [choice], "usage": {"completion_tokens": 2, "prompt_tokens": 3}}, indent=1).encode()
    usage = Usage(3, None, None, 2, None)
    assert decode(whole[:9], whole[9:]) == Reply(
        "ab", [(20, 2, "text")], usage, "stop", None, usage_settles="all", streamed=False
    )


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("segments", "code", "message"),
    [
        ([chunk("a"), event({"error": {"message": "out of memory", "code": 500}})], "error_event", "out of memory"),
        ([b'{"error":{"message":"overloaded"}}'], "error_event", "overloaded"),
        ([b'{"object":"error","message":"too long"}'], "error_event", "too long"),
        ([b"data: {nope\n\n", STOP], "malformed", "not a chat completion: b'{nope'"),
        ([event({"choices": ["a"]})], "malformed", "not a chat completion: {'choices': ['a']}"),
        ([event({"choices": [{"delta": {"content": 5}}]})], "malformed", None),
        ([event([1])], "malformed", None),
        ([chunk("a"), b"data: {nope\n\n"], "cut_stream", None),
        ([b"<html>Welcome"], "malformed", "not a chat completion: b'<html>Welcome'"),
        ([chunk("a"), chunk("b")], "cut_stream", None),
        ([chunk("a"), b'data: {"cho'], "cut_stream", None),
        ([b": ping\n\n"], "cut_stream", None),
        ([chunk(role="assistant"), STOP, DONE], "empty", None),
        ([], "empty", None),
    ],
)
def test_what_went_wrong_has_a_code(segments: list[bytes], code: str, message: str | None) -> None:
    error = decode(*segments).error
    assert error is not None
    assert error[0] == code
    assert message in (None, error[1])


def test_what_had_arrived_before_an_error_is_kept() -> None:
    reply = decode(chunk("a"), event({"error": "boom"}), chunk("b"))
    assert reply == Reply("a", [(10, None, "text")], None, None, ("error_event", "boom"))


@pytest.mark.parametrize("segments", [[chunk("a"), STOP], [chunk("a"), DONE], [chunk("a"), STOP, b"data: [DO"]])
def test_a_finish_reason_or_done_is_enough(segments: list[bytes]) -> None:
    assert decode(*segments).error is None


@pytest.mark.parametrize(
    ("status", "data", "message"),
    [
        (429, b'{"error":{"message":"slow  down\\nplease","type":"rate_limit"}}', "slow down please"),
        (404, b'{"detail":"Not Found"}', "Not Found"),
        (422, b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
        (502, b"<html><style>a{}</style><h1>502 Bad\nGateway</h1></html>", "502 Bad Gateway"),
        (401, b'{"error":"Incorrect API key: sk-abcdef123456."}', "Incorrect API key: sk-…"),
        (500, b"", ""),
        (500, b"x" * 500, "x" * 199 + "…"),
    ],
)
def test_a_failed_status_keeps_a_short_message_without_keys(status: int, data: bytes, message: str) -> None:
    assert decode(data, status=status) == Reply("", [], None, None, (f"http_{status}", message))


# --- captured streams -------------------------------------------------------------------------------------------

CAPTURED = {
    "xllamacpp": ([1] * 12, Usage(8, 0, None, 12, None, total_tokens=20)),
    "xllamacpp-half-characters": ([4, 1, 1, 1, 1, 1, 2, 1], Usage(42, 0, None, 12, None, total_tokens=54)),
    "llama-cpp-python": ([None] * 12, None),
    "vllm": ([None] * 8, Usage(6, None, None, 8, None, total_tokens=14)),
}
OUTPUT = re.compile(rb'"content": ?"[^"]')


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_stream_decodes_to_what_the_server_sent(name: str) -> None:
    reply = decode((FIXTURES / f"{name}.sse").read_bytes())
    assert ([tokens for _, tokens, _ in reply.deltas], reply.usage) == CAPTURED[name]
    assert (reply.finish, reply.error) == ("length", None)
    if name in ("xllamacpp", "llama-cpp-python"):
        assert reply.text == " third tall close mount let learn always noise whole think summer exact"


@few_or_many("step", 31, 1)
@pytest.mark.parametrize("name", CAPTURED)
def test_where_the_bytes_are_cut_changes_only_the_stamps(name: str, step: int) -> None:
    stream = (FIXTURES / f"{name}.sse").read_bytes()
    whole = said(decode(stream))
    line_ends = [end + 1 for end in range(len(stream)) if stream.startswith(b"\n\ndata", end)]
    output = [end for end in line_ends if OUTPUT.search(line_before(stream, end))]
    assert len(output) == len(whole[1])
    for cut in range(1, len(stream), step):
        reply = decode(stream[:cut], stream[cut:])
        assert said(reply) == whole
        assert [t_ns for t_ns, _, _ in reply.deltas] == [10 if end <= cut else 20 for end in output]
    reply = decode(*[stream[at : at + 1] for at in range(len(stream))])
    assert said(reply) == whole
    assert [t_ns for t_ns, _, _ in reply.deltas] == [10 * end for end in output]


def line_before(stream: bytes, end: int) -> bytes:
    return stream[stream.rfind(b"\n", 0, end - 1) + 1 : end]
