"""One plan on every backend: the same texts, the same lengths, as far as the dialects allow."""

import json
from typing import Any

import pytest

from backends import BACKENDS
from bench.plan.calls import Plan, calls, make_plan
from bench.plan.prompts import Vocabulary
from bench.plan.written import plan_hash
from bench.server.tinytokenizer import WORDS
from bench.types import Call, Lengths, Load, Scenario, Target

DIALECTS: list[tuple[str, dict[str, str]]] = [(name, {}) for name in BACKENDS] + [("tgi", {"dialect": "chat"})]
SCENARIO = Scenario("s", "", Lengths("uniform", 60, 90), Lengths("uniform", 5, 50), 30, 4, 20, 5)
LOAD = Load(4, None, "poisson", 20, None, 5, None, 4, "wait")
VOCABULARY = Vocabulary(WORDS, 1.0, 18, True, "a tokenizer of the user's")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(SCENARIO, LOAD, seed=7, salt=11, vocabulary=VOCABULARY)


def texts(payload: dict[str, Any]) -> list[str]:
    """All text of a request's prompt, whatever the dialect calls it."""
    for name in "inputs", "prompt":
        if name in payload:
            return str(payload[name]).split("\n\n")
    system = [block["text"] for block in payload.get("system", [])]
    return system + [message["content"] for message in payload["messages"]]


def max_tokens(payload: dict[str, Any]) -> int:
    of_tgi = payload.get("parameters", {}).get("max_new_tokens")
    found: int = payload.get("max_tokens") or payload.get("output_tokens") or of_tgi
    return found


@pytest.mark.parametrize(("name", "options"), DIALECTS, ids=str)
def test_every_backend_is_sent_the_same_texts_and_lengths(plan: Plan, name: str, options: dict[str, str]) -> None:
    target = Target("http://127.0.0.1:1", "m", options=options)
    for call in calls(plan):
        payload = json.loads(BACKENDS[name].request(call, target).body)
        assert texts(payload) == [message.text for message in call.messages]
        assert max_tokens(payload) == call.max_tokens


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_streams_and_names_the_model(plan: Plan, name: str) -> None:
    call = next(iter(calls(plan)))
    request = BACKENDS[name].request(call, Target("http://127.0.0.1:1/base", "m"))
    payload = json.loads(request.body)
    assert request.path.startswith("/base/") or name == "exec"
    assert payload.get("stream") is True or request.path.endswith(("_stream", "/run"))
    assert payload.get("model", "m") == "m"


def test_the_plan_and_its_hash_know_nothing_of_backends_and_salts(plan: Plan) -> None:
    other = make_plan(SCENARIO, LOAD, seed=7, salt=12, vocabulary=VOCABULARY)
    assert plan_hash(plan) == plan_hash(other)
    assert [_but_text(call) for call in calls(plan)] == [_but_text(call) for call in calls(other)]


def _but_text(call: Call) -> Call:
    return call._replace(messages=())
