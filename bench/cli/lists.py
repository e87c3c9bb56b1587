"""`bench.py backends`, `scenarios` and `models`: what is known, a line for each."""

import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import Group, echo

if TYPE_CHECKING:
    from bench.server.names import KnownModel


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backends(as_json: bool) -> None:
    """List the server dialects.

    \b
    bench.py backends
    """
    from backends import BACKENDS

    rows = [
        {"name": name, "launches": backend.serve is not None, "description": backend.description}
        for name, backend in BACKENDS.items()
    ]
    _print(rows, as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scenarios(as_json: bool) -> None:
    """List the workloads.

    \b
    bench.py scenarios
    """
    from scenarios import list_scenarios

    known = list_scenarios()
    rows = [asdict(s) if as_json else {"name": s.name, "description": s.description} for s in known]
    _print(rows, as_json)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the shapes and the repositories.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that have a short name.

    A run takes NAME or NAME-QUANTIZATION, such as mistral-7b-awq. Quantization gguf, for llamacpp, stands for q4_k_m
    (what NAME alone means there), q5_k_m, q6_k and q8_0; the others are for vllm and tgi. Any other model is a path or
    a repository, OWNER/NAME. GB is what the weights take; --json says where they come from, and more.

    \b
    bench.py models
    bench.py models build tiny
    """
    if ctx.invoked_subcommand is None:
        rows = _model_rows()
        table = [_model_cells(row) for row in rows]
        _print(rows if as_json else [{heading: heading for heading in table[0]}, *table], as_json)


@models.command()
@click.argument("name")
def build(name: str) -> None:
    """Build a tiny model now (a run does it on first use) and print where it lies.

    \b
    bench.py models build tiny
    """
    from bench.server import tinymodel

    echo(str(tinymodel.model_path(name, "gguf")))
    echo(str(tinymodel.model_path(name, "hf")))


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        import orjson

        echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    widths = {key: max(len(str(row[key])) for row in rows) for key in rows[0]}
    for row in rows:
        echo("  ".join(str(value).ljust(widths[key]) for key, value in row.items()).rstrip())


# --- models -----------------------------------------------------------------------------------------------------


def _model_rows() -> list[dict[str, Any]]:
    """One row for each model, the tiny ones first, all with the same keys; None is unknown.

    `hf` and `gguf` say by quantization what a server of such weights is given to load, `weights_bytes` what it takes.
    """
    from bench.server.names import models as listed

    rows = [_model_row(model) for model in listed().values()]
    return [dict.fromkeys(rows[0]) | tiny for tiny in _tiny_rows()] + rows


def _model_row(model: "KnownModel") -> dict[str, Any]:
    from analysis.sizing import memory
    from bench.cli.size.model import from_list
    from bench.server.names import ResolvedModel, repositories

    hf, gguf = repositories(model, "hf"), repositories(model, "gguf")
    return {
        "name": model.alias,
        **{name: value for name, value in asdict(model).items() if name != "alias" and not name.endswith("_repo")},
        "hf": hf,
        "gguf": {kind: ResolvedModel(repository, kind.upper(), model).reference for kind, repository in gguf.items()},
        "weights_bytes": {name: from_list(model, name).weights.total_bytes for name in (*hf, *gguf)},
        "kv_bytes_per_token": memory.kv_bytes_per_token(from_list(model).architecture),
    }


def _tiny_rows() -> list[dict[str, Any]]:
    from bench.server import tinymodel

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


def _model_cells(row: Mapping[str, Any]) -> dict[str, str]:
    """A row for a terminal of 110 columns, by heading; the smaller memory is that of awq, else q4_k_m."""
    from bench.server.names import DEFAULT_GGUF

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
