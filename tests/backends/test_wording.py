"""However a request is to be worded: it is one JSON object with exactly the fields that were asked for."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BACKENDS
from bench.types import Call, Image, Message, Target

CALL = Call(0, None, 0, 0, None, (Message("system", "be kind"), Message("user", "tell me")), 16, 7, 20)
TEMPERATURES = st.sampled_from(["server", "0", "0.7", "1"])
SHARES = st.sampled_from(["server", "0.5", "1"])
ON_OR_OFF = st.sampled_from(["on", "off"])
NAMES = st.sampled_from(["top_k", "stop", "logit_bias", "ignore_eos", "x y"])
OWN = st.dictionaries(NAMES, st.integers(-(2**63), 2**63) | st.text())
ROUTES = ("chat", "completions", "responses")
DIALECTS: list[tuple[str, dict[str, str]]] = [
    *((name, {"route": route}) for name in ("openai", "vllm", "llamacpp") for route in ROUTES),
    *(("tgi", {"dialect": dialect}) for dialect in ("native", "chat")),
    ("claude", {}),
]


def body(name: str, options: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BACKENDS[name].request(CALL, Target("http://h", "m", options=options)).body)
    return found


def sampling(name: str, options: dict[str, str], temperature: str, share: str, seeds: str) -> dict[str, Any]:
    """The sampling fields of a request, by what is known of each dialect."""
    fields: dict[str, Any] = {}
    if options.get("dialect") == "native":
        if temperature == "0":
            fields = {"do_sample": False}
        elif temperature != "server":
            fields = {"do_sample": True, "temperature": float(temperature)}
        if temperature != "0" and share == "0.5":
            fields["top_p"] = 0.5
    else:
        fields |= {} if temperature == "server" else {"temperature": float(temperature)}
        fields |= {} if share == "server" else {"top_p": float(share)}
    unseeded = seeds == "off" or name == "claude" or options.get("route") == "responses"
    return fields if unseeded else fields | {"seed": 7}


def rest(name: str, options: dict[str, str], *, streamed: bool) -> dict[str, Any]:
    """The other fields of a request."""
    whole, turns = "be kind\n\ntell me", [
        {"role": "system", "content": "be kind"}, {"role": "user", "content": "tell me"}
    ]  # fmt: skip
    if options.get("dialect") == "native":
        return {"inputs": whole, "parameters": {"max_new_tokens": 16, "details": True}}
    fields: dict[str, Any] = {"model": "m", "stream": streamed}
    if name == "claude":
        mark = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
        system = [{"type": "text", "text": "be kind", **mark}]
        return fields | {"max_tokens": 16, "system": system, "messages": turns[1:]}
    match options.get("route"):
        case "responses":
            fields |= {"input": turns, "max_output_tokens": 16, "store": False}
        case "completions":
            fields |= {"prompt": whole, "max_tokens": 16}
        case _:
            fields |= {"messages": turns, "max_tokens": 16}
    if streamed and "store" not in fields:
        running = {"continuous_usage_stats": True} if name == "vllm" else {}
        fields["stream_options"] = {"include_usage": True, **running}
    fields |= {"ignore_eos": True} if name in ("vllm", "llamacpp") else {}
    fields |= {"min_tokens": 16} if name == "vllm" else {}
    return fields | ({"timings_per_token": True} if name == "llamacpp" and streamed else {})


@pytest.mark.parametrize(("name", "options"), DIALECTS, ids=str)
@settings(max_examples=60, deadline=None)
@given(temperature=TEMPERATURES, share=SHARES, seeds=ON_OR_OFF, stream=ON_OR_OFF, own=OWN)
def test_a_request_has_exactly_the_fields_that_were_asked_for(
    name: str, options: dict[str, str], temperature: str, share: str, seeds: str, stream: str, own: dict[str, Any]
) -> None:
    chosen = {"temperature": temperature, "top_p": share, "seed_requests": seeds, "stream": stream}
    found = body(name, options | chosen | ({"extra_body": json.dumps(own)} if own else {}))
    fields = sampling(name, options, temperature, share, seeds)
    others = rest(name, options, streamed=stream == "on")
    if "parameters" in others:
        assert found == others | own | {"parameters": others["parameters"] | fields}
    else:
        assert found == others | fields | own


@pytest.mark.parametrize(
    ("name", "options", "path"),
    [
        ("openai", {}, "/v1/chat/completions"),
        ("vllm", {"route": "completions"}, "/v1/completions"),
        ("llamacpp", {"route": "responses", "stream": "off"}, "/v1/responses"),
        ("openai", {"route": "responses", "api_path": ""}, "/responses"),
        ("tgi", {}, "/generate_stream"),
        ("tgi", {"stream": "off"}, "/generate"),
        ("claude", {"stream": "off"}, "/v1/messages"),
    ],
)
def test_a_request_goes_where_its_route_is_and_says_what_answer_it_wants(
    name: str, options: dict[str, str], path: str
) -> None:
    request = BACKENDS[name].request(CALL, Target("http://h", "m", options=options))
    assert request.path == path
    assert dict(request.headers)["Accept"] == ("application/json" if "stream" in options else "text/event-stream")


FUNCTION = {"name": "look", "description": "d", "parameters": {"type": "object", "properties": {"at": {}}}}
SCHEMA = {"type": "object", "properties": {"seed": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("name", "options", "worded"),
    [
        (
            "vllm", {},
            {
                "tools": [{"type": "function", "function": FUNCTION}],
                "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
            },
        ),
        (
            "llamacpp", {"route": "responses"},
            {
                "tools": [{"type": "function", **FUNCTION}],
                "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
            },
        ),
        (
            "claude", {},
            {
                "tools": [{"name": "look", "description": "d", "input_schema": FUNCTION["parameters"]}],
                "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
            },
        ),
    ],
)  # fmt: skip
def test_tools_and_formats_are_worded_as_each_dialect_has_them(
    name: str, options: dict[str, str], worded: dict[str, Any]
) -> None:
    tools = json.dumps([{"type": "function", "function": FUNCTION}])
    wanted = json.dumps({"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}})
    found = body(name, {**options, "tools": tools, "response_format": wanted, "without": "seed"})
    plain = body(name, {**options, "without": "seed"})
    kept = {field: value for field, value in plain.items() if field not in ("ignore_eos", "min_tokens")}
    assert found == kept | worded


@pytest.mark.parametrize(("name", "options"), [("vllm", {}), ("tgi", {}), ("tgi", {"dialect": "chat"})])
def test_a_calls_own_adapter_is_asked_for_in_place_of_the_one_for_all(name: str, options: dict[str, str]) -> None:
    def asked(call: Call, **given: str) -> str | None:
        payload = json.loads(BACKENDS[name].request(call, Target("http://h", "m", options=options | given)).body)
        found: str | None = payload.get("parameters", {}).get("adapter_id") or payload.get("model")
        return found

    own = CALL._replace(adapter="own")
    assert (asked(own, adapter="all"), asked(own), asked(CALL, adapter="all")) == ("own", "own", "all")
    assert asked(CALL) in ("m", None)


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


URL = "data:image/png;base64,iVBO"


@pytest.mark.parametrize(
    ("name", "options", "field", "parts"),
    [
        *(
            (name, options, "messages", [
                {"type": "text", "text": "tell me"}, {"type": "image_url", "image_url": {"url": URL}}
            ])
            for name, options in (("openai", {}), ("vllm", {}), ("llamacpp", {}), ("tgi", {"dialect": "chat"}))
        ),
        ("vllm", {"route": "responses"}, "input", [
            {"type": "input_text", "text": "tell me"}, {"type": "input_image", "image_url": URL}
        ]),
        ("claude", {}, "messages", [
            {"type": "text", "text": "tell me"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        ]),
    ],
    ids=str,
)  # fmt: skip
def test_an_image_comes_after_the_text_and_changes_nothing_else(
    name: str, options: dict[str, str], field: str, parts: list[dict[str, Any]]
) -> None:
    pictured, target = CALL._replace(image=Image("image/png", "iVBO", 3)), Target("http://h", "m", options=options)
    found = json.loads(BACKENDS[name].request(pictured, target).body)
    assert found[field][-1] == {"role": "user", "content": parts}
    found[field][-1]["content"] = "tell me"
    assert found == body(name, options)
