"""`bench.py backends`, `scenarios`, `models` and `prices`: lists, one line per entry."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import app
from bench.cli.base import Group, echo, now
from bench.cli.options import printed
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.present.document import Document


@click.command()
@printed()
def backends() -> "Document":
    """List the server dialects.

    \b
    bench.py backends
    """
    return app.lists.backends()


@click.command()
@printed()
def scenarios() -> "Document":
    """List the workloads.

    \b
    bench.py scenarios
    """
    return app.lists.scenarios()


@click.group(cls=Group, invoke_without_command=True)
@printed(", with the shapes and the repositories")
@click.pass_context
def models(ctx: click.Context) -> "Document | None":
    """List the models that have a short name.

    A run takes NAME or NAME-QUANTIZATION, such as mistral-7b-awq. For llamacpp, quantization gguf stands for q4_k_m
    (the default), q5_k_m, q6_k and q8_0; the others are for vllm and tgi. Any other model is a path or a repository,
    OWNER/NAME. GB is the size of the weights; --json adds their source, and more.

    \b
    bench.py models
    bench.py models build tiny
    """
    return app.lists.models() if ctx.invoked_subcommand is None else None


@models.command()
@click.argument("name")
def build(name: str) -> None:
    """Build a tiny model now (a run does it on first use) and print its path.

    \b
    bench.py models build tiny
    """
    for path in app.lists.build_model(name):
        echo(str(path))


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--api", "only_apis", is_flag=True, help="APIs only.")
@click.option("--gpu", "only_gpus", is_flag=True, help="GPUs only.")
@click.option("--prices", "price_file", type=click.Path(path_type=Path), help="YAML file of your own GPU prices.")
@printed(", amounts as exact text")
def prices(names: tuple[str, ...], only_apis: bool, only_gpus: bool, price_file: Path | None) -> "Document":
    """List what APIs and rented GPUs cost.

    Without a NAME: the Claude models that are still served, and every GPU. A NAME is MODEL, PROVIDER/MODEL, a GPU, or a
    part of one. Your own GPU prices, in llm-serving-bench/prices.yaml in your config folder or in the file given with
    --prices, replace the bundled ones.

    \b
    bench.py prices
    bench.py prices claude-haiku-5-5 openrouter/qwen/qwen3-14b rtx-4090
    bench.py prices --gpu --prices my-prices.yaml
    """
    if only_apis and only_gpus:
        raise UserError("--api and --gpu exclude each other: leave out both to see both")
    return app.prices.select(names, price_file, now(), apis=not only_gpus, gpus=not only_apis)
