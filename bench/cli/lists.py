"""`bench.py backends`, `scenarios` and `models`: what is known, a line for each."""

from typing import Any

import click
import orjson

from bench.app.lists import backend_rows, build_model, model_cells, model_rows, scenario_rows
from bench.cli.base import Group, echo


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backends(as_json: bool) -> None:
    """List the server dialects.

    \b
    bench.py backends
    """
    _print(backend_rows(), as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scenarios(as_json: bool) -> None:
    """List the workloads.

    \b
    bench.py scenarios
    """
    rows = scenario_rows()
    _print(rows if as_json else [{key: row[key] for key in ("name", "description")} for row in rows], as_json)


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
        rows = model_rows()
        table = [model_cells(row) for row in rows]
        _print(rows if as_json else [{heading: heading for heading in table[0]}, *table], as_json)


@models.command()
@click.argument("name")
def build(name: str) -> None:
    """Build a tiny model now (a run does it on first use) and print where it lies.

    \b
    bench.py models build tiny
    """
    for path in build_model(name):
        echo(str(path))


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    widths = {key: max(len(str(row[key])) for row in rows) for key in rows[0]}
    for row in rows:
        echo("  ".join(str(value).ljust(widths[key]) for key, value in row.items()).rstrip())
