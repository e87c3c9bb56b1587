import json
import re
import shlex
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from backends.dialect import openai, tgi
from backends.launch import tgi as tgi_launch
from bench.types import Body, Call, Message, Reply, ServeOptions, Target, Usage, UserError
from tests.backends import tgi_api

FIXTURES = Path(__file__).parents[1] / "fixtures"
USER = (Message("user", "take the sun and write a long story with them"),)
BOTH = (Message("system", "remember the sea"), *USER)


def call(messages: tuple[Message, ...] = USER) -> Call:
    return Call(0, None, 0, 0, None, messages, 4, 7, None)


def body(*segments: bytes) -> Body:
    """Segment i arrives at 10 * (i + 1)."""
    return Body(b"".join(segments), list(accumulate(map(len, segments))), [10 * (i + 1) for i in range(len(segments))])


def decode(*segments: bytes, status: int = 200) -> Reply:
    return tgi.decode(status, {}, body(*segments))


def event(value: Any) -> bytes:
    return b"data:" + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def token(text: str, *, special: bool = False, **more: Any) -> bytes:
    return event({"index": 1, "token": {"id": 1, "text": text, "logprob": -1.0, "special": special}, **more})


def last(text: str, generated_text: str, tokens: int, *, finish: str = "length", special: bool = False) -> bytes:
    details = {"finish_reason": finish, "generated_tokens": tokens, "seed": None, "input_length": 9}
    return token(text, special=special, generated_text=generated_text, details=details)


def counts(reply: Reply) -> list[int | None]:
    return [tokens for _, tokens, _ in reply.deltas]


# --- request ----------------------------------------------------------------------------------------------------


def test_the_native_request_is_greedy_text_in_the_templates_frame() -> None:
    frame = json.dumps({"user": ["<u>", "</u>"]})
    request = tgi.request(call(), Target("http://127.0.0.1:8080/api", "m", options={"frame": frame}))
    assert (request.method, request.path) == ("POST", "/api/generate_stream")
    assert json.loads(request.body) == {
        "inputs": f"<u>{USER[0].text}</u>",
        "parameters": {"max_new_tokens": 4, "details": True, "do_sample": False, "seed": 7},
    }


def test_the_chat_request_is_that_of_the_openai_dialect() -> None:
    target = Target("http://h", "m", options={"dialect": "chat"})
    assert tgi.request(call(BOTH), target) == openai.request(call(BOTH), target)


def test_requests_have_only_fields_that_the_published_api_knows() -> None:
    for options in ({}, {"adapter": "a"}):
        native = json.loads(tgi.request(call(BOTH), Target("http://h", "m", options=options)).body)
        assert tgi_api.violations(tgi_api.request_schema("/generate_stream"), native) == []
        assert not tgi_api.unknown_fields("GenerateRequest", native)
        assert not tgi_api.unknown_fields("GenerateParameters", native["parameters"])
        chat = json.loads(tgi.request(call(BOTH), Target("http://h", "m", options={"dialect": "chat", **options})).body)
        assert tgi_api.violations(tgi_api.request_schema("/v1/chat/completions"), chat) == []
        assert not tgi_api.unknown_fields("ChatRequest", chat)


def test_an_adapter_is_named_in_either_dialect() -> None:
    native = json.loads(tgi.request(call(), Target("http://h", "m", options={"adapter": "a"})).body)
    chat = json.loads(tgi.request(call(), Target("http://h", "m", options={"adapter": "a", "dialect": "chat"})).body)
    assert native["parameters"]["adapter_id"] == chat["model"] == "a"


def test_the_key_goes_into_a_header_only_when_there_is_one() -> None:
    assert "Authorization" not in dict(tgi.request(call(), Target("http://h", "m")).headers)
    assert dict(tgi.request(call(), Target("http://h", "m", "k")).headers)["Authorization"] == "Bearer k"


@pytest.mark.parametrize(
    "render",
    [
        lambda messages: None,
        lambda messages: messages[-1].text.upper(),
        lambda messages: messages[-1].text * 2,
        lambda messages: f"{len(messages[-1].text)}: {messages[-1].text}",
    ],
)
def test_a_template_that_does_not_frame_the_contents_as_they_are_has_no_frame(render: Any) -> None:
    assert tgi.frame_from(render) is None


# --- decode -----------------------------------------------------------------------------------------------------


def test_a_token_without_text_counts_with_the_next_that_brings_some_or_with_the_last() -> None:
    reply = decode(
        token("<s>", special=True),
        token(" a"),
        token(""),
        token("é"),
        last("</s>", " aé", 5, finish="eos_token", special=True),
    )
    assert reply.deltas == [(20, 2, "text"), (40, 2, "text"), (50, 1, "text")]
    assert (reply.text, reply.usage, reply.finish) == (" aé", Usage(9, None, None, 5), "eos_token")
    assert reply.error is None


def test_the_servers_whole_text_is_taken_over_the_sum_of_its_tokens() -> None:
    assert decode(token("caf"), last("", "café", 2)).text == "café"
    assert decode(token("caf")).text == "caf"


def test_nothing_after_the_last_token_matters() -> None:
    stream = [token("a"), last("b", "ab", 2)]
    assert decode(*stream, b"data: [DONE]\n\n", b"data:{") == decode(*stream)


def test_keep_alive_comments_and_line_ends_make_no_difference() -> None:
    events = [token("a"), token("b"), last("c", "abc", 3)]
    whole = decode(b"".join(events))
    for at in range(len(events) + 1):
        for comment in (b":\n\n", b": ping\n"):
            assert decode(b"".join([*events[:at], comment, *events[at:]])) == whole
    assert decode(b"".join(events).replace(b"\n", b"\r\n")) == whole
    assert decode(b"".join(events).replace(b"data:", b"data: ")) == whole


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert decode(token("a").replace(b'"a"', b'"\\ud83d"')).text == "�"


@pytest.mark.parametrize(
    ("kind", "code"), [("overloaded", "overloaded"), ("validation", "error_event"), ("generation", "error_event")]
)
@pytest.mark.parametrize("wrap", [event, lambda value: json.dumps(value).encode()])
def test_an_error_inside_a_200_has_the_code_of_its_kind(kind: str, code: str, wrap: Any) -> None:
    assert decode(wrap({"error": "so\nit is", "error_type": kind})).error == (code, f"{kind}: so it is")


def test_what_had_arrived_before_an_error_is_kept() -> None:
    reply = decode(token(" a"), event({"error": "CUDA", "error_type": "generation"}), token(" b"))
    assert reply == Reply(" a", [(10, 1, "text")], None, None, ("error_event", "generation: CUDA"))


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        ([token("a"), b"data:{nope\n\n"], "cut_stream"),
        ([token("a"), event(["a"])], "cut_stream"),
        ([token("a"), event("an error")], "cut_stream"),
        ([token("a"), event({"token": {"id": 1}})], "cut_stream"),
        ([event({"token": {"id": 1, "text": 5, "special": False}})], "malformed"),
        ([token("a", generated_text="a", details={"generated_tokens": -1})], "malformed"),
        ([token("a", generated_text="a", details={"finish_reason": 5})], "malformed"),
        ([b'event:x\nno data "token":{'], "malformed"),
        ([token("a"), token("b")], "cut_stream"),
        ([token("a"), b'data:{"ind'], "cut_stream"),
        ([b'data:{"ind'], "cut_stream"),
        ([b":\n\n"], "cut_stream"),
        ([b""], "empty"),
        ([b"data:[DONE]\n\n"], "empty"),
        ([last("</s>", "", 1, finish="eos_token", special=True)], "empty"),
        ([b"<html>"], "malformed"),
    ],
)
def test_what_went_wrong_has_a_code(segments: list[bytes], code: str) -> None:
    error = decode(*segments).error
    assert error is not None
    assert error[0] == code


def test_details_that_are_no_counts_are_unknown() -> None:
    odd = token("a", generated_text="a", details={"generated_tokens": None})
    assert decode(odd).usage == Usage(None, None, None, None)
    assert decode(token("a", generated_text="a", details=None)).usage is None


CAPTURED = {
    "tgi": ([1] * 6, " third tall close mount let learn", Usage(14, None, None, 6), "length"),
    "tgi-half-characters": ([2, 1, 2, 1], " été ✓", Usage(14, None, None, 6), "eos_token"),
}


UNSEEN = re.compile(rb'"text":"".*"generated_text":null')


@pytest.mark.parametrize("name", CAPTURED)
def test_where_the_bytes_are_cut_changes_only_the_stamps(name: str) -> None:
    stream = (FIXTURES / f"{name}.sse").read_bytes()
    whole = decode(stream)
    assert (counts(whole), whole.text, whole.usage, whole.finish) == CAPTURED[name]
    line_ends = [end + 1 for end in range(len(stream)) if stream.startswith(b"}\n\n", end - 1)]
    seen = [end for end in line_ends if not UNSEEN.search(line_before(stream, end))]
    assert len(seen) == len(whole.deltas)
    for cut in range(1, len(stream)):
        reply = decode(stream[:cut], stream[cut:])
        assert reply._replace(deltas=[]) == whole._replace(deltas=[])
        assert [t_ns for t_ns, _, _ in reply.deltas] == [10 if end <= cut else 20 for end in seen]


def line_before(stream: bytes, end: int) -> bytes:
    return stream[stream.rfind(b"\n", 0, end - 1) + 1 : end]


@pytest.mark.parametrize("name", CAPTURED)
def test_a_stream_that_breaks_off_anywhere_keeps_what_had_arrived(name: str) -> None:
    stream = (FIXTURES / f"{name}.sse").read_bytes()
    whole = decode(stream)
    for end in range(len("data:{"), len(stream)):
        reply = decode(stream[:end])
        assert reply.deltas == whole.deltas[: len(reply.deltas)]
        assert reply.text == whole.text[: len(reply.text)]
        assert (reply.error is None) == (reply.usage is not None)
        if reply.error:
            assert reply.error[0] == "cut_stream"


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_stream_is_as_the_published_api_describes_it(name: str) -> None:
    schema = tgi_api.answer_schema("post", "/generate_stream", 200, "text/event-stream")
    lines = (FIXTURES / f"{name}.sse").read_text().splitlines()
    events = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
    assert [tgi_api.violations(schema, event) for event in events] == [[]] * len(events)


# --- launch -----------------------------------------------------------------------------------------------------


def options(*extra_args: str, slots: int = 3) -> ServeOptions:
    return ServeOptions(server=None, slots=slots, context_tokens=512, threads=1, extra_args=extra_args)


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text-generation-launcher").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


LIMITS = "--max-input-tokens 511 --max-total-tokens 512 --max-concurrent-requests 128"


@pytest.mark.usefixtures("launcher")
def test_the_launcher_on_path_serves_on_loopback_within_the_scenarios_limits() -> None:
    how = tgi_launch.serve("org/model", options("--quantize", "awq"))
    flags = f"--model-id org/model --hostname 127.0.0.1 --port {{port}} {LIMITS} --quantize awq"
    assert how.argv == ("text-generation-launcher", *flags.split())
    assert (how.ready_path, how.ready_timeout_s) == ("/health", 1800)
    assert how.env == {"USAGE_STATS": "off"}
    assert "--max-concurrent-requests 400" in " ".join(tgi_launch.serve("org/model", options(slots=400)).argv)


@pytest.mark.usefixtures("launcher")
def test_a_flag_of_the_users_takes_the_place_of_ours() -> None:
    argv = tgi_launch.serve("org/model", options("--max-input-tokens=100", "--hostname", "::1")).argv
    assert [word for word in argv if word.startswith(("--max-input-tokens", "--hostname"))] == [
        "--max-input-tokens=100",
        "--hostname",
    ]


def test_a_command_of_the_users_comes_first_and_a_local_folder_needs_no_hub(tmp_path: Path) -> None:
    how = tgi_launch.serve(str(tmp_path), replace(options(), command=("podman", "exec", "tgi", "launch")))
    assert how.argv[:6] == ("podman", "exec", "tgi", "launch", "--model-id", str(tmp_path))
    assert how.env["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("quantization", "flags"),
    [("awq", "--quantize awq"), ("fp8", "--quantize fp8"), ("bf16", "--dtype bfloat16"), (None, "")],
)
def test_the_quantization_of_a_short_name_is_passed_on_unless_the_user_says_otherwise(
    quantization: str | None, flags: str
) -> None:
    named = replace(options(), quantization=quantization, command=("tgi",))
    assert flags in " ".join(tgi_launch.serve("org/model", named).argv)
    own = replace(named, extra_args=("--quantize", "eetq", "--dtype", "float32"))
    assert " ".join(tgi_launch.serve("org/model", own).argv).count("--quantize") == 1


def test_without_the_launcher_the_line_for_docker_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as refused:
        tgi_launch.serve("org/model", options("--quantize", "awq"))
    before, line, after = str(refused.value).split("`")
    assert before == "no text-generation-launcher on PATH; start TGI with "
    assert after == ", then give --url http://127.0.0.1:8080"
    words = shlex.split(line)
    assert words[:6] == ["docker", "run", "--rm", "--gpus", "all", "--shm-size"]
    assert words[words.index("-p") + 1] == "127.0.0.1:8080:80"
    assert words[words.index(tgi_launch.IMAGE) + 1 :] == f"--model-id org/model {LIMITS} --quantize awq".split()
    with pytest.raises(UserError, match=rf"-v {tmp_path}:/model:ro .* --model-id /model "):
        tgi_launch.serve(str(tmp_path), options())


def test_choices_that_tgi_does_not_leave_are_the_users_error() -> None:
    for how in (replace(options(), server="x"), replace(options(), python="x")):
        with pytest.raises(UserError, match="give it with --server-cmd"):
            tgi_launch.serve("org/model", how)
