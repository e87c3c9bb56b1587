"""Which backend fits a server of which only the address is known."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backends.cold import openai
from bench.types import Target

_OWNERS = {"vllm": "vllm", "me": "llamacpp", "llamacpp": "llamacpp"}
"""The model owner that each server reports; `me` is llama-cpp-python's."""


class Recognised(NamedTuple):
    """The backend's name, how the server was recognised, and the models it lists."""

    backend: str
    by: str
    models: tuple[str, ...]


def recognise(target: Target) -> Recognised:
    """The backend for the server at the target's URL. Raises UserError if there is none, or an unknown one."""
    if "default_generation_settings" in _found(target, "/props"):
        return Recognised("llamacpp", "its /props is llama.cpp's", _names(openai.served_models(target)))
    if {"model_id", "max_input_tokens"} <= (info := _found(target, "/info")).keys():
        return Recognised("tgi", "its /info is TGI's", (str(info["model_id"]),))
    entries = openai.served_models(target)
    owner = entries[0].get("owned_by") if entries else None
    backend = _OWNERS.get(owner, "openai") if isinstance(owner, str) else "openai"
    by = "it lists models like OpenAI's API" if backend == "openai" else f"its models are owned by {owner!r}"
    return Recognised(backend, by, _names(entries))


def _found(target: Target, path: str) -> Mapping[str, Any]:
    answer = openai.probe_json(target, path)
    return answer if isinstance(answer, dict) else {}


def _names(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(entry["id"]) for entry in entries)
