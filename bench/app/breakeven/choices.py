"""Smaller choices beside self-hosting: fine-tune or long prompt, cache or not, batch or live."""

from datetime import datetime
from decimal import Decimal

from analysis.breakeven import calculators
from analysis.breakeven.caching import CachePrices
from analysis.money.api_rules import cache_minimum, provider_rules
from analysis.money.prices import BATCH, find, usd_of
from analysis.present.document import Document
from analysis.present.of_breakeven import of_choice
from bench.app.breakeven.measured import Requests
from bench.app.breakeven.offers import VERSUS, prefix_cache, rates_at, requests_stated
from bench.app.breakeven.options import OFF, BatchChoice, CachingChoice, FineTuneChoice, RequestOptions
from bench.app.breakeven.servers import traffic_of
from bench.types import Usage, UserError

BATCH_HOURS = 24
"""Hours within which a batch is answered, for an API that states none."""


def fine_tune(options: FineTuneChoice) -> Document:
    """After how many requests a fine-tuned model has paid for its training. Raises UserError."""
    found = calculators.fine_tune(options.train_usd, options.prompted_usd, options.tuned_usd)
    return of_choice("the fine-tuned model", found)


def caching(options: CachingChoice, now: datetime) -> Document:
    """From which volume an API's prompt cache pays. Raises UserError."""
    if options.cache_ttl == OFF:
        raise UserError("--cache-ttl off: nothing to compare; expected 5m or 1h")
    price, requests, load = find(options.versus, None, now), _requests(options), traffic_of(options)
    rates = rates_at(price, int(requests.prompt_tokens[0]))
    written = rates.cache_write_1h if options.cache_ttl == "1h" else rates.cache_write_5m
    if rates.cache_read is None:
        raise UserError(
            f"{VERSUS} {price.provider}/{price.model}: no price for cached input is known; choose a model that has one"
        )
    least = cache_minimum(price.model, price.provider)
    if least is None:
        raise UserError(
            f"{VERSUS} {price.provider}/{price.model}: its caching rules are not known; choose a model whose rules are"
        )
    # A prefix too short to be cached is still reported, with that as the reason.
    cached = least.cached_tokens(requests.prefix_tokens) or requests.prefix_tokens
    prices = CachePrices(rates.input, rates.input if written is None else written, rates.cache_read, least.low_tokens)
    found = calculators.prompt_caching(cached, prices, prefix_cache(options, load.traffic))
    return of_choice("the cache", found, load.requests_per_month)


def batch(options: BatchChoice, now: datetime) -> Document:
    """Whether requests that can wait cost no more in a batch. Raises UserError."""
    live, batched, window_h = options.live_usd, options.batch_usd, options.window_h
    if options.versus is not None:
        if live is not None or batched is not None:
            raise UserError("--versus has its own prices: leave out --live-usd and --batch-usd")
        requests = _requests(options)
        usage = Usage(int(requests.prompt_tokens[0]), 0, 0, int(requests.output_tokens[0]), 0)
        price = find(options.versus, None, now)
        live, batched = usd_of(price, usage), usd_of(find(options.versus, None, now, tier=BATCH), usage)
        rules = provider_rules(price.provider)
        window_h = window_h or (Decimal(rules.batch_hours) if rules else None)
    if live is None or batched is None:
        missing = "--live-usd" if live is None else "--batch-usd"
        raise UserError(f"{missing} is missing; expected a number of at least 0, or --versus")
    within_h = float(BATCH_HOURS if window_h is None else window_h)
    return of_choice("a batch", calculators.batch(live, batched, float(options.deadline_h), within_h))


def _requests(options: RequestOptions) -> Requests:
    found = requests_stated(options)
    if found is None:
        raise UserError("the size of a request is not known; give --prompt-tokens and --output-tokens")
    return found
