"""From options to the APIs that self-hosting is compared with: the price of a request at any volume."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.breakeven.caching import PrefixCache, replay
from analysis.breakeven.states import PriceCurve
from analysis.breakeven.traffic import Traffic, weights
from analysis.money.api_rules import cache_minimum, cache_warning, retirement
from analysis.money.gpu_prices import OLD_AFTER_DAYS
from analysis.money.numbers import decimal, exact
from analysis.money.prices import BATCH, STANDARD, ApiPrice, Rates, find, snapshot, usd_of
from analysis.run.sections import PriceSource
from analysis.stats.distributions import Floats
from analysis.stats.uncertainty import interval_draws, mean_draws
from bench.app.breakeven.measured import MeasuredRun, Requests, read_run, requests_of, warnings_of
from bench.app.breakeven.options import OFF, BreakEvenOptions, CachingOptions, RequestOptions
from bench.app.breakeven.servers import MonthlyTraffic
from bench.app.listing import folder_of
from bench.app.options import USD
from bench.numeric import read
from bench.plan.resolve import within
from bench.types import Usage, UserError

VERSUS = "--versus"
TTLS_S = {"5m": 300.0, "1h": 3600.0}


class Offer(NamedTuple):
    """An API: the mean price of a request as a function of requests per month.

    `curve` is that price over volumes, None if it is constant; then any volume may be asked for, and None means
    "settled". `draws` resamples the mean, None if the price was stated rather than measured; `requests` were priced for
    it.
    """

    name: str
    usd: Callable[[int | None], Decimal]
    draws: "Callable[[int | None, np.random.Generator], Floats | None]"
    requests: int
    warnings: tuple[str, ...]
    curve: PriceCurve | None = None


def runs_of(specs: Sequence[str]) -> dict[str, MeasuredRun]:
    """Read the alternatives that are run folders, with or without a name."""
    places = {spec: Path(folder_of(_named(spec)[1], "run")) for spec in specs}
    return {spec: read_run(place, VERSUS) for spec, place in places.items() if place.is_dir()}


def _named(spec: str) -> tuple[str, str]:
    """(the name or "", the rest) of `NAME=RUN`; a path that exists is a folder even with `=` in it."""
    name, equals, rest = spec.partition("=")
    return (name, rest) if equals and not Path(spec).exists() else ("", spec)


def requests_stated(options: RequestOptions) -> Requests | None:
    """The requests that the options describe; None if they do not."""
    prompt, output = options.prompt_tokens, options.output_tokens
    if prompt is None and output is None:
        return None
    if prompt is None or output is None:
        raise UserError("--prompt-tokens and --output-tokens: expected both; give the missing one too")
    prefix = within("--prefix-tokens", options.prefix_tokens or 0, 0, prompt)
    return Requests(np.array([prompt]), np.array([output]), prefix)


def requests_measured(runs: Sequence[MeasuredRun], options: RequestOptions) -> Requests:
    """The requests of these runs, with the options' prefix if given. Raises UserError if there are none."""
    found = requests_of(runs) if runs else None
    if found is None:
        raise UserError("the size of a request is not known; give --prompt-tokens and --output-tokens")
    stated = options.prefix_tokens
    return found if stated is None else found._replace(prefix_tokens=stated)


# --- a run ------------------------------------------------------------------------------------------------------


def of_run(run: MeasuredRun, spec: str) -> Offer:
    """What a measured run of an API cost, each request by its own usage; `spec` may name it.

    Raises UserError if that is not known.
    """
    cost = run.summary.cost
    usd = cost.usd_per_request if cost else None
    if cost is None or cost.basis != "api" or usd is None:
        reason = "; ".join(cost.notes if cost else ()) or "it was made on a server that bills nobody"
        raise UserError(f"{VERSUS} {run.folder}: the cost of a request is not known: {reason}")
    low, high = cost.ci95["usd_per_request"]
    name = _named(spec)[0] or f"{run.run.model} (measured)"
    prices = cost.prices or PriceSource()
    dated = f"at the prices of the day of the run, {run.run.created_at[:10]} ({prices.source} {prices.version})"

    def draws(_: int | None, rng: np.random.Generator) -> Floats | None:
        return None if low is None or high is None else interval_draws(low, high, rng)

    count = run.summary.metric("prompt_tokens").count
    return Offer(name, lambda _: Decimal(str(usd)), draws, count, (dated, *warnings_of(run)))


# --- a price ----------------------------------------------------------------------------------------------------


def of_price(spec: str) -> Offer | None:
    """A stated price per request; None if the text is not a number."""
    if read(spec) is None and spec.strip().lower() != "nan":
        return None
    usd = USD.of("--versus: price per request", spec)
    return Offer(f"${usd:f} a request", lambda _: usd, lambda *_: None, 0, ())


def of_model(spec: str, requests: Requests, load: MonthlyTraffic, options: BreakEvenOptions, now: datetime) -> Offer:
    """MODEL or PROVIDER/MODEL: each request at today's prices."""
    price = find(spec, None, now, tier=BATCH if options.batch else STANDARD)
    cache, notes = _cache_of(price, requests, load.traffic, options)
    name = f"{price.provider}/{price.model}{', batch' if options.batch else ''}"
    warnings = [*_about_prices(price, now.date()), *_about_tokens(requests, price), *notes]
    values = partial(_values, price, requests, options.cache_ttl)
    if cache is None:
        plain, each = values(None)
        return Offer(name, lambda _: plain, _resampled(lambda _: each, requests), len(each), tuple(warnings))
    # Priced once as if all hit and once as if all missed: any hit rate lies linearly between the two.
    (hit, each_hit), (miss, each_miss) = values(hit=True), values(hit=False)
    if load.trace is not None:
        prefixes = load.trace.prefixes if load.trace.prefixes is not None else [0] * len(load.trace.arrivals_s)
        hits = replay(load.trace.arrivals_s, prefixes, cache.ttl_s, cache.readable_after_s)
        h = Fraction(int(hits.sum()), len(hits))
        warnings.append(f"the prefix's hit rate is taken from the trace at every volume: {float(h):.1%}")
        mean = _mix(hit, miss, h)
        each = each_miss + float(h) * (each_hit - each_miss)
        return Offer(name, lambda _: mean, _resampled(lambda _: each, requests), len(each), tuple(warnings))

    def usd(volume: int | None) -> Decimal:
        return hit if volume is None else _mix(hit, miss, Fraction(float(cache.hit_rate(volume))))

    def each_at(volume: int | None) -> Floats:
        rate = 1.0 if volume is None else float(cache.hit_rate(volume))
        return each_miss + rate * (each_hit - each_miss)

    def curve(volumes: Floats) -> Floats:
        return float(miss) + cache.hit_rate(volumes) * float(hit - miss)

    draws = _resampled(each_at, requests)
    return Offer(name, usd, draws, len(each_hit), tuple(warnings), PriceCurve(curve, cache.settled_at, hit))


def _mix(hit: Decimal, miss: Decimal, h: Fraction) -> Decimal:
    return decimal(h * exact(hit) + (1 - h) * exact(miss))


def _values(price: ApiPrice, requests: Requests, ttl: str, hit: bool | None) -> "tuple[Decimal, Floats]":
    """The exact mean price of the requests, and each one's, with the prefix hit, written, or (None) neither.

    Many requests are alike: each kind is priced once, in the tier of its own length.
    """
    minimum = cache_minimum(price.model, price.provider)
    pairs = list(zip(requests.prompt_tokens.tolist(), requests.output_tokens.tolist(), strict=True))
    kinds = Counter(pairs)
    usd = {}
    for prompt, output in kinds:
        shared = min(prompt, requests.prefix_tokens)
        prefix = 0 if hit is None or minimum is None else minimum.cached_tokens(shared)
        read, written = (prefix, 0) if hit else (0, prefix)
        usage = Usage(prompt, read, written, output, 0, written if ttl == "1h" else 0)
        usd[prompt, output] = usd_of(price, usage)
    mean = decimal(sum(exact(usd[kind]) * count for kind, count in kinds.items()) / Fraction(len(pairs)))
    return mean, np.array([float(usd[pair]) for pair in pairs])


def _resampled(each_at: "Callable[[int | None], Floats]", requests: Requests) -> Any:
    """Draws of the mean of measured requests; none for a single stated one."""

    def draws(volume: int | None, rng: np.random.Generator) -> Floats | None:

        if requests.counted_for is None or len(requests.prompt_tokens) < 2:
            return None
        return mean_draws(each_at(volume), rng, requests.clusters)

    return draws


# --- caching ----------------------------------------------------------------------------------------------------


def prefix_cache(options: CachingOptions, traffic: Traffic) -> PrefixCache:
    """The cache that the options describe. Raises UserError for weights that are not numbers."""
    shares = weights(options.prefix_weights, "--prefix-weights") if options.prefix_weights else [1]
    return PrefixCache(TTLS_S[options.cache_ttl], tuple(shares), float(options.cache_delay), traffic)


def rates_at(price: ApiPrice, prompt_tokens: int) -> Rates:
    """The rates that apply to a prompt of that length."""
    return [rates for rates in price.rates if prompt_tokens > rates.above_tokens or not rates.above_tokens][-1]


def _cache_of(
    price: ApiPrice, requests: Requests, traffic: Traffic, options: CachingOptions
) -> "tuple[PrefixCache | None, list[str]]":
    """The cache, None if none was asked for or nothing can be cached, and notes about it."""
    if options.cache_ttl == OFF or not requests.prefix_tokens:
        asked = options.cache_delay or options.prefix_weights
        return None, ["nothing is cached: the requests share no prefix (--prefix-tokens)"] if asked else []
    if price.rates[0].cache_read is None:
        return None, [f"nothing is cached: {price.model} has no price for cached input"]
    minimum = cache_minimum(price.model, price.provider)
    if minimum is None:
        return None, [f"the caching rules of {price.provider}/{price.model} are not known; priced without caching"]
    warning = cache_warning(price.model, requests.prefix_tokens, price.provider)
    notes = [warning] if warning else []
    if not minimum.cached_tokens(requests.prefix_tokens):
        return None, notes
    return prefix_cache(options, traffic), notes


# --- what there is to say -----------------------------------------------------------------------------------------


def _about_prices(price: ApiPrice, today: date) -> list[str]:
    notes = []
    as_of = snapshot().as_of
    if as_of and (age := (today - date.fromisoformat(as_of)).days) > OLD_AFTER_DAYS:
        notes.append(f"the API prices are {age} days old ({as_of})")
    end = retirement(price.model)
    if end is not None and end.fixed:
        notes.append(f"its vendor {'withdrew' if end.day <= today else 'will withdraw'} {price.model} on {end.day}")
    return notes


def _about_tokens(requests: Requests, price: ApiPrice) -> list[str]:
    notes = []
    if requests.counted_for is not None and requests.counted_for != price.model:
        notes.append(
            f"tokens were counted by {requests.counted_for}; {price.model} may count up to 30% more for the same "
            "text, and bills its thinking; measure it to be sure"
        )
    above = price.rates[1].above_tokens if len(price.rates) > 1 else None
    if above is not None and (longer := int((requests.prompt_tokens > above).sum())):
        share = longer / len(requests.prompt_tokens)
        notes.append(f"{share:.0%} of the prompts are longer than {above:,} tokens and billed at the higher tier")
    return notes
