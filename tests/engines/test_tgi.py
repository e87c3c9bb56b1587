"""The chat dialect of the TGI adapter on a server that nobody here wrote: vLLM takes what TGI's chat route takes."""

import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from backends.dialect import openai, tgi
from bench.types import Body, Call, Message, Reply, Target
from tests.vendors import openai_client

pytestmark = pytest.mark.engine

MESSAGES = (Message("system", "remember the sea"), Message("user", "take the sun and write a long story with them"))


@pytest.fixture
def chat(vllm_server: Target) -> Target:
    return replace(vllm_server, options={"dialect": "chat"})


def ask(target: Target, max_tokens: int = 9) -> tuple[Reply, Body]:
    """One request over the standard library's client; every byte is stamped 0."""
    request = tgi.request(Call(0, None, 0, 0, None, MESSAGES, max_tokens, 1, None), target)
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(target.url + request.path, request.body, dict(request.headers)), timeout=300
        )
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        data = answer.read()
        body = Body(data, [len(data)], [0])
        return tgi.decode(answer.status, {}, body), body


def test_the_chat_dialect_has_a_real_engines_text_usage_and_finish(chat: Target) -> None:
    reply, body = ask(chat)
    assert (reply.error, reply.finish) == (None, "length")
    assert reply.usage is not None
    assert reply.usage.output_tokens == 9 >= len(reply.deltas) > 0  # vLLM merges tokens when it is behind
    assert reply == openai.decode(200, {}, body)


def test_the_official_openai_client_reads_the_same(chat: Target) -> None:
    reply, _ = ask(chat)
    with openai_client(chat.url) as client:
        whole = client.chat.completions.create(
            model=chat.model,
            messages=[{"role": "system", "content": MESSAGES[0].text}, {"role": "user", "content": MESSAGES[1].text}],
            max_tokens=9,
            temperature=0,
            seed=1,
        )
    assert whole.usage is not None
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (reply.text, reply.finish)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == whole.usage.prompt_tokens
    assert reply.usage.output_tokens == whole.usage.completion_tokens


def test_an_adapter_is_asked_for_by_its_name(chat: Target) -> None:
    reply, _ = ask(replace(chat, options={"dialect": "chat", "adapter": "no-such-adapter"}))
    assert reply.error is not None
    assert reply.error[0] == "http_404"
    assert "no-such-adapter" in reply.error[1]
