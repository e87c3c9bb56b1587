"""What a request to an API costs by its own usage, in exact decimals, from the prices that `genai-prices` bundles.

The list says which model a name means and what it cost on a day. The arithmetic is ours, because a load process needs
it before and after every request: it takes a tenth of the time of the library's own, and gives the same amounts.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Literal, NamedTuple

from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from analysis.money.api_rules import released
from bench.suggest import did_you_mean, nearest
from bench.types import Usage, UserError

CacheTtl = Literal["5m", "1h"]

STANDARD = "standard"
BATCH = "batch"
_PACKAGE = "genai-prices"
_MILLION = 1_000_000
_INPUT, _OUTPUT, _PER_REQUEST = "input_mtok", "output_mtok", "requests_kcount"
_KNOWN_KEYS = {
    _INPUT, _OUTPUT, _PER_REQUEST, "cache_read_mtok", "cache_write_mtok", "cache_write_5m_mtok", "cache_write_1h_mtok",
    "output_reasoning_mtok",
}  # fmt: skip
# Usage that a text-to-text request does not have.
_OTHER_MEDIA = re.compile("audio|image|video|document|searches|citation")
# Other providers may write prompts to the cache, and bill for that, unasked.
_CACHES_WHEN_ASKED = ("anthropic",)


class PriceList(NamedTuple):
    """The source of prices, its version, and its day (ISO 8601), None if unknown."""

    source: str
    version: str
    as_of: str | None


class Rates(NamedTuple):
    """USD per million tokens of a request whose prompt is longer than `above_tokens`.

    None: not priced separately, so cached and written tokens are billed as input, reasoning as output.
    """

    above_tokens: int
    input: Decimal
    output: Decimal
    cache_read: Decimal | None
    cache_write_5m: Decimal | None
    cache_write_1h: Decimal | None
    reasoning: Decimal | None


@dataclass(frozen=True, slots=True)
class ApiPrice:
    """What a model costs at a provider on some day; `rates` ascend by `above_tokens`, from 0.

    `provider` and `model` are the price list's own names, of which the requested name may be a longer form.
    """

    provider: str
    model: str
    tier: str
    rates: tuple[Rates, ...]
    usd_per_request: Decimal

    def __str__(self) -> str:
        base, *longer = self.rates
        rates = f"${exact_text(base.input)} in, ${exact_text(base.output)} out"
        text = f"{self.provider}/{self.model} at {rates} per million tokens"
        if longer:
            text += f" (more above {longer[0].above_tokens:,} prompt tokens)"
        return text if self.tier == STANDARD else f"{text}, {self.tier}"


# --- of one request ---------------------------------------------------------------------------------------------


def usd_of(price: ApiPrice, usage: Usage) -> Decimal:
    """What a usage costs at a price.

    Cached and written tokens that the server does not report count as none, which is also how it bills them. ValueError
    if prompt or output tokens are missing, or the parts exceed the whole.
    """
    prompt, output = usage.prompt_tokens, usage.output_tokens
    if prompt is None or output is None:
        raise ValueError("a usage without prompt and output tokens cannot be priced")
    read, written_1h = usage.cached_tokens or 0, usage.cache_write_1h_tokens or 0
    written_5m = (usage.cache_write_tokens or 0) - written_1h
    plain = prompt - read - written_5m - written_1h
    if min(plain, read, written_5m, written_1h, output) < 0:
        raise ValueError(f"a usage whose parts exceed the whole cannot be priced: {usage}")
    rates = next((rates for rates in reversed(price.rates) if prompt > rates.above_tokens), price.rates[0])
    tokens_usd = (
        plain * rates.input
        + read * _or(rates.cache_read, rates.input)
        + written_5m * _or(rates.cache_write_5m, rates.input)
        + (written_1h * _write_1h(price, rates) if written_1h else 0)
        + _output(rates, output, usage.reasoning_tokens)
    )
    return price.usd_per_request + tokens_usd / _MILLION


def worst_of(price: ApiPrice, prompt_tokens: int, max_output_tokens: int, cache_ttl: CacheTtl | None = None) -> Decimal:
    """The most that any usage within both bounds costs; `cache_ttl` is that of the requested caching.

    Every tier that a prompt within the bound can fall into counts with its longest prompt, billed at its highest rate.
    """
    most = Decimal(0)
    ends = [rates.above_tokens for rates in price.rates[1:]] + [prompt_tokens]
    for rates, end in zip(price.rates, ends, strict=True):
        if rates.above_tokens < prompt_tokens or rates is price.rates[0]:
            dearest_input = max(_ways(price, rates, cache_ttl))
            dearest_output = max(rates.output, _or(rates.reasoning, rates.output))
            most = max(most, min(end, prompt_tokens) * dearest_input + max_output_tokens * dearest_output)
    return price.usd_per_request + most / _MILLION


def _output(rates: Rates, output_tokens: int, reasoning_tokens: int | None) -> Decimal:
    if rates.reasoning is None:
        return output_tokens * rates.output
    if reasoning_tokens is None or reasoning_tokens > output_tokens:
        raise ValueError("a usage without reasoning tokens cannot be priced when they are billed separately")
    return (output_tokens - reasoning_tokens) * rates.output + reasoning_tokens * rates.reasoning


def _ways(price: ApiPrice, rates: Rates, cache_ttl: CacheTtl | None) -> Iterator[Decimal]:
    """What a prompt token may be billed as, in USD per million."""
    yield rates.input
    yield _or(rates.cache_read, rates.input)
    if cache_ttl or price.provider not in _CACHES_WHEN_ASKED:
        yield _or(rates.cache_write_5m, rates.input)
    if cache_ttl == "1h":
        yield _write_1h(price, rates)


def _write_1h(price: ApiPrice, rates: Rates) -> Decimal:
    if rates.cache_write_1h is None and rates.cache_write_5m is not None:
        raise UserError(
            f"{price.provider}/{price.model}: the price list has no price for cache writes that last 1 hour"
        )
    return _or(rates.cache_write_1h, rates.input)


def _or(rate: Decimal | None, otherwise: Decimal) -> Decimal:
    return otherwise if rate is None else rate


# --- what the list knows ----------------------------------------------------------------------------------------


def find(model: str, provider: str | None, at: datetime, *, tier: str = STANDARD) -> ApiPrice:
    """The price of MODEL, or PROVIDER/MODEL, at an instant (UTC unless it has a zone).

    `tier` is `standard`, `batch` or the API's name for its service tier. UserError with the nearest names if the list
    does not know the model, or has no price for its text or for that tier on that day.
    """
    return _price(*_locate(model, provider, at), at, tier)


def of_provider(provider: str, at: datetime) -> list[ApiPrice]:
    """The prices of all models of a provider that bill by prompt and output tokens, in the list's order."""
    return list(_all(at, provider))


def search(text: str, at: datetime) -> list[ApiPrice]:
    """The prices of all models whose PROVIDER/MODEL contains a text, ignoring case."""
    return [price for price in _all(at) if text.casefold() in f"{price.provider}/{price.model}".casefold()]


def provider_of_url(url: str) -> str | None:
    """The provider in the price list that serves this address, None if there is none."""
    try:
        return data_snapshot.get_snapshot().find_provider(None, None, url.lower()).id
    except LookupError:
        return None


def snapshot() -> PriceList:
    """Whose prices are used; the list itself has no date, so it is the release date of its version."""
    number = version(_PACKAGE)
    day = released(number)
    return PriceList(_PACKAGE, number, day.isoformat() if day else None)


def exact_text(amount: Decimal) -> str:
    """An amount in full, with at least two decimals."""
    whole, _, decimals = f"{amount.normalize():f}".partition(".")
    return f"{whole}.{decimals:0<2}"


def _locate(model: str, provider: str | None, at: datetime) -> tuple[Provider, ModelInfo]:
    listed = data_snapshot.get_snapshot()
    head, _, rest = model.partition("/")
    if provider is None and rest and any(known.id == head.lower() for known in listed.providers):
        provider, model = head.lower(), rest
    for name in dict.fromkeys((model, model.removeprefix(f"{provider}/"))):
        with suppress(LookupError):
            return listed.find_provider_model(name, None, provider, None)
    # Some of the list's own names for models are not names that the APIs accept.
    for found, info in _models(provider.lower()) if provider else ():
        if info.id.lower() == model.lower():
            return found, info
    raise UserError(_unknown(model, provider, at))


def _unknown(model: str, provider: str | None, at: datetime) -> str:
    listed = data_snapshot.get_snapshot()
    if provider is not None:
        try:
            provider = listed.find_provider(None, provider, None).id
        except LookupError:
            known = [each.id for each in listed.providers]
            return f"provider {provider!r}: not in the price list{did_you_mean(provider, known, 3)}"
    near = _nearest(model.lower(), provider, at)
    hint = f"did you mean {' or '.join(near)}?" if near else "see: bench.py prices TEXT"
    return f"model {model!r}: no price is known{f' at {provider}' if provider else ''}; {hint}"


def _nearest(model: str, provider: str | None, at: datetime) -> list[str]:
    """Up to three names as a user would write them: those that contain the requested name first, then similar ones."""
    names = {f"{price.provider}/{price.model}": price.model.lower() for price in _all(at, provider)}
    containing = sorted((name for name, own in names.items() if model in own), key=len)
    similar = [name for own in nearest(model, names.values(), 3) for name in names if names[name] == own]
    near = list(dict.fromkeys(containing + similar))[:3]
    return [name.partition("/")[2] for name in near] if provider else near


def _all(at: datetime, provider: str | None = None) -> Iterator[ApiPrice]:
    for found, info in _models(provider):
        with suppress(UserError):
            yield _price(found, info, at, STANDARD)


def _models(provider: str | None) -> Iterator[tuple[Provider, ModelInfo]]:
    for found in data_snapshot.get_snapshot().providers:
        if provider in (None, found.id):
            yield from ((found, info) for info in found.models)


def _price(found: Provider, info: ModelInfo, at: datetime, tier: str) -> ApiPrice:
    name = f"{found.id}/{info.id}"
    prices = info.get_prices(at) if info.prices else ModelPrice()
    if tier != STANDARD:
        prices = _variant(found, info, at, tier, prices)
    stored = {key: value for key, value in vars(prices).items() if value is not None}
    if not {_INPUT, _OUTPUT} <= stored.keys():
        raise UserError(f"{name}: the price list has no price for its prompt and output tokens on {at:%Y-%m-%d}")
    if strange := sorted(key for key in stored.keys() - _KNOWN_KEYS if not _OTHER_MEDIA.search(key)):
        raise UserError(f"{name}: is also billed by {', '.join(strange)}, which this version cannot price; update it")
    per_request = _in_band(stored.get(_PER_REQUEST), 0) or Decimal(0)
    return ApiPrice(found.id, info.id, tier, _rates(stored), per_request / 1000)


def _variant(found: Provider, info: ModelInfo, at: datetime, tier: str, standard: ModelPrice) -> ModelPrice:
    """The prices of a tier; for an unknown tier the list returns the standard ones, which is detected here."""
    context = {"processing": BATCH} if tier == BATCH else {"service_tier": tier}
    own = any(info is model for model in found.models)
    prices = info.get_prices(at, context) if own else standard
    if prices == standard:
        raise UserError(f"{found.id}/{info.id}: no price of tier {tier!r} is known on {at:%Y-%m-%d}")
    return prices


def _rates(stored: dict[str, Decimal | TieredPrices]) -> tuple[Rates, ...]:
    tiered = (price for price in stored.values() if isinstance(price, TieredPrices))
    starts = {0, *(tier.start for price in tiered for tier in price.tiers)}
    writes = stored.get("cache_write_5m_mtok", stored.get("cache_write_mtok"))
    return tuple(
        Rates(
            above_tokens=above,
            input=_in_band(stored[_INPUT], above) or Decimal(0),
            output=_in_band(stored[_OUTPUT], above) or Decimal(0),
            cache_read=_in_band(stored.get("cache_read_mtok"), above),
            cache_write_5m=_in_band(writes, above),
            cache_write_1h=_in_band(stored.get("cache_write_1h_mtok"), above),
            reasoning=_in_band(stored.get("output_reasoning_mtok"), above),
        )
        for above in sorted(starts)
    )


def _in_band(price: Decimal | TieredPrices | None, above_tokens: int) -> Decimal | None:
    if not isinstance(price, TieredPrices):
        return price
    return next((tier.price for tier in reversed(price.tiers) if tier.start <= above_tokens), price.base)
