"""`bench.py breakeven fine-tune`, `caching` and `batch`: small choices beside self-hosting, with the same answers."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import with_options
from bench.cli.breakeven.servers import TRAFFIC, load_of
from bench.cli.breakeven.versus import CACHING, OFF, REQUESTS, VERSUS
from bench.cli.numeric import HOURS, MONTHLY_USD, USD
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.breakeven.volumes import BreakEven
    from analysis.money.prices import ApiPrice
    from bench.cli.breakeven.measured import Requests

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("fine-tune")
@click.option("--train-usd", type=MONTHLY_USD, required=True, help="What training costs, once.")
@click.option("--prompted-usd", type=USD, required=True, help="A request with the long prompt.")
@click.option("--tuned-usd", type=USD, required=True, help="A request to the tuned model.")
@JSON
def fine_tune(train_usd: Any, prompted_usd: Any, tuned_usd: Any, as_json: bool) -> None:
    """After how many requests a fine-tuned model is repaid.

    On servers of your own that cache prefixes a long prompt costs little: give measured amounts.

    \b
    bench.py breakeven fine-tune --train-usd 120 --prompted-usd 0.0045 --tuned-usd 0.0030
    """
    from analysis.breakeven import calculators

    _show("the fine-tuned model", calculators.fine_tune(train_usd, prompted_usd, tuned_usd), as_json)


@click.command()
@click.option("--versus", required=True, help="MODEL or PROVIDER/MODEL.")
@with_options((*REQUESTS, *CACHING, *TRAFFIC))
@JSON
def caching(**options: Any) -> None:
    """From which volume on an API's prompt cache pays.

    \b
    bench.py breakeven caching --versus claude-haiku-5-5 --prompt-tokens 3000 --prefix-tokens 2500 --output-tokens 200
    """
    from analysis.breakeven import calculators
    from analysis.breakeven.caching import CachePrices, Tokens
    from analysis.money import prices
    from analysis.money.api_rules import cache_minimum
    from bench.cli.breakeven.versus import prefix_cache, rates_at

    if options["cache_ttl"] == OFF:
        raise UserError("--cache-ttl off: there is nothing to compare; expected 5m or 1h")
    price, requests, load = prices.find(options["versus"], None, _now()), _requests(options), load_of(options)
    prompt, output = int(requests.prompt_tokens[0]), int(requests.output_tokens[0])
    rates = rates_at(price, prompt)
    written = rates.cache_write_1h if options["cache_ttl"] == "1h" else rates.cache_write_5m
    if rates.cache_read is None:
        raise UserError(f"{VERSUS} {price.provider}/{price.model}: has no price for cached input")
    least = cache_minimum(price.model, price.provider)
    if least is None:
        raise UserError(
            f"{VERSUS} {price.provider}/{price.model}: how it caches is not known here, so nothing can be said"
        )
    # What is too short to be cached is left as it is, for the reason that is given.
    cached = least.cached_tokens(requests.prefix_tokens) or requests.prefix_tokens
    found = calculators.prompt_caching(
        Tokens(prompt - cached, cached, output),
        CachePrices(
            rates.input,
            rates.input if written is None else written,
            rates.cache_read,
            rates.output,
            least.low_tokens,
        ),
        prefix_cache(options, load.traffic),
    )
    _show("the cache", found, options["as_json"], load.requests_per_month)


@click.command()
@click.option("--versus", help="MODEL or PROVIDER/MODEL; or give both amounts.")
@with_options(REQUESTS)
@click.option("--live-usd", type=USD, help="A request, answered at once.")
@click.option("--batch-usd", type=USD, help="A request in a batch.")
@click.option("--deadline-h", type=HOURS, required=True, help="Hours in which an answer is wanted.")
@click.option("--window-h", type=HOURS, help="Hours that a batch may take.  [the API's, else 24]")
@JSON
def batch(**options: Any) -> None:
    """Whether requests that can wait belong into a batch.

    \b
    bench.py breakeven batch --versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200 --deadline-h 48
    """
    from analysis.breakeven import calculators
    from analysis.money.api_rules import provider_rules

    live, batched, window_h = options["live_usd"], options["batch_usd"], options["window_h"]
    if options["versus"] is not None:
        if live is not None or batched is not None:
            raise UserError("--versus has its own prices: leave out --live-usd and --batch-usd")
        price, live, batched = _both_prices(options)
        rules = provider_rules(price.provider)
        window_h = window_h or (rules.batch_hours if rules else None)
    found = calculators.batch(live, batched, options["deadline_h"], 24 if window_h is None else window_h)
    _show("a batch", found, options["as_json"])


def _both_prices(options: dict[str, Any]) -> "tuple[ApiPrice, Any, Any]":
    from analysis.money.prices import BATCH, find, usd_of
    from bench.types import Usage

    requests, now = _requests(options), _now()
    usage = Usage(int(requests.prompt_tokens[0]), 0, 0, int(requests.output_tokens[0]), 0)
    live, batched = find(options["versus"], None, now), find(options["versus"], None, now, tier=BATCH)
    return live, usd_of(live, usage), usd_of(batched, usage)


def _requests(options: dict[str, Any]) -> "Requests":
    from bench.cli.breakeven.versus import requests_stated

    found = requests_stated(options)
    if found is None:
        raise UserError("what a request is is not known: give --prompt-tokens and --output-tokens")
    return found


def _now() -> datetime:
    return datetime.now(UTC)


def _show(what: str, found: "BreakEven", as_json: bool, volume: int | None = None) -> None:
    from analysis.present.of_breakeven import of_choice
    from bench.cli.breakeven import answer as answers
    from bench.cli.output import deliver

    pays = None if volume is None else found.holds(volume)
    content = {"schema": 1, "answer": answers.answer(found), "requests_per_month": volume, "pays": pays}
    deliver(of_choice(what, content), "text", as_json=as_json)
