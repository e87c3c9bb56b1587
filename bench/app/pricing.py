"""What a run costs: the API's prices, the price per hour of self-hosting, and the spending limit."""

import ipaddress
import re
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from analysis.money import gpu_prices
from analysis.money.gpu_prices import Hourly, Owned
from bench.app.discover import DEFAULT_MODEL
from bench.app.options import GPUS, USD, HourOptions, RunOptions, check_one_of, given_of
from bench.load.spend import Budget, Ledger, Prices, SpendLimiter
from bench.numeric import Range, read
from bench.plan.calls import Plan, lengths, total
from bench.runs.manifest import ApiPricing, HourPricing
from bench.runs.sections import dump
from bench.suggest import did_you_mean
from bench.types import Backend, Scenario, UserError

if TYPE_CHECKING:
    from analysis.money.prices import ApiPrice

DEFAULT_CAP_USD = Decimal("1.00")
NO_CAP = "none"
OWNED_RANGES = {
    "price_usd": Range("0.01", 10**9, or_zero=True),
    "months": Range("0.1", 1_200, or_zero=True),
    "watts": Range("0.01", 10**7, or_zero=True),
    "usd_per_kwh": Range("1e-6", 1_000, or_zero=True),
    "resale_usd": Range("0.01", 10**9, or_zero=True),
    "pue": Range(1, 10, or_zero=True),
    "hosting_usd_per_month": Range("0.01", 10**9, or_zero=True),
}
MEASURED = "measured"
MOST_IMAGE_TOKENS = {"anthropic": 8_464, "openai": 48_169}
"""The most tokens that an image of any size can have, by provider.

Anthropic scales an image to at most 2576 pixels a side and counts patches of 28 pixels a side: 92². OpenAI's dearest
model in tokens, gpt-4o-mini, scales it to at most 2048 by 768 and counts 2833, and 5667 for each of 8 tiles of 512.
https://platform.claude.com/docs/en/build-with-claude/vision https://developers.openai.com/api/docs/guides/images-vision
"""


@dataclass(frozen=True, slots=True)
class RunCosts:
    """What a run may cost: `pricing` is that of run.json, None if nobody bills and there is no price per hour.

    `budget` is the spending limit, None for a server that nobody bills for.
    """

    pricing: HourPricing | ApiPricing | None = None
    budget: Budget | None = None

    def asked(self) -> dict[str, Any]:
        """The price options as JSON holds them; the spending limit is not among them."""
        return {name: value for name, value in (dump(self.pricing) or {}).items() if name != "max_usd"}


def costs_of(options: RunOptions, backend: Backend, url: str | None, scenario: Scenario, *, has_key: bool) -> RunCosts:
    """What the options say about costs. Raises UserError."""
    budget = budget_of(backend, url, options, scenario, has_key=has_key)
    return RunCosts(_pricing(options, budget), budget)


def budget_of(
    backend: Backend, url: str | None, options: RunOptions, scenario: Scenario, *, has_key: bool
) -> Budget | None:
    """Return the spending cap of a run on an API that bills; None if nobody bills or the user lifts it.

    An API bills if it is the backend's own or in the price list, or if it is on the public internet and requires a key;
    a server on a private address does not. `--max-usd` applies to any server. Raises UserError if the price is not
    known, because then no limit can be guaranteed.
    """
    asked = options.max_usd
    if asked is None and (url is None or _is_private(url)):
        return None
    from analysis.money import prices

    provider = backend.provider or (prices.provider_of_url(url) if url else None)
    if asked == NO_CAP or (asked is None and provider is None and not has_key):
        return None
    cap_usd = DEFAULT_CAP_USD if asked is None else _amount(asked)
    at, model = datetime.now(UTC), options.model or DEFAULT_MODEL
    try:
        prices.find(model, provider, at)
    except UserError as problem:
        raise UserError(f"{problem}; a spending limit needs a price; --max-usd none runs without a limit") from None
    ttl: Literal["5m", "1h"] | None = None
    if "cache_ttl" in backend.options and options.cache_ttl != "off" and scenario.opens:
        ttl = "1h" if options.cache_ttl == "1h" else "5m"
    return Budget(cap_usd, provider, model, at, ttl, image_tokens=_image_tokens(options, provider))


def _image_tokens(options: RunOptions, provider: str | None) -> int:
    if options.images is None:
        return 0
    if provider not in MOST_IMAGE_TOKENS:
        raise UserError(
            f"--images: the most tokens that an image can have at {provider or 'this API'} is not known, and a "
            "spending limit needs it; --max-usd none runs without a limit"
        )
    return MOST_IMAGE_TOKENS[provider]


def _pricing(options: RunOptions, budget: Budget | None) -> HourPricing | ApiPricing | None:
    if (hourly := hourly_of(options, may_measure=True)) is not None:
        drawn = _owned(options.owned or "") if _measures(options) else None
        return gpu_prices.pricing_of(hourly, options.gpu, None if drawn is None else drawn.usd_per_kwh * drawn.pue)
    if budget is None:
        return None
    return ApiPricing(provider=budget.provider, model=budget.model, max_usd=budget.cap_usd, cache_ttl=budget.cache_ttl)


def _measures(options: HourOptions) -> bool:
    return f"watts={MEASURED}" in (options.owned or "").replace(" ", "").split(",")


def hourly_of(options: HourOptions, *, may_measure: bool = False) -> Hourly | None:
    """What self-hosted servers cost per hour; None if not given.

    Excludes power that a run has yet to measure. Raises UserError.
    """
    given = given_of(options, "gpu", "usd_per_hour", "owned")
    if options.gpus is not None and options.gpu is None:
        already = "" if not given else f": {given[0]} is the price of everything"
        raise UserError(f"--gpus is the number of --gpu{already}; give --gpu too, such as l4, or leave --gpus out")
    check_one_of(options, "gpu", "usd_per_hour", "owned")
    if options.usd_per_hour is not None:
        return gpu_prices.stated(USD.of("--usd-per-hour", str(options.usd_per_hour)))
    if options.owned is not None:
        if _measures(options) and not may_measure:
            raise UserError(f"--owned: watts={MEASURED} works only for a run, which measures power; give a number here")
        return gpu_prices.owned(_owned(options.owned))
    if options.gpu is None:
        return None
    if options.prices is not None and not options.prices.is_file():
        raise UserError(f"--prices {options.prices}: no such file")
    count = 1 if options.gpus is None else int(GPUS.of("--gpus", str(options.gpus)))
    price = gpu_prices.find(options.gpu, gpu_prices.known(options.prices), count)
    return gpu_prices.rented(price, count, datetime.now(UTC).date())


def _owned(text: str) -> Owned:
    """Hardware from `price_usd=1800,months=36,watts=450,usd_per_kwh=0.30`; measured watts count as none."""
    required = [field.name for field in fields(Owned) if field.default is MISSING]
    names = [field.name for field in fields(Owned)]
    values = {}
    for part in re.split(r",(?!\d{3}\b)", text):  # but not within 2,000
        name, _, value = part.strip().partition("=")
        if name not in names:
            raise UserError(f"--owned: {name!r} is not known; expected {', '.join(names)}{did_you_mean(name, names)}")
        measured = name == "watts" and value == MEASURED
        values[name] = Decimal(0) if measured else OWNED_RANGES[name].of(f"--owned: {name}", value)
    if missing := [name for name in required if name not in values]:
        raise UserError(f"--owned: {missing[0]} is missing; expected {'=…,'.join(required)}=…")
    return Owned(**values)


def prices_of(budget: Budget, *, batch: bool = False) -> Prices:
    """The prices that a spending limit is charged at."""
    from analysis.money import prices

    price = _price(budget, batch=batch)

    def worst_usd(prompt_tokens: int, max_output_tokens: int) -> Decimal:
        with_image = prompt_tokens + budget.image_tokens
        return prices.worst_of(price, with_image, max_output_tokens, cache_ttl=budget.cache_ttl)

    return Prices(worst_usd, charge_usd=partial(prices.usd_of, price))


def limiter_of(budget: Budget, account: Path, plan: Plan, backend: Backend, url: str) -> SpendLimiter:
    """The limiter that keeps the spending on a plan's requests to a URL within the budget, in an open account."""
    return SpendLimiter(
        Ledger(account),
        prices_of(budget),
        plan.source.least,
        counted=plan.vocabulary.exact,
        # A backend's own API bills failures predictably; a proxy in between may have passed a failed request on.
        bills_errors=backend.bills_errors or url != backend.default_url,
    )


def _price(budget: Budget, *, batch: bool = False) -> "ApiPrice":
    from analysis.money import prices

    return prices.find(budget.model, budget.provider, budget.at, tier=prices.BATCH if batch else prices.STANDARD)


@dataclass(frozen=True, slots=True)
class PlanSize:
    """The requests of a plan, warm-up included, and their tokens, with answers at full length.

    None if only time ends the load. `is_counted`: a tokenizer counted the prompts.
    """

    requests: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    is_counted: bool


def size_of(plan: Plan) -> PlanSize:
    """Add up the calls of a plan."""
    count, is_counted = total(plan), plan.vocabulary.exact
    if count is None:
        return PlanSize(None, None, None, is_counted)
    sizes = [lengths(plan, seq) for seq in range(count)]
    return PlanSize(count, sum(prompt for prompt, _ in sizes), sum(output for _, output in sizes), is_counted)


@dataclass(frozen=True, slots=True)
class ApiEstimate:
    """What runs of a plan can cost at most at an API, at whose prices, and the spending limit, in dollars.

    `most_usd` is None if only time ends the load.
    """

    most_usd: Decimal | None
    limit_usd: Decimal
    fits: bool
    provider: str
    model: str
    tier: str
    price: str
    price_list: str
    prices_of: str | None


def estimate(plan: Plan, budget: Budget, *, batch: bool = False, runs: int = 1) -> ApiEstimate:
    """The most that so many runs of a plan can cost."""
    from analysis.money import prices

    price, snapshot = _price(budget, batch=batch), prices.snapshot()
    usd = None if total(plan) is None else runs * most_usd(plan, budget, batch=batch)
    return ApiEstimate(
        usd,
        budget.cap_usd,
        usd is None or usd <= budget.cap_usd,
        price.provider,
        price.model,
        price.tier,
        str(price),
        f"{snapshot.source} {snapshot.version}",
        snapshot.as_of,
    )


def in_a_line(found: ApiEstimate, size: PlanSize, runs: int = 1) -> str:
    """The estimate for so many runs in words."""
    from analysis.wording import dollars

    limit = f"--max-usd {found.limit_usd}"
    source = f"{found.price} ({found.price_list}, prices of {found.prices_of})"
    if found.most_usd is None:
        return f"estimate: as many requests as fit in the time, at {source}; the limit is {limit}"
    counted = "" if size.is_counted else "about "
    each = "" if runs == 1 else f" in each of {runs} runs"
    return (
        f"estimate: at most {counted}{dollars(found.most_usd)} for {size.requests:,} requests{each}, "
        f"{size.prompt_tokens:,} prompt and {size.output_tokens:,} output tokens, at {source}; the limit is "
        f"{limit}{'' if found.fits else BEYOND}"
    )


BEYOND = ", which may not be enough; requests beyond it are not sent, so raise --max-usd"
"""What happens if the most that may be needed exceeds the limit."""


def most_usd(plan: Plan, budget: Budget, *, batch: bool = False) -> Decimal:
    """The most that the requests of a plan can cost, whatever the limit; 0 if only time ends the load."""
    worst_usd = prices_of(budget, batch=batch).worst_usd
    return sum((worst_usd(*lengths(plan, seq)) for seq in range(total(plan) or 0)), Decimal(0))


def _amount(text: str) -> Decimal:
    amount = read(text)
    if amount is None or not 0 < amount <= 1_000_000:
        raise UserError(f"--max-usd: expected dollars such as 0.50, or {NO_CAP}, got {text!r}")
    return amount


def _is_private(url: str) -> bool:
    """Whether an address is private, so that no outside party can be billing for it."""
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan"))
    return address.is_private
