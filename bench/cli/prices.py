"""The command `prices`: what APIs and GPUs cost, since when, and who says so."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from bench.types import UserError

if TYPE_CHECKING:
    from analysis.money.gpu_prices import GpuPrice
    from analysis.money.prices import ApiPrice

_CLAUDE = "anthropic"


class _Shown(NamedTuple):
    apis: "list[ApiPrice]"
    gpus: "list[GpuPrice]"


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
    now = _now()
    shown = _select(names, _gpus(price_file), now, apis=not only_gpus, gpus=not only_apis)
    from analysis.present.of_prices import document
    from bench.cli.output import deliver

    deliver(document(shown.apis, shown.gpus, now.date()), "text", as_json=as_json)


def _now() -> datetime:
    return datetime.now(UTC)


# --- which ------------------------------------------------------------------------------------------------------


def _gpus(price_file: Path | None) -> list["GpuPrice"]:
    from analysis.money import gpu_prices

    own = gpu_prices.user_file()
    files = [*([own] if own.exists() else []), *([price_file] if price_file else [])]
    return sorted(gpu_prices.load(files), key=lambda price: (price.gpu, price.usd_per_gpu_hour))


def _select(names: Sequence[str], known: list["GpuPrice"], now: datetime, *, apis: bool, gpus: bool) -> _Shown:
    """What the names stand for, each once; UserError with near names for one that stands for nothing."""
    from analysis.money import gpu_prices
    from analysis.money import prices as api

    if not names:
        return _Shown(_still_served(now) if apis else [], known if gpus else [])
    shown = _Shown([], [])
    for name in names:
        found = _apis(name, now) if apis else []
        rented = [price for price in known if name.lower() in str(price)] if gpus else []
        if not found and not rented:
            # Neither list knows it: the error that offers near names is raised by the one that was asked for.
            _ = api.find(name, None, now) if apis else gpu_prices.find(name, known)
        shown.apis.extend(price for price in found if price not in shown.apis)
        shown.gpus.extend(price for price in rented if price not in shown.gpus)
    return shown


def _still_served(now: datetime) -> list["ApiPrice"]:
    from analysis.money import prices as api
    from analysis.money.api_rules import retirement

    def served(model: str) -> bool:
        known = retirement(model)
        return known is None or not known.fixed or now.date() < known.day

    return [price for price in api.of_provider(_CLAUDE, now) if served(price.model)]


def _apis(name: str, now: datetime) -> list["ApiPrice"]:
    from analysis.money import prices as api

    try:
        return [api.find(name, None, now)]
    except UserError:
        return api.search(name, now)
