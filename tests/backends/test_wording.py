"""However a request is to be worded: it is one JSON object with exactly the fields that were asked for."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BACKENDS
from bench.types import Call, Message, Target

CALL = Call(0, None, 0, 0, None, (Message("system", "be kind"), Message("user", "tell me")), 16, 7, 20)
TEMPERATURES = st.sampled_from(["server", "0", "0.7", "1"])
SHARES = st.sampled_from(["server", "0.5", "1"])
OWN = st.dictionaries(st.sampled_from(["top_k", "stop", "logit_bias", "ignore_eos", "x y"]), st.integers() | st.text())
DIALECTS: list[tuple[str, dict[str, str]]] = [(name, {}) for name in BACKENDS] + [("tgi", {"dialect": "chat"})]


def body(name: str, options: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BACKENDS[name].request(CALL, Target("http://h", "m", options=options)).body)
    return found


def expected(name: str, chat: bool, temperature: str, share: str, seeds: str) -> dict[str, Any]:
    """The sampling fields of a request, by what is known of each dialect."""
    fields: dict[str, Any] = {}
    if name == "tgi" and not chat:
        if temperature == "0":
            fields = {"do_sample": False}
        elif temperature != "server":
            fields = {"do_sample": True, "temperature": float(temperature)}
        if temperature != "0" and share == "0.5":
            fields["top_p"] = 0.5
    else:
        fields |= {} if temperature == "server" else {"temperature": float(temperature)}
        fields |= {} if share == "server" else {"top_p": float(share)}
    return fields | ({} if seeds == "off" or name == "claude" else {"seed": 7})


@pytest.mark.parametrize(("name", "options"), DIALECTS, ids=str)
def test_a_request_has_exactly_the_fields_that_were_asked_for(name: str, options: dict[str, str]) -> None:
    native = name == "tgi" and not options
    plain = body(name, options | {"temperature": "server", "seed_requests": "off"})

    @settings(max_examples=60, deadline=None)
    @given(TEMPERATURES, SHARES, st.sampled_from(["on", "off"]), OWN)
    def check(temperature: str, share: str, seeds: str, own: dict[str, Any]) -> None:
        chosen = {"temperature": temperature, "top_p": share, "seed_requests": seeds}
        found = body(name, options | chosen | ({"extra_body": json.dumps(own)} if own else {}))
        fields = expected(name, not native, temperature, share, seeds)
        if native:
            assert found == plain | own | {"parameters": plain["parameters"] | fields}
        else:
            assert found == plain | fields | own

    check()


def test_own_fields_go_into_objects_and_take_the_place_of_all_else() -> None:
    own = json.dumps({"parameters": {"top_k": 3, "details": False}})
    assert body("tgi", {"extra_body": own})["parameters"] == {
        "max_new_tokens": 16, "details": False, "do_sample": False, "seed": 7, "top_k": 3
    }  # fmt: skip


def test_what_the_server_does_not_take_is_left_out_of_our_fields_and_not_of_the_users() -> None:
    tool = {"parameters": {"properties": {"seed": {"type": "integer"}}}}
    found = body("openai", {"without": "seed", "extra_body": json.dumps({"tools": [tool]})})
    assert found["tools"] == [tool]
    assert "seed" not in found
