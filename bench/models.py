"""Models by short name: the repository to load for each quantization, and what the weights need in memory.

The facts are in models.csv: shapes from the config.json of each official repository, files from whoever made them.
"""

import csv
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.types import UserError

Weights = Literal["gguf", "hf"]

# Bits per weight of whole files, all their tensor types together; the last two are of one type throughout.
GGUF_BITS: Mapping[str, float] = {"q4_k_m": 4.84, "q5_k_m": 5.68, "q6_k": 6.5625, "q8_0": 8.5}
# Bits per weight of the matrices in the layers; embeddings, head, norms and routers stay at 16. The 128 weights of an
# AWQ group share a scale of 16 bits and a zero point of 4.
MATRIX_BITS: Mapping[str, float] = {"awq": 4 + 20 / 128, "fp8": 8, "bf16": 16, "fp16": 16}
DEFAULT_GGUF = "q4_k_m"
KV_BYTES = 2

_SERVERS: Mapping[Weights, str] = {"hf": "vllm and tgi", "gguf": "llamacpp"}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that has a short name.

    `awq_repo` and `gguf_repo` are None where no such files are known, `experts` and `active_experts` in a dense model.
    A `tied` model's head is its embeddings.
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


class Resolved(NamedTuple):
    """What a server is to load.

    `quantization` is bf16, fp16, fp8 or awq, or llama.cpp's name of a kind of file (Q4_K_M); None takes the weights as
    the repository has them.
    """

    repository: str
    quantization: str | None
    model: Model

    @property
    def reference(self) -> str:
        """The repository, and for llama.cpp which of its files: OWNER/NAME:Q4_K_M."""
        if self.quantization is None or self.quantization.lower() not in GGUF_BITS:
            return self.repository
        return f"{self.repository}:{self.quantization}"


# --- names ------------------------------------------------------------------------------------------------------


@cache
def models() -> Mapping[str, Model]:
    """All models of models.csv by alias."""
    with Path(__file__).with_name("models.csv").open(newline="") as file:
        return {row["alias"]: _model(row) for row in csv.DictReader(file)}


def resolve(name: str, weights: Weights) -> Resolved | None:
    """What `name`, an alias or ALIAS-QUANTIZATION in any case, means to a server that loads such weights.

    None for a path, a repository id and a tiny model. Raises UserError for an unknown bare name, with the nearest, and
    for a quantization that does not exist, with those that do.
    """
    found = _find(name)
    if found is None:
        _check_passes(name)
        return None
    model, quantization = found
    available = repositories(model, weights)
    if quantization is None and available:
        if weights == "gguf":
            return Resolved(available[DEFAULT_GGUF], DEFAULT_GGUF.upper(), model)
        return Resolved(model.official_repo, None, model)
    if quantization not in available:
        raise UserError(f"--model {name!r}: not for {_SERVERS[weights]}; {_offer(model)}")
    return Resolved(available[quantization], quantization.upper() if weights == "gguf" else quantization, model)


def repositories(model: Model, weights: Weights) -> dict[str, str]:
    """By quantization, the repository from which a server that loads such weights takes them."""
    if weights == "gguf":
        return dict.fromkeys(GGUF_BITS, model.gguf_repo) if model.gguf_repo else {}
    # Servers make fp8 of the official weights while they load them.
    quantized = {"awq": model.awq_repo} if model.awq_repo else {}
    return quantized | {name: model.official_repo for name in MATRIX_BITS if name != "awq"}


def aliases_of(name: str) -> tuple[str, ...]:
    """The repository ids by which a running server may call the model, the likeliest first; () for no alias."""
    found = _find(name)
    if found is None:
        return ()
    model, quantization = found
    if quantization is not None:
        weights: Weights = "gguf" if quantization in GGUF_BITS else "hf"
        repository = repositories(model, weights).get(quantization)
        return (Resolved(repository, quantization.upper(), model).reference,) if repository else ()
    return tuple(repository for repository in (model.official_repo, model.awq_repo) if repository)


def known_names() -> tuple[str, ...]:
    """Every name without a quantization: the tiny models, then the aliases."""
    from bench.tinymodel import SIZES

    return (*SIZES, *models())


def _model(row: Mapping[str, str]) -> Model:
    values: dict[str, Any] = {name: int(text) if text.isdecimal() else text or None for name, text in row.items()}
    return Model(**(values | {"tied": row["tied"] == "yes"}))


def _find(name: str) -> tuple[Model, str | None] | None:
    """The model that is called so, and the quantization in its name."""
    name = name.lower()
    if name in models():
        return models()[name], None
    for quantization in (*MATRIX_BITS, *GGUF_BITS):
        alias = name.removesuffix(f"-{quantization}")
        if alias != name and alias in models():
            return models()[alias], quantization
    return None


def _check_passes(name: str) -> None:
    """Raise UserError for what can be nothing that a server loads."""
    known = known_names()
    if "/" in name or name in known or Path(name).exists():
        return
    for alias, model in models().items():
        if name.lower().startswith(f"{alias}-"):
            raise UserError(f"--model {name!r}: no such model; {_offer(model)}")
    near = get_close_matches(name.lower(), known, n=3, cutoff=0.5) or get_close_matches(name.lower(), known, 1, 0.0)
    raise UserError(
        f"--model {name!r}: expected a path, a repository (OWNER/NAME) or a name that `bench.py models` lists; "
        f"the nearest: {', '.join(near)}"
    )


def _offer(model: Model) -> str:
    comes = {_SERVERS[weights]: " ".join(repositories(model, weights)) for weights in _SERVERS}
    return f"{model.alias} comes " + ", ".join(f"for {servers} as {names}" for servers, names in comes.items() if names)


# --- memory -----------------------------------------------------------------------------------------------------


def weights_bytes(model: Model, quantization: str) -> int:
    """What the weights take in memory, by the name of a quantization (a key of MATRIX_BITS or GGUF_BITS)."""
    if quantization in GGUF_BITS:
        return round(model.parameters * GGUF_BITS[quantization] / 8)
    matrices = matrix_parameters(model)
    return round(matrices * MATRIX_BITS[quantization] / 8) + 2 * (model.parameters - matrices)


def matrix_parameters(model: Model) -> int:
    """Weights in the matrices of the layers: attention, and the MLP once for every expert."""
    attention = 2 * model.hidden * model.head_dim * (model.heads + model.kv_heads)
    mlp = 3 * model.hidden * model.intermediate * (model.experts or 1)
    return model.layers * (attention + mlp)


def kv_bytes_per_token(model: Model) -> int:
    """What one token's keys and values take at 16 bits."""
    return 2 * model.layers * model.kv_heads * model.head_dim * KV_BYTES


# --- the list ---------------------------------------------------------------------------------------------------


def listing() -> list[dict[str, Any]]:
    """One row for each model, the tiny ones first, all with the same keys; None is unknown.

    `hf` and `gguf` say by quantization what a server of such weights is given to load, `weights_bytes` what it takes.
    """
    rows = [_row(model) for model in models().values()]
    return [dict.fromkeys(rows[0]) | tiny for tiny in _tiny_rows()] + rows


def cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of the list for a terminal of 110 columns, by heading; the smaller memory is that of awq, else q4_k_m."""
    parameters, needs = row["parameters"], row["weights_bytes"]
    return {
        "name": row["name"],
        "params": (f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M").rjust(6),
        "context": f"{row['context_tokens']:>7}",
        "quantizations": " ".join((*row["hf"], "gguf") if row["gguf"] else row["hf"] or needs),
        "4-bit GB": _gb(needs.get("awq", needs.get(DEFAULT_GGUF))).rjust(8),
        "16-bit GB": _gb(needs.get("bf16")).rjust(9),
        "licence": textwrap.shorten(row["license"], 32, placeholder=" …"),
    }


def _gb(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e9:.1f}"


def _row(model: Model) -> dict[str, Any]:
    kinds = repositories(model, "gguf")
    return {
        "name": model.alias,
        **{name: value for name, value in asdict(model).items() if name != "alias" and not name.endswith("_repo")},
        "hf": repositories(model, "hf"),
        "gguf": {kind: Resolved(repository, kind.upper(), model).reference for kind, repository in kinds.items()},
        "weights_bytes": {name: weights_bytes(model, name) for name in (*repositories(model, "hf"), *kinds)},
        "kv_bytes_per_token": kv_bytes_per_token(model),
    }


def _tiny_rows() -> list[dict[str, Any]]:
    from bench import tinymodel

    return [
        {
            "name": name,
            "layers": layers,
            "parameters": tinymodel.parameters(layers),
            "context_tokens": tinymodel.CONTEXT_TOKENS,
            "license": "MIT (made by this tool)",
            "hf": {},
            "gguf": {},
            "weights_bytes": {"fp32": 4 * tinymodel.parameters(layers)},
        }
        for name, layers in tinymodel.SIZES.items()
    ]
