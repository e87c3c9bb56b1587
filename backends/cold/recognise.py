"""Which backend speaks to a server of which nothing is known but its address."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backends.cold import openai
from bench.types import Target

_OWNERS = {"vllm": "vllm", "me": "llamacpp", "llamacpp": "llamacpp"}
"""What servers call the owner of their models; `me` is llama-cpp-python's."""


class Recognised(NamedTuple):
    """The backend's name, how the server showed itself, and the models it lists."""

    backend: str
    by: str
    models: tuple[str, ...]


def recognise(target: Target) -> Recognised:
    """The backend for what answers at the target's URL. Raises UserError where nothing does, or no server we know."""
    if "default_generation_settings" in _found(target, "/props"):
        return Recognised("llamacpp", "its /props is llama.cpp's", _names(openai.served_models(target)))
    if {"model_id", "max_input_tokens"} <= (info := _found(target, "/info")).keys():
        return Recognised("tgi", "its /info is TGI's", (str(info["model_id"]),))
    entries = openai.served_models(target)
    owner = entries[0].get("owned_by") if entries else None
    backend = _OWNERS.get(owner, "openai") if isinstance(owner, str) else "openai"
    by = "it lists models as OpenAI's API does" if backend == "openai" else f"its models are owned by {owner!r}"
    return Recognised(backend, by, _names(entries))


def _found(target: Target, path: str) -> Mapping[str, Any]:
    answer = openai.probe_json(target, path)
    return answer if isinstance(answer, dict) else {}


def _names(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(entry["id"]) for entry in entries)
