"""The cold path of the Messages API, through the vendor's client, against a server that says what the test wants."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from backends.cold import claude as claude_cold
from backends.dialect import claude
from bench.types import Call, Message, Target, UserError
from tests.backends.conftest import Asked

MESSAGES = (Message("system", "you are kind"), Message("user", "more, café please"))
CALL = Call(0, None, 0, 0, None, MESSAGES, 16, 7, None)
KEY = "sk-ant-api03-very-secret"

Answer = tuple[int, dict[str, str], bytes]
Answers = dict[str, Answer]
Serve = Callable[[Answers], tuple[str, list[Asked]]]


@pytest.fixture
def serve(answering: Callable[..., str]) -> Serve:
    """`serve({path: (status, headers, body)}) -> (url, what it was asked)`; JSON unless the headers say otherwise."""

    def start(answers: Answers) -> tuple[str, list[Asked]]:
        questions: list[Asked] = []

        def answer(asked: Asked) -> Answer:
            questions.append(asked)
            status, headers, body = answers.get(asked.path, (404, {}, b'{"detail":"Not Found"}'))
            return status, {"Content-Type": "application/json"} | headers, body

        return answering(answer), questions

    return start


def error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}).encode()


MODEL = {
    "type": "model",
    "id": "claude-sonnet-5-5",
    "display_name": "Claude Sonnet 5.5",
    "created_at": "2026-09-01T00:00:00Z",
    "lifecycle": "active",
    "max_input_tokens": 200_000,
    "max_tokens": 64_000,
}
PAGE = "/v1/models/claude-sonnet-5-5"
LIST = "/v1/models?limit=1000"
COUNT = "/v1/messages/count_tokens"


def page(**changes: Any) -> Answers:
    return {PAGE: (200, {}, json.dumps(MODEL | changes).encode())}


def thinks(**ways: bool) -> dict[str, Any]:
    return {"thinking": {"supported": True, "types": {name: {"supported": can} for name, can in ways.items()}}}


@pytest.mark.slow
def test_preflight_knows_the_model_by_its_page_and_shows_the_key_as_the_wire_will(serve: Serve) -> None:
    url, asked = serve(page())
    info = claude_cold.preflight(Target(url, "claude-sonnet-5-5", KEY))
    assert (info.name, info.model, info.context_tokens) == ("anthropic", "claude-sonnet-5-5", 200_000)
    assert (info.settings, info.notes) == ({"max_output_tokens": 64_000}, ())
    [(_, headers, _)] = asked
    identity = {name.lower(): value for name, value in claude.request(CALL, Target(url, "m", KEY)).headers[3:]}
    assert headers.items() >= identity.items()


def test_without_a_key_none_is_looked_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    url, asked = serve(page())
    claude_cold.preflight(Target(url, "claude-sonnet-5-5"))
    assert KEY not in str(asked)


def test_no_proxy_is_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    url, asked = serve(page())
    claude_cold.preflight(Target(url, "claude-sonnet-5-5"))
    assert len(asked) == 1


def test_a_model_that_may_think_unasked_or_will_be_gone_is_noted(serve: Serve) -> None:
    can = thinks(adaptive=True, enabled=False, disabled=True)
    url, _ = serve(page(capabilities=can, lifecycle="deprecated", retires_at="2027-01-31T00:00:00Z"))
    thinking, retires = claude_cold.preflight(Target(url, "claude-sonnet-5-5")).notes
    assert "may think before it answers, which is billed as output; choose with --thinking" in thinking
    assert "is deprecated; it retires on 2027-01-31" in retires
    said = claude_cold.preflight(Target(url, "claude-sonnet-5-5", options={"thinking": "off"})).notes
    assert said == (retires,)


def test_a_way_to_think_that_the_model_does_not_take_is_named_with_those_it_takes(serve: Serve) -> None:
    url, _ = serve(page(capabilities=thinks(adaptive=True, enabled=False, disabled=True)))
    with pytest.raises(UserError, match="--thinking: claude-sonnet-5-5 does not support 'enabled'; give off or on"):
        claude_cold.preflight(Target(url, "claude-sonnet-5-5", options={"thinking": "2048"}))
    with pytest.raises(UserError, match="--thinking 12: expected at least 1024 tokens"):
        claude_cold.preflight(Target(url, "claude-sonnet-5-5", options={"thinking": "12"}))


def test_a_retired_model_is_refused(serve: Serve) -> None:
    url, _ = serve(page(lifecycle="retired"))
    with pytest.raises(UserError, match="claude-sonnet-5-5 is retired"):
        claude_cold.preflight(Target(url, "claude-sonnet-5-5"))


def test_an_unknown_model_names_those_there_are(serve: Serve) -> None:
    models = {"data": [MODEL, MODEL | {"id": "claude-haiku-5-5"}], "has_more": False}
    missing: Answer = (404, {}, error("not_found_error", "model: claude-sonet-5-5"))
    url, _ = serve({"/v1/models/claude-sonet-5-5": missing, LIST: (200, {}, json.dumps(models).encode())})
    with pytest.raises(
        UserError, match=r"serves claude-sonnet-5-5, claude-haiku-5-5; did you mean 'claude-sonnet-5-5'"
    ):
        claude_cold.preflight(Target(url, "claude-sonet-5-5", KEY))


@pytest.mark.parametrize("model", ["mine", "lm/tiny"])
def test_a_server_without_pages_is_asked_for_its_list(serve: Serve, model: str) -> None:
    entries = {"data": [{"id": "mine", "root": "lm/tiny", "owned_by": "vllm", "max_model_len": 512}]}
    url, _ = serve({"/v1/models": (200, {}, json.dumps(entries).encode())})
    info = claude_cold.preflight(Target(url, model))
    assert (info.name, info.model, info.context_tokens) == ("vllm", "mine", 512)
    with pytest.raises(UserError, match="does not serve the model 'other'; it serves mine"):
        claude_cold.preflight(Target(url, "other"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {}, error("authentication_error", f"no such key {KEY}")), r"HTTP 401 .*set ANTHROPIC_API_KEY"),
        ((402, {}, error("billing_error", "your balance is too low")), r"HTTP 402 \(billing_error: your .*no credit"),
        (
            (403, {}, error("permission_error", "not for you")),
            r"HTTP 403 \(permission_error: not for you\); the key lacks",
        ),
        ((429, {"retry-after": "7"}, error("rate_limit_error", "slow")), r"HTTP 429 .*rate limit .*in 7 s"),
        ((529, {}, error("overloaded_error", "Overloaded")), r"HTTP 529 \(overloaded_error: Overloaded\).*again later"),
        ((500, {}, b"boom"), r"HTTP 500 \(boom\)"),
        ((301, {"Location": "/elsewhere"}, b""), r"HTTP 301 .*as --url"),
        ((404, {"Content-Type": "text/html"}, b"<h1>none</h1>"), r"no LLM server at .*HTTP 404"),
        ((200, {"Content-Type": "text/html"}, b"<h1>Welcome to nginx!</h1>"), r"no LLM server at .*--url"),
        ((200, {}, b'{"hello":"world"}'), r"no LLM server at .*--url"),
        ((200, {}, b"{nope"), r"no LLM server at .*not valid JSON"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do_and_never_the_key(
    serve: Serve, answer: tuple[int, dict[str, str], bytes], said: str
) -> None:
    url, asked = serve({PAGE: answer})
    with pytest.raises(UserError, match=said) as raised:
        claude_cold.preflight(Target(url, "claude-sonnet-5-5", KEY))
    assert "\n" not in str(raised.value)
    assert "secret" not in f"{raised.value!r} {raised.value.__cause__!r}"
    assert [path for path, _, _ in asked if path == PAGE] == [PAGE]  # nothing is tried twice


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "connection refused at http://127.0.0.1:1"),
        ("localhost:8000", "'localhost:8000' is not a URL"),
        ("https://api.anthropic.com", "https://api.anthropic.com requires an API key; set ANTHROPIC_API_KEY"),
        ("http://192.0.2.1", "requires an API key"),
    ],
)
def test_what_cannot_be_asked_says_what_to_do(url: str, said: str) -> None:
    key = KEY if "is not a URL" in said else None
    with pytest.raises(UserError, match=said):
        claude_cold.preflight(Target(url, "m", key))


def test_a_ca_file_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"--ca-file 'nope\.pem' cannot be used"):
        claude_cold.preflight(Target("https://127.0.0.1:1", "m", ca_file="nope.pem"))


def test_prompts_are_counted_with_all_that_decides_their_length(serve: Serve) -> None:
    url, asked = serve({COUNT: (200, {}, b'{"input_tokens": 17}')})
    target = Target(url, "m", options={"thinking": "on"})
    assert claude_cold.count_tokens(target, MESSAGES) == 17
    [(_, _, counted)] = asked
    whole = json.loads(claude.request(CALL, target).body)
    assert json.loads(counted) == {name: whole[name] for name in ("model", "messages", "system", "thinking")}


@pytest.mark.parametrize(
    "answers", [{}, {COUNT: (200, {}, b"{}")}, {COUNT: (200, {"Content-Type": "text/html"}, b"x")}]
)
def test_where_nobody_counts_the_length_is_unknown(serve: Serve, answers: Answers) -> None:
    url, _ = serve(answers)
    assert claude_cold.count_tokens(Target(url, "m"), MESSAGES) is None


def test_the_vendors_client_is_imported_by_the_first_question_and_not_before() -> None:
    code = "import sys, backends.claude; print('anthropic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
