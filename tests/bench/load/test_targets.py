from typing import Any

import orjson
import pytest

from backends import BACKENDS
from bench.load.targets import by_call, target_of
from bench.types import Call, Message, Target

BY_CLASS = {"hot": {"temperature": "0.9"}}
TARGET = Target("http://127.0.0.1:1", "base", options={"temperature": "0"})


def call(klass: str | None = None, adapter: str | None = None) -> Call:
    return Call(0, None, 0, 0, None, (Message("user", "hi"),), 5, 1, 9, klass=klass, adapter=adapter)


def sent(backend: str, of: Call) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(by_call(BACKENDS[backend].request, BY_CLASS)(of, TARGET).body)
    return body


@pytest.mark.parametrize(("klass", "temperature"), [(None, 0), ("cold", 0), ("hot", 0.9)])
def test_a_class_is_asked_in_its_own_words_and_others_in_the_run_s(klass: str | None, temperature: float) -> None:
    assert sent("openai", call(klass))["temperature"] == temperature


def test_each_call_goes_to_its_adapter_as_its_server_wants_it_named() -> None:
    assert [sent("vllm", call(adapter=name))["model"] for name in ("a", None, "b", "a")] == ["a", "base", "b", "a"]
    assert sent("tgi", call(adapter="a"))["parameters"]["adapter_id"] == "a"
    assert "adapter_id" not in sent("tgi", call())["parameters"]
    assert sent("llamacpp", call(adapter="2"))["lora"] == [{"id": 2, "scale": 1.0}]
    assert "lora" not in sent("llamacpp", call())


def test_a_target_is_left_as_it_is_where_a_call_has_nothing_of_its_own() -> None:
    assert target_of(call("cold"), TARGET, BY_CLASS) is TARGET
    assert TARGET.options == {"temperature": "0"}
