"""How requests are worded, from flags to options of the target; what cannot be is one line that shows no secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from bench.app.options import RunOptions
from bench.app.request import RunRequest, run_request
from bench.app.wording import replaced
from bench.types import Call, Message, Target, UserError
from scenarios import load_scenario

CALL = Call(0, None, 0, 0, None, (Message("user", "hi"),), 16, 7, 20)


def request(backend: str = "openai", **options: Any) -> RunRequest:
    url = "http://127.0.0.1:9"
    return run_request(RunOptions.of({"backend": backend, "model": "m", "scenario": "smoke", "url": url, **options}))


@pytest.mark.parametrize(
    ("backend", "asked", "worded"),
    [
        ("openai", {}, {"temperature": "0"}),
        ("claude", {}, {"temperature": "server"}),
        ("vllm", {"temperature": 0.70}, {"temperature": "0.7", "asked_for": "temperature"}),
        ("tgi", {"temperature": "server"}, {"temperature": "server", "asked_for": "temperature"}),
        ("llamacpp", {"top_p": "50%"}, {"temperature": "0", "top_p": "0.5", "asked_for": "top_p"}),
        ("openai", {"seed_requests": "off"}, {"temperature": "0", "seed_requests": "off"}),
    ],
)
def test_flags_become_words_of_the_target(backend: str, asked: dict[str, Any], worded: dict[str, str]) -> None:
    assert request(backend, **asked).wording == worded


def test_a_scenario_says_the_temperature_where_no_flag_does(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for said, temperature in ("server", None), ("0.5", 0.5), ("1", 1.0):
        path.write_text(f"prompt_tokens: 100\noutput_tokens: 8\ntemperature: {said}\n")
        assert load_scenario(str(path)).temperature == temperature
    assert request(scenario=str(path)).wording["temperature"] == "1"
    assert request(scenario=str(path), temperature="0").wording["temperature"] == "0"
    path.write_text("prompt_tokens: 100\noutput_tokens: 8\ntemperature: warm\n")
    with pytest.raises(UserError, match=r"s.yaml:3: temperature: must be a number or server, got 'warm'"):
        load_scenario(str(path))


def test_own_fields_are_json_a_file_or_a_mapping(tmp_path: Path) -> None:
    fields = {"top_k": 40, "stop": ["a$b", "^x$"]}
    path = tmp_path / "own.json"
    path.write_text(json.dumps(fields))
    for given in (json.dumps(fields), str(path), fields):
        wording = request(extra_body=given).wording
        assert json.loads(wording["extra_body"]) == fields
        assert wording["asked_for"] == "stop top_k"


def test_secrets_in_own_fields_are_known_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT", "tenant-of-mine")
    deep = {"api_key": "not to be seen", "auth": {"user": "a long name", "pins": [1234567890]}}
    found = request(extra_body={"user": "$TENANT", "deep": deep, "eos_token": "<|endoftext|>"})
    assert set(found.access.secrets) == {"tenant-of-mine", "not to be seen", "a long name", "1234567890"}
    assert "tenant-of-mine" in found.wording["extra_body"]
    assert found.shown(found.wording["extra_body"]).count("(key)") == 4


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"temperature": "warm"}, "--temperature: expected a number from 0 to 100 or server, got 'warm'"),
        ({"temperature": "serve"}, "--temperature: .*did you mean 'server'"),
        ({"temperature": "-1"}, "--temperature: expected a number from 0 to 100"),
        ({"temperature": "nan"}, "--temperature: expected a number from 0 to 100"),
        ({"top_p": "1.5"}, "--top-p: expected server or a number from 0.001 to 1, got '1.5'"),
        ({"backend": "claude", "seed_requests": "on"}, "--seed-requests: not supported by backend claude"),
        ({"extra_body": "{"}, r"--extra-body: expected JSON .*line 1, column 2"),
        ({"extra_body": "[1]"}, "--extra-body"),
        ({"extra_body": "no.json"}, "--extra-body no.json: expected JSON .*No such file"),
        ({"extra_body": '{"a": NaN}'}, "--extra-body: expected JSON"),
        ({"extra_body": '{"a": "\\ud800"}'}, "--extra-body: has a number or text that JSON cannot represent"),
        ({"extra_body": {"stream": False}}, "--extra-body 'stream': set by --no-stream; leave it out"),
        ({"extra_body": {"model": "m"}}, "--extra-body 'model': is set by --model; leave it out here"),
        ({"extra_body": {"parameters": {"max_new_tokens": 3}}}, "'max_new_tokens': is set by --output-tokens"),
        ({"extra_body": {"tools": []}, "tools": [{"name": "f"}]}, "--extra-body 'tools': is also set by --tools"),
        ({"extra_body": {"top_p": 1}}, "--extra-body 'top_p': is set by --top-p"),
        ({"extra_body": {"user": "$NOBODY_SET_THIS"}}, r"--extra-body 'user': \$NOBODY_SET_THIS is not set"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_flag(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        request(**asked)
    assert "\n" not in str(caught.value)


FUNCTION = {"name": "look", "parameters": {"type": "object"}}
OF_CHAT = {"type": "function", "function": FUNCTION}


@pytest.mark.parametrize(
    "given",
    [
        [OF_CHAT], OF_CHAT, {"tools": [OF_CHAT]}, [{"type": "function", **FUNCTION}],
        [{"name": "look", "input_schema": {"type": "object"}}],
    ],
)  # fmt: skip
def test_tools_are_taken_in_the_shape_of_any_api_and_from_a_file(given: Any, tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(given))
    for tools in (given, str(path), json.dumps(given)):
        assert json.loads(request(tools=tools).wording["tools"]) == [OF_CHAT]
    assert request(tools=given).wording["asked_for"] == "tools"


def test_a_format_is_a_word_a_schema_or_openais() -> None:
    schema = {"type": "object", "properties": {}}
    whole = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    for given in (schema, whole, json.dumps(schema)):
        assert json.loads(request(response_format=given).wording["response_format"]) == whole
    assert json.loads(request(response_format="json_object").wording["response_format"]) == {"type": "json_object"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"tools": []}, "--tools: expected a list of functions"),
        ({"tools": [{"type": "function"}]}, "--tools: expected functions with a name"),
        ({"tools": "nowhere.json"}, "--tools nowhere.json: expected JSON"),
        ({"response_format": {"a": 1}}, "--response-format: expected json_object, a JSON schema"),
        ({"tools": [OF_CHAT], "route": "completions"}, "--tools: needs a chat route"),
        ({"response_format": "json_object", "backend": "tgi"}, "--response-format: needs a chat route"),
        ({"response_format": "json_object", "backend": "claude"}, "--response-format json_object: expected a JSON"),
    ],
)
def test_tools_and_formats_that_cannot_be_are_one_line(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        request(**asked)


def test_a_field_of_ours_that_is_replaced_is_said_with_what_is_lost() -> None:
    target = Target("http://h", "m", options={"extra_body": '{"ignore_eos": false, "top_k": 1}'})
    assert list(replaced(BACKENDS["vllm"], CALL, target)) == [
        "--extra-body replaces this tool's own ignore_eos (answers may end before their length)"
    ]
    assert list(replaced(BACKENDS["openai"], CALL, target)) == []
