"""The command line: one function a command, which composes backends, scenarios, the run and the analysis.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from typing import Any

import click

from bench import __version__
from bench.cli_base import EXIT_USER_ERROR, Group, conduct
from bench.cli_capacity import capacity
from bench.cli_prices import prices
from bench.cli_results import decode, report
from bench.cli_run import run
from bench.cli_size import size


def main() -> None:
    """Run the command line and exit with its code."""
    conduct(cli)


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="bench")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Benchmark LLM serving: one load for every engine, observed exactly.

    \b
    bench.py run                                      the embedded llama.cpp with a tiny model
    bench.py run --backend openai --url http://127.0.0.1:11434 --model llama3.2:3b
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(EXIT_USER_ERROR)


for command in (run, capacity, decode, report, prices, size):
    cli.add_command(command)


# --- what is known ----------------------------------------------------------------------------------------------


@cli.command()
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
    _list(rows, as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scenarios(as_json: bool) -> None:
    """List the workloads.

    \b
    bench.py scenarios
    """
    from dataclasses import asdict

    from scenarios import list_scenarios

    known = list_scenarios()
    rows = [asdict(s) if as_json else {"name": s.name, "description": s.description} for s in known]
    _list(rows, as_json)


@cli.group(cls=Group, invoke_without_command=True)
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
        from bench.models import cells, listing

        rows = listing()
        table = [cells(row) for row in rows]
        _list(rows if as_json else [{heading: heading for heading in table[0]}, *table], as_json)


@models.command()
@click.argument("name")
def build(name: str) -> None:
    """Build a tiny model now (a run does it on first use) and print where it lies.

    \b
    bench.py models build tiny
    """
    from bench import tinymodel

    click.echo(str(tinymodel.model_path(name, "gguf")))
    click.echo(str(tinymodel.model_path(name, "hf")))


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        import orjson

        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    widths = {key: max(len(str(row[key])) for row in rows) for key in rows[0]}
    for row in rows:
        click.echo("  ".join(str(value).ljust(widths[key]) for key, value in row.items()).rstrip())
