"""What is known by name: backends, scenarios and models, each as a list."""

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from analysis.present.document import Document
from analysis.present.of_list import document
from analysis.sizing import memory
from analysis.wording import DASH
from backends import BACKENDS
from bench.app.size.model import from_list
from bench.server import names, tinymodel
from bench.server.names import DEFAULT_GGUF, KnownModel, ResolvedModel, repositories
from scenarios import list_scenarios

Row = dict[str, Any]
NUMBERS: Final = ("params", "context", "4-bit GB", "16-bit GB")


def backends() -> Document:
    """The server dialects."""
    rows = [
        {"name": name, "launches": backend.serve is not None, "description": backend.description}
        for name, backend in BACKENDS.items()
    ]
    return document(rows, rows)


def scenarios() -> Document:
    """The workloads that come with the tool."""
    found = list_scenarios()
    shown = [{"name": scenario.name, "description": scenario.description} for scenario in found]
    return document(shown, [asdict(scenario) for scenario in found])


def models() -> Document:
    """The models that have a short name, the tiny ones first, all with the same keys; None is unknown.

    `hf` and `gguf` are what a server loads, by quantization; `weights_bytes` is the size of that.
    """
    known = [_model_row(model) for model in names.models().values()]
    rows = [dict.fromkeys(known[0]) | tiny for tiny in _tiny_rows()] + known
    return document([_model_cells(row) for row in rows], rows, numbers=NUMBERS)


def _model_row(model: KnownModel) -> Row:
    hf, gguf = repositories(model, "hf"), repositories(model, "gguf")
    return {
        "name": model.alias,
        **{name: value for name, value in asdict(model).items() if name != "alias" and not name.endswith("_repo")},
        "hf": hf,
        "gguf": {kind: ResolvedModel(repository, kind.upper(), model).reference for kind, repository in gguf.items()},
        "weights_bytes": {name: from_list(model, name).weights.total_bytes for name in (*hf, *gguf)},
        "kv_bytes_per_token": memory.kv_bytes_per_token(from_list(model).architecture),
    }


def build_model(name: str) -> tuple[Path, Path]:
    """Build a tiny model unless it exists; returns its GGUF file and its folder of safetensors."""
    return tinymodel.model_path(name, "gguf"), tinymodel.model_path(name, "hf")


def _tiny_rows() -> list[Row]:
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


def _model_cells(row: Row) -> dict[str, str]:
    """A row for a terminal of 110 columns, by heading; the smaller memory is that of awq, else q4_k_m."""
    parameters, needs = row["parameters"], row["weights_bytes"]
    return {
        "name": row["name"],
        "params": (f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.3g}M"),
        "context": str(row["context_tokens"]),
        "quantizations": " ".join((*row["hf"], "gguf") if row["gguf"] else row["hf"] or needs),
        "4-bit GB": _gb(needs.get("awq", needs.get(DEFAULT_GGUF))),
        "16-bit GB": _gb(needs.get("bf16")),
        "licence": textwrap.shorten(row["license"], 32, placeholder=" …"),
    }


def _gb(count: int | None) -> str:
    return DASH if count is None else f"{count / 1e9:.1f}"
