"""The plain dialect on every engine there is: what all of them understand, and what only some of them tell."""

from collections.abc import Callable

import pytest

from backends import BACKENDS
from backends.cold import openai as openai_cold
from bench.types import Backend, Call, Message, Reply, Target

pytestmark = pytest.mark.engine

Ask = Callable[[Backend, Target, Call], Reply]

MESSAGES = (
    Message("system", "you are\n kind"),
    Message("user", "tell me about the sun"),
    Message("assistant", " it is near "),
    Message("user", "more, café <|end|> please"),
)
CALL = Call(0, None, 0, 0, None, MESSAGES, 12, 1, None)
ENGINES = {"vllm_server": True, "llamacpp_server": True, "llama_cpp_python_server": False}


@pytest.mark.parametrize(("engine", "tells_usage"), ENGINES.items())
def test_every_engine_answers_the_plain_dialect(
    engine: str, tells_usage: bool, request: pytest.FixtureRequest, ask: Ask
) -> None:
    server: Target = request.getfixturevalue(engine)
    info, reply = openai_cold.preflight(server), ask(BACKENDS["openai"], server, CALL)
    assert (info.model, reply.error, reply.finish) == ("tiny", None, "length")
    assert reply.text
    assert len(reply.deltas) <= CALL.max_tokens
    counted = openai_cold.count_tokens(server, MESSAGES)
    assert counted is not None
    assert (reply.usage is not None) is tells_usage
    if reply.usage is not None:
        assert (reply.usage.prompt_tokens, reply.usage.output_tokens) == (counted, CALL.max_tokens)
