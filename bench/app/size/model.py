"""From the user's model to its needs: a name of `models`, a config.json or its folder, or a GGUF file."""

from dataclasses import fields
from pathlib import Path
from typing import Final

from analysis.sizing import architecture, config, gguf, memory, quantization
from analysis.sizing.memory import Model
from bench.server.modelfile import file_type, read_config, read_gguf
from bench.server.names import KnownModel, known_names, models
from bench.server.tinymodel import SIZES, model_path
from bench.suggest import did_you_mean
from bench.types import UserError

DEFAULT_QUANTIZATION: Final = "bf16"


def load(name: str, asked: str | None) -> tuple[Model, tuple[str, ...]]:
    """Return the model and notes about it. Raises UserError for an unknown one.

    The default quantization is the file's own, else bf16.
    """
    path = Path(name)
    if path.suffix == ".gguf":
        return _from_gguf(path, asked)
    if path.exists() or "/" in name:
        return _from_config((path if path.is_dir() else path.absolute().parent).name, path, asked)
    if name in SIZES:
        return _from_config(name, model_path(name, "hf"), asked)
    return _from_name(name, asked), ()


def from_list(listed: KnownModel, storage: str = DEFAULT_QUANTIZATION) -> Model:
    """Return a model of models.csv. Raises UserError for an unknown quantization."""
    shape = architecture.Architecture(
        **{
            field.name: getattr(listed, field.name)
            for field in fields(architecture.Architecture)
            if hasattr(listed, field.name)
        }
    )
    counted = architecture.count(shape)
    # The list has the total, but not the biases and norms that are part of it.
    counted = counted._replace(rest=counted.rest + listed.parameters - counted.total)
    return Model(listed.alias, shape, counted, memory.weights(counted, storage))


def _from_gguf(path: Path, asked: str | None) -> tuple[Model, tuple[str, ...]]:
    if asked is not None:
        raise UserError(f"--quantization: {path.name} is already quantized; leave it out")
    head = read_gguf(path)
    shape = gguf.from_gguf(head.metadata, head.elements)
    weights = memory.tensor_weights(file_type(head), head.tensor_bytes)
    notes = ("memory is divided as vLLM does; llama.cpp takes what its --ctx-size needs",)
    return Model(path.stem, shape, gguf.count_tensors(head.elements), weights), notes


def _from_config(name: str, path: Path, asked: str | None) -> tuple[Model, tuple[str, ...]]:
    values = read_config(path)
    shape = config.from_config(values)
    parameters = architecture.count(shape)
    storage = None if asked else quantization.from_config(values)
    weights = (
        memory.stored(parameters, storage) if storage else memory.weights(parameters, asked or DEFAULT_QUANTIZATION)
    )
    notes = []
    if towers := config.towers(values):
        notes.append(f"only the language model is counted, not its vision or audio encoders: {', '.join(towers)}")
    return Model(name, shape, parameters, weights), tuple(notes)


def _from_name(name: str, asked: str | None) -> Model:
    alias, in_name = _split(name.lower())
    if alias not in models():
        raise UserError(
            f"MODEL {name!r}: expected a name that `bench.py models` lists, a config.json or its folder, or a GGUF file"
            f"{did_you_mean(alias, known_names())}"
        )
    if in_name and asked and in_name != asked:
        raise UserError(f"--quantization {asked}: the name {name} already says {in_name}; leave one out")
    return from_list(models()[alias], asked or in_name or DEFAULT_QUANTIZATION)


def _split(name: str) -> tuple[str, str | None]:
    """An alias and the quantization that may follow it: mistral-7b-awq."""
    for each in memory.QUANTIZATIONS:
        if name.endswith(f"-{each}"):
            return name.removesuffix(f"-{each}"), each
    return name, None
