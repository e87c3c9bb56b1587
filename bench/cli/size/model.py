"""From what the user calls a model to what it needs: a name of `models`, a config.json or its folder, a GGUF file."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analysis.sizing import architecture, memory
from analysis.sizing.memory import Model
from bench.cli.base import nearest
from bench.types import UserError

if TYPE_CHECKING:
    from bench.models import Model as ListedModel

DEFAULT_QUANTIZATION: Final = "bf16"


def load(name: str, quantization: str | None) -> tuple[Model, tuple[str, ...]]:
    """Give the model, and what is to be said of it. Raises UserError for what is none.

    Without a quantization it is the one that the file names, else bf16.
    """
    from bench.tinymodel import SIZES, model_path

    path = Path(name)
    if path.suffix == ".gguf":
        return _from_gguf(path, quantization)
    if path.exists() or "/" in name:
        return _from_config((path if path.is_dir() else path.absolute().parent).name, path, quantization)
    if name in SIZES:
        return _from_config(name, model_path(name, "hf"), quantization)
    return _from_name(name, quantization), ()


def from_list(listed: "ListedModel", quantization: str = DEFAULT_QUANTIZATION) -> Model:
    """Give a model of models.csv. Raises UserError for a quantization that is not known."""
    shape = architecture.Architecture(
        **{
            field.name: getattr(listed, field.name)
            for field in fields(architecture.Architecture)
            if hasattr(listed, field.name)
        }
    )
    counted = architecture.count(shape)
    # The list knows the total, but not which biases and norms make it up.
    counted = counted._replace(rest=counted.rest + listed.parameters - counted.total)
    return Model(listed.alias, shape, counted, memory.weights(counted, quantization))


def _from_gguf(path: Path, quantization: str | None) -> tuple[Model, tuple[str, ...]]:
    from bench.modelfile import file_type, read_gguf

    if quantization is not None:
        raise UserError(f"--quantization: {path.name} is quantized as it is; leave it out")
    head = read_gguf(path)
    shape = architecture.from_gguf(head.metadata, head.elements)
    weights = memory.tensor_weights(file_type(head), head.tensor_bytes)
    notes = ("the memory is divided as vLLM does it; llama.cpp takes what its --ctx-size needs",)
    return Model(path.stem, shape, architecture.count_tensors(head.elements), weights), notes


def _from_config(name: str, path: Path, quantization: str | None) -> tuple[Model, tuple[str, ...]]:
    from bench.modelfile import read_config

    config = read_config(path)
    shape = architecture.from_config(config)
    parameters = architecture.count(shape)
    method, group_size = _quantized(config)
    weights = memory.weights(parameters, quantization or method, memory.GROUP_SIZE if quantization else group_size)
    notes = []
    if not shape.exact:
        notes.append(f"weights are counted as in a Llama: the family {config.get('model_type')!r} is not known here")
    if "text_config" in config:
        notes.append("only the language model is counted, not what sees or hears for it")
    return Model(name, shape, parameters, weights), tuple(notes)


def _quantized(config: Mapping[str, Any]) -> tuple[str, int]:
    """The quantization of a repository's weights and the weights of a group of it."""
    settings = config.get("quantization_config")
    if not isinstance(settings, dict):
        return DEFAULT_QUANTIZATION, memory.GROUP_SIZE
    method, bits = settings.get("quant_method"), settings.get("bits", 4)
    if method not in ("awq", "gptq", "fp8") or bits != 4:
        raise UserError(
            f"config.json: its quantization ({method}, {bits} bits) is not known here; give --quantization, the nearest"
        )
    return method, settings.get("group_size") or memory.GROUP_SIZE


def _from_name(name: str, quantization: str | None) -> Model:
    from bench.models import known_names, models

    alias, in_name = _split(name.lower())
    if alias not in models():
        raise UserError(
            f"MODEL {name!r}: expected a name that `bench.py models` lists, a config.json or its folder, or a GGUF file"
            f"{nearest(alias, known_names())}"
        )
    if in_name and quantization and in_name != quantization:
        raise UserError(f"--quantization {quantization}: the name {name} says {in_name}; leave one out")
    return from_list(models()[alias], quantization or in_name or DEFAULT_QUANTIZATION)


def _split(name: str) -> tuple[str, str | None]:
    """An alias, and the quantization that may stand behind it: mistral-7b-awq."""
    for quantization in memory.QUANTIZATIONS:
        if name.endswith(f"-{quantization}"):
            return name.removesuffix(f"-{quantization}"), quantization
    return name, None
