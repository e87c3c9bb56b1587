"""What APIs and GPUs cost as a Document: since when, and who says so."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any, Final

from analysis.money import prices as api
from analysis.money.api_rules import cache_minimum, provider_rules, retirement
from analysis.money.gpu_prices import OLD_AFTER_DAYS, GpuPrice, is_old
from analysis.money.numbers import HOURS_PER_MONTH
from analysis.money.prices import ApiPrice, exact_text
from analysis.present.document import Cell, Column, Columns, Document, Note, Notes, Row, Section, Table, row, table
from analysis.wording import DASH, dollars

RULED: Final = (Column("cached from", drop=2), Column("served until", "left", drop=1))
API_COLUMNS: Final = (
    Column("model", "left"),
    Column("in"),
    Column("write 5m", drop=4),
    Column("write 1h", drop=3),
    Column("read"),
    Column("out"),
)


def document(apis: Sequence[ApiPrice], gpus: Sequence[GpuPrice], today: date) -> Document:
    """The prices given, those of APIs first."""
    sections = [*([_apis(apis, today)] if apis else []), *([_gpus(gpus, today)] if gpus else [])]
    return Document(title="", blocks=tuple(sections), data=_data(apis, gpus))


def _apis(apis: Sequence[ApiPrice], today: date) -> Section:
    snapshot = api.snapshot()
    as_of = snapshot.as_of
    dated = f"prices of {_dated(date.fromisoformat(as_of), today)}" if as_of else "prices of an unknown date"
    rows = [each for price in apis for each in _api_rows(price)]
    ruled = any(cell.text for each in rows for cell in each.cells[len(API_COLUMNS) :])
    columns = API_COLUMNS + RULED if ruled else API_COLUMNS
    shown = tuple(Row(each.cells[: len(columns)]) for each in rows)
    meaning = "cached from: the shortest prompt, in tokens, that is cached; a range where sources disagree"
    notes = [Note(meaning)] if ruled else []
    notes += [_rules(name, today) for name in dict.fromkeys(price.provider for price in apis) if provider_rules(name)]
    title = f"APIs, US dollars per million tokens: {snapshot.source} {snapshot.version}, {dated}"
    return Section(title, (Table(columns, shown), Notes(tuple(notes))))


def _rules(name: str, today: date) -> Note:
    """What caching and batches cost beside the prices of a provider whose rules are known."""
    rules = provider_rules(name)
    assert rules is not None
    lives, most = " or ".join(rules.cache_ttls), f"{rules.batch_bytes / 1e6:.0f} MB"
    return Note(
        f"a cached prompt lives {lives}, with at most {rules.cache_breakpoints} breakpoints; a batch "
        f"(up to {rules.batch_requests:,} requests or {most}, within {rules.batch_hours} h) costs "
        f"{rules.batch_price_factor} times these prices; inference kept in the US {rules.us_only_price_factor} "
        f"times ({rules.source}: {_dated(rules.read_on, today)})",
        name,
    )


def _api_rows(price: ApiPrice) -> Iterator[Row]:
    """The model's row, one for each tier of longer prompts, and one for what each request costs besides."""
    for rates in price.rates:
        amounts = (rates.input, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read, rates.output)
        name, cached_from, served_until = f"  prompt above {rates.above_tokens:,}", "", ""
        if rates.above_tokens == 0:
            name = f"{price.provider}/{price.model}"
            minimum, end = cache_minimum(price.model, price.provider), retirement(price.model)
            cached_from = _span(f"{minimum.low_tokens:,}", f"{minimum.high_tokens:,}") if minimum else ""
            served_until = f"{end.day}{'' if end.fixed else ' or later'}" if end else ""
        yield row(name, *map(_usd, amounts), cached_from, served_until)
    if price.usd_per_request:
        yield row(f"  and ${price.usd_per_request:f} a request", *[""] * 7)


def _gpus(gpus: Sequence[GpuPrice], today: date) -> Section:
    notes = [Note("of: how many GPUs a machine has, rented together; host: whether the price includes that machine")]
    if any(is_old(price, today) for price in gpus):
        old = f"old: read more than {OLD_AFTER_DAYS} days ago; look again, and give yours by --prices"
        notes.append(Note(old, tone="warn"))
    title = f"GPUs, US dollars for one, an hour and a month of {HOURS_PER_MONTH} hours"
    columns: Columns[GpuPrice] = (
        (Column("gpu", "left"), lambda price: f"{price.gpu}@{price.provider}"),
        (Column("hour"), lambda price: _span(*map(_usd, _ends(price)))),
        (Column("month", drop=5), lambda price: _span(*(_in_month(usd) for usd in _ends(price)))),
        (Column("kind", "left"), lambda price: price.kind),
        (Column("of", "left", drop=3), lambda price: "/".join(map(str, price.machine_gpus)) or "any"),
        (Column("host", "left", drop=4), lambda price: "yes" if price.includes_host else "no"),
        (
            Column("read on", "left", drop=2),
            lambda price: Cell(f"{price.read_on} old", tone="warn") if is_old(price, today) else str(price.read_on),
        ),
        (Column("where", "left", drop=1, wraps=True), lambda price: price.source),
    )
    return Section(title, (table(columns, gpus), Notes(tuple(notes))))


def _ends(price: GpuPrice) -> tuple[Decimal, Decimal]:
    return price.usd_per_gpu_hour_low, price.usd_per_gpu_hour_high


def _in_month(usd_per_hour: Decimal) -> str:
    return dollars(usd_per_hour * HOURS_PER_MONTH, 0).removeprefix("$")


def _usd(amount: Decimal | None) -> str:
    return DASH if amount is None else exact_text(amount)


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}–{high}"


def _dated(day: date, today: date) -> str:
    age_days = (today - day).days
    return f"{day}, {age_days} days ago{', which is old' if age_days > OLD_AFTER_DAYS else ''}"


def _data(apis: Sequence[ApiPrice], gpus: Sequence[GpuPrice]) -> dict[str, Any]:
    """Amounts as exact numbers, which are written as text."""
    return {
        "snapshot": api.snapshot()._asdict(),
        "rules": {name: provider_rules(name) for name in dict.fromkeys(price.provider for price in apis)},
        "api": [
            {
                **asdict(price),
                "rates": [rates._asdict() for rates in price.rates],
                "cache_minimum": cache_minimum(price.model, price.provider),
                "retirement": retirement(price.model),
            }
            for price in apis
        ],
        "gpu": [asdict(gpu) for gpu in gpus],
    }
