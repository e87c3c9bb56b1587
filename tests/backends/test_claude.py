import json
import urllib.request
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from backends import BACKENDS
from backends.cold import claude as claude_cold
from backends.dialect import claude, llamacpp, openai
from backends.launch import llamacpp as llamacpp_launch
from bench.server.launch import launch
from bench.server.tinymodel import build
from bench.types import Body, Call, DeltaKind, HttpRequest, Message, Reply, ServeOptions, Target, Usage, UserError
from bench.wire import http1
from tests.simulations import few_or_many
from tests.vendors import anthropic_client

FIXTURES = Path(__file__).parents[1] / "fixtures"
MESSAGES = (
    Message("system", "you are kind"),
    Message("user", "tell me about the sun"),
    Message("assistant", " it is near "),
    Message("user", "more, café please"),
)
CALL = Call(0, None, 0, 0, None, MESSAGES, 16, 7, None)
KEY = "sk-ant-api03-very-secret"


def body(*segments: bytes) -> Body:
    """Segment i arrives at 10 * (i + 1)."""
    return Body(b"".join(segments), list(accumulate(map(len, segments))), [10 * (i + 1) for i in range(len(segments))])


def decode(*segments: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return claude.decode(status, headers or {}, body(*segments))


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())


def delta(kind: str, **fields: Any) -> bytes:
    return event("content_block_delta", index=0, delta={"type": kind, **fields})


def block(**fields: Any) -> bytes:
    return event("content_block_start", index=0, content_block=fields)


def begin(**usage: Any) -> bytes:
    return event("message_start", message={"content": [], "stop_reason": None, "usage": usage})


def end(reason: str | None = "max_tokens", **usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason}, usage=usage)


def error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()


TEXT = delta("text_delta", text="a")
STOP = event("message_stop")


# --- request ----------------------------------------------------------------------------------------------------


def sent(call: Call = CALL, /, **options: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(claude.request(call, Target("http://h", "m", options=options)).body)
    return payload


def test_a_request_is_a_streamed_message_with_the_system_prompt_cached_and_nothing_said_of_sampling() -> None:
    assert sent() == {
        "model": "m",
        "max_tokens": 16,
        "stream": True,
        "messages": [
            {"role": "user", "content": "tell me about the sun"},
            {"role": "assistant", "content": " it is near "},
            {"role": "user", "content": "more, café please"},
        ],
        "system": [{"type": "text", "text": "you are kind", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
    }


def test_breakpoints_live_as_long_as_asked_for_and_are_four_at_most() -> None:
    assert sent(cache_ttl="1h")["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_control" not in sent(cache_ttl="off")["system"][0]
    many = CALL._replace(messages=(Message("system", "s"),) * 6 + MESSAGES[1:])
    assert ["cache_control" in block for block in sent(many)["system"]] == [False] * 2 + [True] * 4
    assert "system" not in sent(CALL._replace(messages=MESSAGES[1:]))


@pytest.mark.parametrize(
    ("choice", "thinking"),
    [
        ("default", None),
        ("off", {"type": "disabled"}),
        ("on", {"type": "adaptive"}),
        ("1024", {"type": "enabled", "budget_tokens": 1024}),
    ],
)
def test_thinking_is_worded_as_chosen(choice: str, thinking: dict[str, Any] | None) -> None:
    assert sent(CALL._replace(max_tokens=1025), thinking=choice).get("thinking") == thinking


def test_a_thinking_budget_that_the_api_would_refuse_is_the_users_error() -> None:
    with pytest.raises(UserError, match="--thinking 1024: must be less than the answer's 1024 tokens"):
        sent(CALL._replace(max_tokens=1024), thinking="1024")
    with pytest.raises(UserError, match="--thinking 500: expected at least 1024 tokens"):
        sent(thinking="500")


def test_a_service_tier_is_named_when_chosen() -> None:
    assert "service_tier" not in sent(service_tier="default")
    assert sent(service_tier="standard_only")["service_tier"] == "standard_only"


def test_every_choice_is_listed_with_its_default_first() -> None:
    default = {name: values[0] for name, values in BACKENDS["claude"].options.items() if values[0] != "<json>"}
    assert sent(CALL, **default) == sent()


def test_the_key_goes_in_the_vendors_header_and_elsewhere_also_as_a_bearer() -> None:
    def headers(url: str, key: str | None) -> dict[str, str]:
        return dict(claude.request(CALL, Target(url, "m", key)).headers)

    plain = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "anthropic-version": "2023-06-01",
    }
    assert headers("https://api.anthropic.com", None) == plain
    assert headers("https://api.anthropic.com", KEY) == plain | {"x-api-key": KEY}
    assert headers("http://h", KEY) == plain | {"x-api-key": KEY, "Authorization": f"Bearer {KEY}"}


def test_the_base_url_may_have_a_path() -> None:
    assert claude.request(CALL, Target("https://h/api/", "m")).path == "/api/v1/messages"


# --- deltas -----------------------------------------------------------------------------------------------------


def test_only_model_output_is_a_delta() -> None:
    reply = decode(
        begin(input_tokens=1),
        block(type="text", text=""),
        event("ping"),
        delta("text_delta", text=""),
        delta("thinking_delta", thinking=""),
        delta("signature_delta", signature="x"),
        delta("citations_delta", citation={}),
        delta("something_new", text="x"),
        event("something_new"),
        TEXT,
        event("content_block_stop", index=0),
        delta("text_delta", text="b"),
        end(),
        STOP,
        TEXT,
    )
    assert (reply.text, reply.deltas, reply.finish) == ("ab", [(100, None, "text"), (120, None, "text")], "max_tokens")


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (delta("thinking_delta", thinking="hm"), "reasoning"),
        (block(type="redacted_thinking", data="Emw"), "reasoning"),
        (block(type="tool_use", name="f", input={}), "tool"),
        (delta("input_json_delta", partial_json="{"), "tool"),
    ],
)
def test_a_delta_has_the_kind_of_what_it_brings_and_only_text_is_text(part: bytes, kind: str) -> None:
    reply = decode(part, end(), STOP)
    assert (reply.text, reply.deltas, reply.error) == ("", [(10, None, kind)], None)


def test_half_a_surrogate_pair_is_replaced_and_a_split_one_joined() -> None:
    halves = [b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"\\ud83d"}}\n\n']
    halves.append(halves[0].replace(b"ud83d", b"ude00"))
    assert decode(*halves, STOP).text == "😀"
    assert decode(halves[0], STOP).text == "�"


def test_line_ends_make_no_difference() -> None:
    stream = begin(input_tokens=1) + TEXT + end(output_tokens=1) + STOP
    assert decode(stream.replace(b"\n", b"\r\n")) == decode(stream)


def test_an_answer_in_one_piece_is_understood() -> None:
    message = {
        "type": "message",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "ab"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    whole = json.dumps(message, indent=1).encode()
    deltas: list[tuple[int, int | None, DeltaKind]] = [(20, None, "reasoning"), (20, None, "text")]
    reply = Reply("ab", deltas, Usage(3, None, None, 2), "end_turn", None, usage_settles="all", streamed=False)
    assert decode(whole[:9], whole[9:]) == reply


# --- usage ------------------------------------------------------------------------------------------------------


def test_the_prompt_is_what_was_read_from_the_cache_written_to_it_and_the_rest() -> None:
    creation = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 900}
    started = begin(
        input_tokens=23,
        cache_creation_input_tokens=1000,
        cache_read_input_tokens=500,
        cache_creation=creation,
        output_tokens=1,
        service_tier="priority",
    )
    thought = {"thinking_tokens": 7}
    reply = decode(started, TEXT, end(output_tokens=9, output_tokens_details=thought, input_tokens=None), STOP)
    assert reply.usage == Usage(1523, 500, 1000, 9, 7, 900)
    assert reply.service_tier == "priority"


def test_the_last_word_on_each_count_stands_and_what_nobody_counts_is_unknown() -> None:
    # vLLM first gives the whole prompt as input, and in the end takes off what was cached.
    reply = decode(begin(input_tokens=40, output_tokens=0), TEXT, end(input_tokens=8, cache_read_input_tokens=32), STOP)
    assert reply.usage == Usage(40, 32, None, 0)
    assert decode(TEXT, end(output_tokens=3, cache_read_input_tokens=None), STOP).usage == Usage(output_tokens=3)
    assert decode(event("message_start", message={"usage": None}), TEXT, STOP).usage is None


def test_the_wires_headers_are_understood_as_they_come() -> None:
    head = b"HTTP/1.1 429 Too Many Requests\r\nAnthropic-RateLimit-Requests-Limit: 50\r\nRetry-After: 7\r\n"
    refusal = error("rate_limit_error", "slow down")
    data = head + b"Content-Length: %d\r\n\r\n%b" % (len(refusal), refusal)
    response = http1.parse(data, [len(data)], [10])
    assert response.status is not None
    reply = claude.decode(response.status, response.headers, response.body)
    assert reply.error == ("http_429", "rate_limit_error: slow down")
    assert reply.rate_limits == {"requests-limit": "50", "retry-after": "7"}


def test_rate_limits_are_kept_by_their_own_names() -> None:
    headers = {
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-20T12:00:00Z",
        "retry-after": "7",
        "request-id": "req_1",
    }
    limits = {"requests-remaining": "49", "input-tokens-reset": "2026-11-20T12:00:00Z", "retry-after": "7"}
    assert decode(TEXT, STOP, headers=headers).rate_limits == limits
    assert decode(error("rate_limit_error", "slow down"), status=429, headers=headers).rate_limits == limits
    assert decode(TEXT, STOP).rate_limits is None


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "data", "message"),
    [
        (400, error("invalid_request_error", "prompt is too long: 9 tokens > 8"), "invalid_request_error: prompt is"),
        (401, error("authentication_error", "invalid x-api-key"), "authentication_error: invalid x-api-key"),
        (402, error("billing_error", "credit balance\nis too low"), "billing_error: credit balance is too low"),
        (404, error("not_found_error", "model: claude-9"), "not_found_error: model: claude-9"),
        (413, error("request_too_large", "too many bytes"), "request_too_large: too many bytes"),
        (429, error("rate_limit_error", "slow down"), "rate_limit_error: slow down"),
        (529, error("overloaded_error", "Overloaded"), "overloaded_error: Overloaded"),
        (401, b'{"error":"Unauthorized"}', "Unauthorized"),
        (401, error("authentication_error", f"no such key: {KEY}"), "authentication_error: no such key: sk-…"),
        (502, b"<html><h1>502 Bad\nGateway</h1></html>", "502 Bad Gateway"),
    ],
)
def test_a_refusal_has_its_status_and_says_which_kind_of_error_it_is(status: int, data: bytes, message: str) -> None:
    found = decode(data, status=status).error
    assert found is not None
    assert found[0] == f"http_{status}"
    assert found[1].startswith(message)


@pytest.mark.parametrize(
    ("segments", "code", "message"),
    [
        (
            [TEXT, event("error", error={"type": "overloaded_error", "message": "Overloaded"})],
            "overloaded",
            "Overloaded",
        ),
        ([event("error", error={"type": "rate_limit_error", "message": "slow"})], "rate_limited", "slow"),
        (
            [TEXT, event("error", error={"type": "api_error", "message": "boom"}), STOP],
            "error_event",
            "api_error: boom",
        ),
        ([TEXT, b'data: {"error":{"code":500,"message":"boom","type":"server_error"}}\n\n'], "error_event", "boom"),
        ([b'data: {"error":"boom"}\n\n'], "error_event", "boom"),
        ([error("overloaded_error", "Overloaded")], "overloaded", "overloaded_error: Overloaded"),
        ([b"event: x\ndata: {nope\n\n", STOP], "malformed", "not an event of the Messages API: b'{nope'"),
        ([b'{"hello":"world"}'], "malformed", None),
        ([b'data: {"choices":[]}\n\n'], "malformed", None),
        ([event("content_block_delta", delta={"text": "a"})], "malformed", None),
        ([delta("text_delta", text=5)], "malformed", None),
        ([event("message_delta", delta=None)], "malformed", None),
        ([b"data: [1]\n\n"], "malformed", None),
        ([b"<html>Welcome"], "malformed", "b'<html>Welcome'"),
        ([begin(input_tokens=1), TEXT], "cut_stream", "after 1 arrivals"),
        ([TEXT, end(None)], "cut_stream", None),
        ([TEXT, b'event: message_stop\ndata: {"ty'], "cut_stream", None),
        ([b": wait\n\n"], "cut_stream", None),
        ([begin(input_tokens=1), end("refusal"), STOP], "empty", "(refusal)"),
        ([], "empty", None),
    ],
)
def test_what_went_wrong_in_a_200_has_a_code(segments: list[bytes], code: str, message: str | None) -> None:
    found = decode(*segments).error
    assert found is not None
    assert found[0] == code
    assert (message or "") in found[1]


def test_what_had_arrived_before_an_error_is_kept() -> None:
    reply = decode((FIXTURES / "claude-overloaded.sse").read_bytes(), headers={"retry-after": "3"})
    assert (reply.text, len(reply.deltas), reply.finish) == ("Once upon", 2, None)
    assert reply.usage == Usage(3095, 1024, 2048, 3, None, 2048)
    assert reply.error == ("overloaded", "overloaded_error: Overloaded")
    assert reply.rate_limits == {"retry-after": "3"}


@pytest.mark.parametrize("segments", [[TEXT, end()], [TEXT, STOP], [TEXT, end(), b"event: mess"]])
def test_a_stop_reason_or_message_stop_is_enough(segments: list[bytes]) -> None:
    assert decode(*segments).error is None


# --- captured streams -------------------------------------------------------------------------------------------

THOUGHT, SAID, CALLED = ["reasoning"] * 3, ["text"] * 2, ["tool"] * 3
CAPTURED = {
    "claude": (THOUGHT + SAID + CALLED, Usage(3095, 1024, 2048, 89, 41, 2048), "tool_use"),
    "xllamacpp-messages": (["text"] * 12, Usage(13, 12, None, 12), "max_tokens"),
    "vllm-messages-thinking": (["reasoning"] * 12, Usage(13, 0, 0, 12), "max_tokens"),
    "vllm-messages": (["text"] * 12, Usage(410, 384, 0, 12), "max_tokens"),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_stream_decodes_to_what_the_server_sent(name: str) -> None:
    reply = decode((FIXTURES / f"{name}.sse").read_bytes())
    assert ([kind for _, _, kind in reply.deltas], reply.usage, reply.finish) == CAPTURED[name]
    assert reply.error is None


@few_or_many("step", 17, 1)
@pytest.mark.parametrize("name", CAPTURED)
def test_a_stream_cut_anywhere_is_known_for_cut_and_gives_what_had_arrived(name: str, step: int) -> None:
    stream = (FIXTURES / f"{name}.sse").read_bytes()
    whole = decode(stream)
    known_whole = stream.index(b"\n", stream.index(b"stop_reason", stream.index(b"event: message_delta")))
    for cut in range(1, known_whole, step):
        reply = decode(stream[:cut])
        assert reply.error is not None, cut
        assert reply.error[0] == "cut_stream"
        assert whole.text.startswith(reply.text)
        assert [kind for _, _, kind in reply.deltas] == [kind for _, _, kind in whole.deltas][: len(reply.deltas)]
    assert decode(stream[:known_whole]) == whole


@few_or_many("step", 23, 7)
@pytest.mark.parametrize("name", CAPTURED)
def test_where_the_bytes_are_cut_changes_only_the_stamps(name: str, step: int) -> None:
    stream = (FIXTURES / f"{name}.sse").read_bytes()
    whole = decode(stream)
    for cut in range(1, len(stream), step):
        reply = decode(stream[:cut], stream[cut:])
        assert [t_ns for t_ns, _, _ in reply.deltas] == sorted(t_ns for t_ns, _, _ in reply.deltas)
        assert reply._replace(deltas=[]) == whole._replace(deltas=[])
    assert [t_ns for t_ns, _, _ in decode(stream, b"").deltas] == [10] * len(whole.deltas)


def test_the_documented_stream_is_one_that_the_vendors_types_describe() -> None:
    from anthropic.types import RawMessageStreamEvent

    events = TypeAdapter(RawMessageStreamEvent)
    kinds = set()
    for line in (FIXTURES / "claude.sse").read_text().splitlines():
        if line.startswith("data: ") and "ping" not in line:
            described: Any = events.validate_json(line.removeprefix("data: "))
            kinds.add(described.type if described.type != "content_block_delta" else described.delta.type)
    deltas = {"text_delta", "thinking_delta", "signature_delta", "citations_delta", "input_json_delta"}
    frame = {"message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"}
    assert kinds == frame | deltas


# --- the vendor's client reads the same -------------------------------------------------------------------------


@pytest.fixture
def streamed(answering: Callable[..., str]) -> Callable[[str], Any]:
    """`streamed(fixture) -> stream` of the official client that is sent the fixture's bytes."""

    def start(name: str) -> Any:
        url = answering(lambda _: (200, {"Content-Type": "text/event-stream"}, (FIXTURES / f"{name}.sse").read_bytes()))
        client = anthropic_client(url)
        return client.messages.stream(max_tokens=9, messages=[{"role": "user", "content": "hello"}], model="m")

    return start


@pytest.mark.parametrize("name", CAPTURED)
def test_the_official_client_reads_the_same_text_usage_and_finish(streamed: Callable[[str], Any], name: str) -> None:
    with streamed(name) as stream:
        message: Any = stream.get_final_message()
    reply, usage = decode((FIXTURES / f"{name}.sse").read_bytes()), message.usage
    cached, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    creation, details = usage.cache_creation, usage.output_tokens_details
    assert reply.text == "".join(block.text for block in message.content if block.type == "text")
    assert (reply.finish, reply.service_tier) == (message.stop_reason, usage.service_tier)
    assert reply.usage == Usage(
        prompt_tokens=usage.input_tokens + (cached or 0) + (written or 0),
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=usage.output_tokens,
        reasoning_tokens=details.thinking_tokens if details else None,
        cache_write_1h_tokens=creation.ephemeral_1h_input_tokens if creation else None,
    )


def test_the_official_client_sees_the_same_error_inside_a_200(streamed: Callable[[str], Any]) -> None:
    from anthropic import APIStatusError

    text = ""
    with pytest.raises(APIStatusError) as raised, streamed("claude-overloaded") as stream:
        for piece in stream.text_stream:
            text += piece
    reply = decode((FIXTURES / "claude-overloaded.sse").read_bytes())
    assert reply.text == text
    assert reply.error == ("overloaded", f"{raised.value.type}: {raised.value.api_message}")


# --- llama.cpp's /v1/messages -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("llama.cpp")
    how = llamacpp_launch.serve(str(build("tiny", folder).gguf), ServeOptions(None, 1, 512, threads=1, extra_args=()))
    with launch(how, folder / "server.log", ready_timeout_s=300, on_progress=lambda _: None, port=None) as server:
        yield Target(server.url, "tiny")


def ask(target: Target, request: HttpRequest) -> Body:
    """One request over the standard library's client; every byte is stamped 0."""
    question = urllib.request.Request(target.url + request.path, request.body, dict(request.headers))
    with urllib.request.urlopen(question, timeout=300) as response:
        data = response.read()
        return Body(data, [len(data)], [0])


def test_llama_cpp_answers_in_this_dialect_as_it_does_in_openais(llama_cpp: Target) -> None:
    theirs = openai.decode(200, {}, ask(llama_cpp, llamacpp.request(CALL, llama_cpp))).usage
    ours = claude.decode(200, {}, ask(llama_cpp, claude.request(CALL, llama_cpp)))
    assert (ours.error, ours.finish, len(ours.deltas)) == (None, "max_tokens", CALL.max_tokens)
    prompt_tokens = claude_cold.count_tokens(llama_cpp, MESSAGES)
    assert theirs is not None
    assert (theirs.prompt_tokens, theirs.output_tokens) == (prompt_tokens, CALL.max_tokens)
    assert prompt_tokens is not None
    # The second to ask finds all of the prompt but its last token in the cache.
    assert ours.usage == Usage(prompt_tokens, prompt_tokens - 1, None, CALL.max_tokens)


def test_llama_cpp_serves_its_model_under_any_name(llama_cpp: Target) -> None:
    info = claude_cold.preflight(Target(llama_cpp.url, "whatever"))
    assert (info.name, info.model, info.context_tokens) == ("llamacpp", "tiny", 512)
