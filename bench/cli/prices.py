"""The command `prices`: what APIs and GPUs cost, since when, and who says so."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bench.cli.base import echo
from bench.types import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from analysis.money.gpu_prices import GpuPrice
    from analysis.money.prices import ApiPrice

_CLAUDE = "anthropic"
_COLUMNS_OF_A_FILE = 110
_UNKNOWN = "-"


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
    if as_json:
        import orjson

        echo(orjson.dumps(_json(shown), option=orjson.OPT_INDENT_2, default=str).decode())
        return
    from bench.cli.output import Screen

    screen = Screen()
    if not screen.is_terminal:
        screen.width = _COLUMNS_OF_A_FILE
    if shown.apis:
        _print_apis(screen, shown.apis, now.date())
    if shown.apis and shown.gpus:
        screen.print()
    if shown.gpus:
        _print_gpus(screen, shown.gpus, now.date())


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


# --- as JSON ----------------------------------------------------------------------------------------------------


def _json(shown: _Shown) -> dict[str, Any]:
    from dataclasses import asdict

    from analysis.money import prices as api
    from analysis.money.api_rules import cache_minimum, provider_rules, retirement

    providers = dict.fromkeys(price.provider for price in shown.apis)
    return {
        "snapshot": api.snapshot(),
        "rules": {name: provider_rules(name) for name in providers},
        "api": [
            {
                **asdict(price),
                "rates": [rates._asdict() for rates in price.rates],
                "cache_minimum": cache_minimum(price.model, price.provider),
                "retirement": retirement(price.model),
            }
            for price in shown.apis
        ],
        "gpu": [asdict(gpu) for gpu in shown.gpus],
    }


# --- as tables --------------------------------------------------------------------------------------------------


def _print_apis(screen: "Console", apis: Sequence["ApiPrice"], today: date) -> None:
    from analysis.money import prices as api
    from analysis.money.api_rules import provider_rules

    snapshot = api.snapshot()
    as_of = snapshot["as_of"]
    dated = f"prices of {_dated(date.fromisoformat(as_of), today)}" if as_of else "prices of an unknown date"
    _say(screen, f"APIs, US dollars per million tokens: {snapshot['source']} {snapshot['version']}, {dated}", "bold")
    rows = [row for price in apis for row in _api_rows(price)]
    ruled = any(row.cached_from or row.served_until for row in rows)
    columns = ("model", "in", "write 5m", "write 1h", "read", "out", "cached from", "served until")
    screen.print(_table(columns if ruled else columns[:-2], rows))
    if ruled:
        _say(screen, "cached from: the shortest prompt, in tokens, that is cached; a range where sources disagree")
    for name in dict.fromkeys(price.provider for price in apis):
        if rules := provider_rules(name):
            lives, most = " or ".join(rules.cache_ttls), f"{rules.batch_bytes / 1e6:.0f} MB"
            _say(
                screen,
                f"{name}: a cached prompt lives {lives}, with at most {rules.cache_breakpoints} breakpoints; a batch "
                f"(up to {rules.batch_requests:,} requests or {most}, within {rules.batch_hours} h) costs "
                f"{rules.batch_price_factor} times these prices; inference kept in the US {rules.us_only_price_factor} "
                f"times ({rules.source}: {_dated(rules.read_on, today)})",
            )


class _ApiRow(NamedTuple):
    model: str
    input: str
    write_5m: str
    write_1h: str
    read: str
    output: str
    cached_from: str = ""
    served_until: str = ""


def _api_rows(price: "ApiPrice") -> Iterator[_ApiRow]:
    """The model's row, and one for each tier of longer prompts."""
    from analysis.money.api_rules import cache_minimum, retirement

    for rates in price.rates:
        columns = (rates.input, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read, rates.output)
        row = _ApiRow(f"  prompt above {rates.above_tokens:,}", *map(_usd, columns))
        if rates.above_tokens == 0:
            minimum, end = cache_minimum(price.model, price.provider), retirement(price.model)
            row = row._replace(
                model=f"{price.provider}/{price.model}",
                cached_from=_span(f"{minimum.low_tokens:,}", f"{minimum.high_tokens:,}") if minimum else "",
                served_until=f"{end.day}{'' if end.fixed else ' or later'}" if end else "",
            )
        yield row
    if price.usd_per_request:
        yield _ApiRow(f"  and ${price.usd_per_request:f} a request", *[""] * 5)


def _print_gpus(screen: "Console", gpus: Sequence["GpuPrice"], today: date) -> None:
    from analysis.money.gpu_prices import OLD_AFTER_DAYS, is_old
    from analysis.money.numbers import HOURS_PER_MONTH
    from analysis.wording import dollars

    _say(screen, f"GPUs, US dollars for one, an hour and a month of {HOURS_PER_MONTH} hours", "bold")
    rows = []
    for price in gpus:
        ends = (price.usd_per_gpu_hour_low, price.usd_per_gpu_hour_high)
        rows.append(
            (
                f"{price.gpu}@{price.provider}",
                _span(*map(_usd, ends)),
                _span(*(dollars(usd * HOURS_PER_MONTH, 0).removeprefix("$") for usd in ends)),
                price.kind,
                "/".join(map(str, price.machine_gpus)) or "any",
                "yes" if price.includes_host else "no",
                f"{price.read_on}{' old' if is_old(price, today) else ''}",
                price.source,
            )
        )
    screen.print(_table(("gpu", "hour", "month", "kind", "of", "host", "read on", "where"), rows))
    _say(
        screen,
        "of: how many GPUs a machine has, rented together; host: whether the price includes that machine",
    )
    if any(is_old(price, today) for price in gpus):
        _say(screen, f"old: read more than {OLD_AFTER_DAYS} days ago; look again, and give yours by --prices", "yellow")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        first_or_last = name in ("model", "where")
        words = name in ("gpu", "kind", "of", "host", "read on", "served until") or first_or_last
        table.add_column(name, justify="left" if words else "right", no_wrap=not first_or_last, overflow="fold")
    for row in rows:
        table.add_row(*row[: len(columns)])
    return table


def _say(screen: "Console", line: str, style: str = "") -> None:
    screen.print(line, style=style, highlight=False, markup=False, soft_wrap=not screen.is_terminal)


def _usd(amount: Decimal | None) -> str:
    from analysis.money.prices import exact_text

    return _UNKNOWN if amount is None else exact_text(amount)


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}–{high}"


def _dated(day: date, today: date) -> str:
    from analysis.money.gpu_prices import OLD_AFTER_DAYS

    age_days = (today - day).days
    return f"{day}, {age_days} days ago{', which is old' if age_days > OLD_AFTER_DAYS else ''}"
