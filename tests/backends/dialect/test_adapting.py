"""Whatever a server says, what decides the load stays in the request, and nothing crashes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BACKENDS
from backends.dialect.adapting import adapt
from bench.types import Call, Message, Refusal, Target

MESSAGES = (Message("system", "be kind"), Message("user", "tell me of max_tokens and seed"))
CALL = Call(0, None, 0, 0, None, MESSAGES, 16, 7, 20)
NAMES = (
    "model",
    "messages",
    "max_tokens",
    "seed",
    "stream",
    "stream_options",
    "inputs",
    "temperature",
    "system",
    "role",
)
WORDS = st.lists(
    st.sampled_from(
        [*NAMES, "unknown", "unsupported", "not permitted", "Use", "instead", "max_completion_tokens", "too large"]
    )
    | st.text(max_size=6),
    max_size=12,
).map(" ".join)
ANYTHING = st.recursive(
    WORDS | st.integers() | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "message", "param", "loc"]), inner)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("name", [name for name in BACKENDS if BACKENDS[name].adapt is not None])
@settings(max_examples=30, deadline=None)
@given(refusals=st.lists(st.tuples(st.sampled_from([200, 400, 401, 404, 422, 429, 500]), ANYTHING), max_size=6))
def test_prompt_model_and_length_survive_whatever_a_server_says(name: str, refusals: list[tuple[int, Any]]) -> None:
    backend, target = BACKENDS[name], Target("http://h", "m")
    for status, said in refusals:
        found = adapt(backend.request(CALL, target), target, Refusal(status, str(said), json.dumps(said).encode()))
        if found is not None:
            assert status not in (401, 429) and found.said and found.options != target.options
            target = Target("http://h", "m", options=found.options)
    body = json.loads(backend.request(CALL, target).body)
    text = json.dumps(body)
    assert "be kind" in text and "tell me of max_tokens and seed" in text
    lengths = [body.get("max_tokens"), body.get("max_completion_tokens")]
    assert [one for one in [*lengths, body.get("parameters", {}).get("max_new_tokens")] if one] == [16]
    assert name == "tgi" or (body["model"], body["stream"]) == ("m", True)
