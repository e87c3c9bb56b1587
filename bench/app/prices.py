"""What APIs and GPUs cost, by the names that users give them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from analysis.money import gpu_prices
from analysis.money import prices as api
from analysis.money.api_rules import retirement
from analysis.money.gpu_prices import GpuPrice
from analysis.money.prices import ApiPrice
from analysis.present.document import Document
from analysis.present.of_prices import document
from bench.types import UserError

_CLAUDE = "anthropic"


def select(names: Sequence[str], price_file: Path | None, now: datetime, *, apis: bool, gpus: bool) -> Document:
    """What the names stand for, each once; UserError with near names for an unknown one."""
    known = sorted(gpu_prices.known(price_file), key=lambda price: (price.gpu, price.usd_per_gpu_hour))
    if not names:
        return document(_still_served(now) if apis else [], known if gpus else [], now.date())
    shown_apis, shown_gpus = list[ApiPrice](), list[GpuPrice]()
    for name in names:
        found = _apis(name, now) if apis else []
        rented = [price for price in known if name.lower() in str(price)] if gpus else []
        if not found and not rented:
            # Neither list knows it: report the error, with its suggestions, of the list that was asked for.
            _ = api.find(name, None, now) if apis else gpu_prices.find(name, known)
        shown_apis += [price for price in found if price not in shown_apis]
        shown_gpus += [price for price in rented if price not in shown_gpus]
    return document(shown_apis, shown_gpus, now.date())


def _still_served(now: datetime) -> list[ApiPrice]:
    def served(model: str) -> bool:
        known = retirement(model)
        return known is None or not known.fixed or now.date() < known.day

    return [price for price in api.of_provider(_CLAUDE, now) if served(price.model)]


def _apis(name: str, now: datetime) -> list[ApiPrice]:
    try:
        return [api.find(name, None, now)]
    except UserError:
        return api.search(name, now)
