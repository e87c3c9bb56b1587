"""The command `prices`: what APIs and GPUs cost, since when, and who says so."""

from datetime import UTC, datetime
from pathlib import Path

import click

from bench import app
from bench.types import UserError


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--api", "only_apis", is_flag=True, help="APIs only.")
@click.option("--gpu", "only_gpus", is_flag=True, help="GPUs only.")
@click.option("--prices", "price_file", type=click.Path(path_type=Path), help="YAML file of your own GPU prices.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, amounts as exact text.")
def prices(names: tuple[str, ...], only_apis: bool, only_gpus: bool, price_file: Path | None, as_json: bool) -> None:
    """List what APIs and rented GPUs cost.

    Without a NAME: the Claude models that are still served, and every GPU. A NAME is MODEL, PROVIDER/MODEL, a GPU, or
    a part of one. Your own GPU prices, in prices.yaml in the folder llm-serving-bench of your config folder or in the
    file of --prices, replace the bundled ones.

    \b
    bench.py prices
    bench.py prices claude-haiku-5-5 openrouter/qwen/qwen3-14b rtx-4090
    bench.py prices --gpu --prices my-prices.yaml
    """
    if only_apis and only_gpus:
        raise UserError("--api and --gpu exclude each other: leave out both to see both")
    from bench.cli.output import deliver

    shown = app.prices.select(names, price_file, _now(), apis=not only_gpus, gpus=not only_apis)
    deliver(shown, "text", as_json=as_json)


def _now() -> datetime:
    return datetime.now(UTC)
