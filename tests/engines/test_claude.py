"""The `claude` backend on vLLM's and llama.cpp's /v1/messages: two servers of the dialect that nobody here wrote."""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace

import pytest

from backends import BACKENDS
from backends.cold import claude as claude_cold
from backends.dialect import claude
from bench.types import Backend, Body, Call, Message, Reply, Target, UserError

pytestmark = pytest.mark.engine

Ask = Callable[[Backend, Target, Call], Reply]
Counters = Callable[[Target], dict[str, float]]

MESSAGES = (
    Message("system", "you are\n kind"),
    Message("user", "tell me about the sun"),
    Message("assistant", " it is near "),
    Message("user", "more, café please"),
)


def call(max_tokens: int, messages: tuple[Message, ...] = MESSAGES) -> Call:
    return Call(0, None, 0, 0, None, messages, max_tokens, 1, None)


@pytest.fixture(params=["vllm_server", "llamacpp_server"])
def server(request: pytest.FixtureRequest) -> Target:
    """Each of the engines in turn."""
    target: Target = request.getfixturevalue(request.param)
    return target


@pytest.mark.parametrize("thinking", ["default", "off", "on"])
def test_an_answer_has_exactly_the_tokens_asked_for(server: Target, ask: Ask, thinking: str) -> None:
    reply = ask(BACKENDS["claude"], replace(server, options={"thinking": thinking}), call(12))
    assert (reply.error, reply.finish) == (None, "max_tokens")
    assert {kind for _, _, kind in reply.deltas} == {"text"}
    assert reply.usage is not None
    assert reply.usage.output_tokens == 12


def test_an_error_inside_a_200_is_seen(vllm_server: Target, ask: Ask) -> None:
    # Of a model without a reasoning parser vLLM refuses a budget, but only once its answer has begun.
    reply = ask(BACKENDS["claude"], replace(vllm_server, options={"thinking": "1024"}), call(1030))
    assert reply.error is not None
    assert reply.error[0] == "error_event"
    assert reply.error[1].startswith("internal_error: ")
    assert reply.deltas == []


def test_both_dialects_count_the_same_tokens(server: Target, ask: Ask) -> None:
    theirs = ask(BACKENDS["openai"], server, call(9)).usage
    ours = ask(BACKENDS["claude"], server, call(9)).usage
    assert ours is not None
    assert theirs is not None
    assert (ours.prompt_tokens, ours.output_tokens) == (theirs.prompt_tokens, theirs.output_tokens)
    assert claude_cold.count_tokens(server, MESSAGES) == ours.prompt_tokens


def test_a_repeated_prompt_is_seen_to_be_cached(server: Target, ask: Ask) -> None:
    long = call(2, (Message("system", "the moon " * 200), Message("user", "go on")))
    first, second = (ask(BACKENDS["claude"], server, long).usage for _ in range(2))
    theirs = ask(BACKENDS["openai"], server, long).usage
    assert first is not None
    assert second is not None
    assert theirs is not None
    assert (second.prompt_tokens, second.cached_tokens) == (first.prompt_tokens, theirs.cached_tokens)
    assert first.cached_tokens is not None
    assert second.cached_tokens is not None
    assert first.cached_tokens < 32 < 300 < second.cached_tokens


def test_token_sums_are_the_servers_own(vllm_server: Target, ask: Ask, vllm_counters: Counters) -> None:
    before = vllm_counters(vllm_server)
    usages = [ask(BACKENDS["claude"], vllm_server, call(length)).usage for length in (1, 5, 33)]
    after = vllm_counters(vllm_server)
    for name, ours in (
        ("prompt_tokens_total", [usage.prompt_tokens for usage in usages if usage]),
        ("generation_tokens_total", [usage.output_tokens for usage in usages if usage]),
    ):
        assert after[name] - before[name] == sum(count or 0 for count in ours)


def test_a_prompt_that_is_too_long_is_refused_in_a_line_that_says_so(server: Target) -> None:
    request = claude.request(call(5, (Message("user", "sun " * 9000),)), server)
    status, data = refused(server.url + request.path, request.body, dict(request.headers))
    error = claude.decode(status, {}, Body(data, [len(data)], [0])).error
    assert error is not None
    assert error[0] == "http_400"
    assert ": " in error[1]
    assert "context" in error[1]


def refused(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=300)
    with raised.value as error:
        return error.code, error.read()


def test_preflight_finds_the_model_in_the_list(vllm_server: Target) -> None:
    info = claude_cold.preflight(vllm_server)
    assert (info.name, info.model, info.context_tokens) == ("vllm", "tiny", 4096)
    with pytest.raises(UserError, match=r"does not serve the model 'tony'; .*did you mean 'tiny'"):
        claude_cold.preflight(replace(vllm_server, model="tony"))
