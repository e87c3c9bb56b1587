"""Models by short name: their shapes, and the repository to load for each quantization.

The facts are in models.csv: shapes from the config.json of each official repository, files by others from theirs.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from bench.suggest import did_you_mean
from bench.types import UserError

Weights = Literal["gguf", "hf"]

HF_QUANTIZATIONS: Final = ("awq", "fp8", "bf16", "fp16")
GGUF_QUANTIZATIONS: Final = ("q4_k_m", "q5_k_m", "q6_k", "q8_0")
DEFAULT_GGUF: Final = "q4_k_m"

_SERVERS: Final[Mapping[Weights, str]] = {"hf": "vllm and tgi", "gguf": "llamacpp"}


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that has a short name.

    `awq_repo` and `gguf_repo` are None if no such files are known, `experts` and `active_experts` for a dense model. A
    `tied` model's output head is its embedding.
    """

    alias: str
    official_repo: str
    awq_repo: str | None
    gguf_repo: str | None
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    experts: int | None
    active_experts: int | None
    parameters: int
    context_tokens: int
    tied: bool
    license: str


class ResolvedModel(NamedTuple):
    """What a server loads.

    `quantization` is bf16, fp16, fp8 or awq, or llama.cpp's name of a kind of file (Q4_K_M); None takes the weights as
    the repository has them.
    """

    repository: str
    quantization: str | None
    model: KnownModel

    @property
    def reference(self) -> str:
        """The repository, and for llama.cpp which of its files: OWNER/NAME:Q4_K_M."""
        if self.quantization is None or self.quantization.lower() not in GGUF_QUANTIZATIONS:
            return self.repository
        return f"{self.repository}:{self.quantization}"


@cache
def models() -> Mapping[str, KnownModel]:
    """All models of models.csv by alias."""
    with Path(__file__).with_name("models.csv").open(encoding="utf-8", newline="") as file:
        return {row["alias"]: _model(row) for row in csv.DictReader(file)}


def resolve(name: str, weights: Weights) -> ResolvedModel | None:
    """What `name`, an alias or ALIAS-QUANTIZATION in any case, means for a server of such weights.

    None for a path, a repository id and a tiny model. Raises UserError for an unknown bare name, with the nearest, and
    for an unknown quantization, with those that exist.
    """
    found = _find(name)
    if found is None:
        _check_passes(name)
        return None
    model, quantization = found
    available = repositories(model, weights)
    if quantization is None and available:
        if weights == "gguf":
            return ResolvedModel(available[DEFAULT_GGUF], DEFAULT_GGUF.upper(), model)
        return ResolvedModel(model.official_repo, None, model)
    if quantization not in available:
        raise UserError(f"--model {name!r}: not for {_SERVERS[weights]}; {_offer(model)}")
    return ResolvedModel(available[quantization], quantization.upper() if weights == "gguf" else quantization, model)


def repositories(model: KnownModel, weights: Weights) -> dict[str, str]:
    """By quantization, the repository from which a server of such weights loads them."""
    if weights == "gguf":
        return dict.fromkeys(GGUF_QUANTIZATIONS, model.gguf_repo) if model.gguf_repo else {}
    # Servers convert the official weights to fp8 while loading.
    quantized = {"awq": model.awq_repo} if model.awq_repo else {}
    return quantized | {name: model.official_repo for name in HF_QUANTIZATIONS if name != "awq"}


def aliases_of(name: str) -> tuple[str, ...]:
    """The repository ids by which a running server may call the model, likeliest first; () for no alias."""
    found = _find(name)
    if found is None:
        return ()
    model, quantization = found
    if quantization is not None:
        weights: Weights = "gguf" if quantization in GGUF_QUANTIZATIONS else "hf"
        repository = repositories(model, weights).get(quantization)
        return (ResolvedModel(repository, quantization.upper(), model).reference,) if repository else ()
    return tuple(repository for repository in (model.official_repo, model.awq_repo) if repository)


def known_names() -> tuple[str, ...]:
    """Every name without a quantization: the tiny models, then the aliases."""
    from bench.server.tinymodel import SIZES

    return (*SIZES, *models())


def _model(row: Mapping[str, str]) -> KnownModel:
    values: dict[str, Any] = {name: int(text) if text.isdecimal() else text or None for name, text in row.items()}
    return KnownModel(**(values | {"tied": row["tied"] == "yes"}))


def _find(name: str) -> tuple[KnownModel, str | None] | None:
    """The model of this name, and the quantization in it."""
    name = name.lower()
    if name in models():
        return models()[name], None
    for quantization in (*HF_QUANTIZATIONS, *GGUF_QUANTIZATIONS):
        alias = name.removesuffix(f"-{quantization}")
        if alias != name and alias in models():
            return models()[alias], quantization
    return None


def _check_passes(name: str) -> None:
    """Raise UserError for a name that no server could load."""
    known = known_names()
    if "/" in name or name in known or Path(name).exists():
        return
    for alias, model in models().items():
        if name.lower().startswith(f"{alias}-"):
            raise UserError(f"--model {name!r}: no such model; {_offer(model)}")
    raise UserError(
        f"--model {name!r}: expected a path, a repository (OWNER/NAME) or a name that `bench.py models` lists"
        f"{did_you_mean(name, known, 3)}"
    )


def _offer(model: KnownModel) -> str:
    comes = {_SERVERS[weights]: " ".join(repositories(model, weights)) for weights in _SERVERS}
    return f"{model.alias} comes " + ", ".join(f"for {servers} as {names}" for servers, names in comes.items() if names)
