from collections.abc import Callable
from typing import Any

import pytest

from backends.cold import openai as openai_cold
from bench.types import Message, Target, UserError
from tests.backends.conftest import Asked

Answers = dict[str, tuple[int, str, Any]]
Serve = Callable[[Answers], str]
HELLO = (Message("user", "hello"),)


@pytest.fixture
def serve(answering: Callable[..., str]) -> Serve:
    """`serve({path: (status, content type, body)}) -> url`; a body that is no string goes out as JSON."""

    def start(answers: Answers) -> str:
        def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
            status, content_type, body = answers.get(asked.path, (404, "text/plain", "nothing here"))
            return status, {"Content-Type": content_type}, body

        return answering(answer)

    return start


def models(*entries: dict[str, Any]) -> Answers:
    return {"/v1/models": (200, "application/json", {"object": "list", "data": entries})}


def test_preflight_knows_the_model_by_the_servers_list(serve: Serve) -> None:
    url = serve(models({"id": "a", "owned_by": "vllm", "max_model_len": 4096}, {"id": "b"}))
    info = openai_cold.preflight(Target(url, "a"))
    assert (info.name, info.model, info.context_tokens) == ("vllm", "a", 4096)
    assert openai_cold.preflight(Target(url, "b")).context_tokens is None


def test_a_model_that_is_not_served_names_those_that_are(serve: Serve) -> None:
    url = serve(models({"id": "llama-3.1-8b"}, {"id": "qwen3-32b"}))
    with pytest.raises(UserError, match=r"it serves llama-3.1-8b, qwen3-32b; did you mean 'llama-3.1-8b'\?"):
        openai_cold.preflight(Target(url, "llama-3-8b"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, "application/json", {"error": "missing key"}), r"refuses the API key .*HTTP 401: missing key.*_API_KEY"),
        ((403, "text/plain", "not you, very-secret!"), r"refuses the API key .*HTTP 403: not you, \(key\)!"),
        ((301, "text/plain", ""), r"/v1/models redirects .*--url"),
        ((503, "application/json", {"error": {"message": "Loading model"}}), r"answered HTTP 503: Loading model"),
        ((404, "text/plain", "nothing here"), r"no LLM server .*HTTP 404 from toy/1, text/plain: 'nothing here'"),
        ((200, "text/html", "<h1>Welcome to nginx!</h1>"), r"no LLM server .*text/html: 'Welcome to nginx!'"),
        ((200, "application/json", {"hello": "world"}), r"no LLM server .*not a list of models"),
    ],
)
def test_what_answers_instead_is_named_in_one_line_without_the_key(
    serve: Serve, answer: tuple[int, str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as raised:
        openai_cold.preflight(Target(serve({"/v1/models": answer}), "m", "very-secret"))
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_missing_key_is_told_from_a_wrong_one(serve: Serve) -> None:
    with pytest.raises(UserError, match="refuses requests without an API key"):
        openai_cold.preflight(Target(serve({"/v1/models": (401, "text/plain", "")}), "m"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1", "connection refused at http://127.0.0.1:1"),
        ("http://no-such-host.invalid", "the host of http://no-such-host.invalid does not resolve"),
        ("localhost:8000", "'localhost:8000' is not a URL"),
    ],
)
def test_a_url_where_nothing_answers_says_what_to_do(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        openai_cold.preflight(Target(url, "m"))


def test_a_ca_file_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match=r"--ca-file 'nope\.pem' cannot be used: No such file"):
        openai_cold.preflight(Target("https://127.0.0.1:1", "m", ca_file="nope.pem"))


def test_tls_towards_a_plain_server_is_recognised(serve: Serve) -> None:
    with pytest.raises(UserError, match=r"does not speak this protocol .*http or https"):
        openai_cold.preflight(Target(serve({}).replace("http:", "https:"), "m"))


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ({"/tokenize": (200, "application/json", {"count": 7, "tokens": [1] * 7})}, 7),
        ({"/v1/chat/completions": (200, "application/json", {"usage": {"prompt_tokens": 9}})}, 9),
        (
            {  # llama.cpp has a /tokenize too, which knows nothing of messages
                "/tokenize": (200, "application/json", {"tokens": []}),
                "/v1/chat/completions": (200, "application/json", {"usage": {"prompt_tokens": 9}}),
            },
            9,
        ),
        ({"/v1/chat/completions": (200, "application/json", {})}, None),
        ({}, None),
    ],
)
def test_tokens_are_counted_by_whatever_the_server_offers(serve: Serve, answers: Answers, count: int | None) -> None:
    assert openai_cold.count_tokens(Target(serve(answers), "m"), HELLO) == count
