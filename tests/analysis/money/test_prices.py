import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.money import api_rules, prices
from analysis.money.prices import ApiPrice, Rates, find, usd_of, worst_of
from bench.types import Usage, UserError
from tests.fixtures.pinned_prices import CLAUDE, DAY, pinned
from tests.simulations import few_or_many

BEFORE_BATCHES = datetime(2026, 10, 13, 23, tzinfo=UTC)
W = Usage(prompt_tokens=500, output_tokens=200)


@pytest.fixture(autouse=True)
def pinned_prices() -> Iterator[None]:
    with pinned():
        yield


# --- worked examples: exact --------------------------------------------------------------------------------------


def request_usd(usage: Usage, model: str, provider: str | None, at: datetime, *, batch: bool = False) -> Decimal:
    return usd_of(find(model, provider, at, tier=prices.BATCH if batch else prices.STANDARD), usage)


def worst_usd(
    prompt_tokens: int, output_tokens: int, model: str, provider: str | None, ttl: prices.CacheTtl | None = None
) -> Decimal:
    return worst_of(find(model, provider, DAY), prompt_tokens, output_tokens, ttl)


def test_thirty_thousand_requests_on_sonnet_4_5_cost_135_dollars() -> None:
    price = find("claude-sonnet-4-5", None, DAY)
    assert 30_000 * usd_of(price, W._replace(output_tokens=0)) == Decimal("45.00")
    assert 30_000 * usd_of(price, W._replace(prompt_tokens=0)) == Decimal("90.00")
    assert usd_of(price, W) == Decimal(".0045")


def test_caching_asked_for_below_the_minimum_costs_the_same_and_is_warned_of() -> None:
    asked = W._replace(cached_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)
    assert 30_000 * request_usd(asked, "claude-sonnet-4-5", "anthropic", DAY) == Decimal("135.00")
    warning = api_rules.cache_warning("claude-sonnet-4-5", 500)
    assert warning is not None and warning.startswith("claude-sonnet-4-5 caches no prompt below 1,024 tokens: 500 are")


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("claude-haiku-4-5", "45.00"),
        ("claude-sonnet-5-5", "90.00"),
        ("claude-haiku-5-5", "4.50"),
        ("claude-opus-5-5", "180.00"),
        ("claude-fable-5-2", "360.00"),
    ],
)
def test_the_same_requests_on_other_models(model: str, usd: str) -> None:
    assert 30_000 * request_usd(W, model, "anthropic", DAY) == Decimal(usd)
    assert 30_000 * request_usd(W, model, "anthropic", DAY, batch=True) == Decimal(usd) / 2


@pytest.mark.parametrize(("prompt_tokens", "usd"), [(100_000, ".01005"), (100_001, ".0502505")])
def test_one_token_over_the_threshold_makes_the_whole_request_five_times_as_dear(prompt_tokens: int, usd: str) -> None:
    usage = Usage(prompt_tokens=prompt_tokens, output_tokens=100)
    assert request_usd(usage, "claude-haiku-5-5", None, DAY) == Decimal(usd)


def test_every_part_of_a_cached_request_is_billed_at_its_own_price() -> None:
    usage = Usage(
        prompt_tokens=100 + 1500 + 500 + 30_000,
        cached_tokens=30_000,
        cache_write_tokens=2000,
        cache_write_1h_tokens=500,
        output_tokens=200,
    )
    assert request_usd(usage, "claude-sonnet-4-5", None, DAY) == Decimal(".020925")
    assert request_usd(usage, "claude-sonnet-4-5", None, DAY, batch=True) == Decimal(".020925") / 2


def test_requests_are_priced_one_by_one_and_not_as_one_long_one() -> None:
    price = find("claude-sonnet-4-5", None, DAY)
    at_once = Usage(prompt_tokens=30_000 * 500, output_tokens=30_000 * 200)
    assert usd_of(price, at_once) == Decimal("225")
    assert sum((usd_of(price, W) for _ in range(30_000)), Decimal(0)) == Decimal("135")


# --- usage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["prompt_tokens", "output_tokens"])
def test_a_usage_without_its_tokens_is_an_error_and_not_free(missing: str) -> None:
    with pytest.raises(ValueError, match="without prompt and output tokens"):
        request_usd(W._replace(**{missing: None}), "claude-haiku-4-5", None, DAY)


def test_cached_tokens_that_a_server_does_not_tell_are_none() -> None:
    told = W._replace(cached_tokens=0, cache_write_tokens=0, cache_write_1h_tokens=0)
    assert request_usd(W, "claude-haiku-4-5", None, DAY) == request_usd(told, "claude-haiku-4-5", None, DAY)


@pytest.mark.parametrize(
    "parts",
    [
        {"cached_tokens": 501},
        {"cached_tokens": 300, "cache_write_tokens": 201},
        {"cache_write_1h_tokens": 1},
        {"output_tokens": -1},
    ],
)
def test_parts_that_are_more_than_the_whole_are_an_error(parts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="parts exceed the whole"):
        request_usd(W._replace(**parts), "claude-haiku-4-5", None, DAY)


def test_what_has_no_price_of_its_own_is_billed_as_input() -> None:
    cached = Usage(prompt_tokens=500, cached_tokens=400, output_tokens=0)
    assert request_usd(cached, "openrouter/qwen/qwen3-14b", None, DAY) == 500 * Decimal(".12") / 1_000_000


def test_writes_for_an_hour_without_a_price_are_an_error_where_writes_have_one() -> None:
    usage = Usage(prompt_tokens=500, cache_write_tokens=100, cache_write_1h_tokens=100, output_tokens=1)
    with pytest.raises(UserError, match="openai/gpt-9: the price list has no price for cache writes that last 1 hour"):
        request_usd(usage, "gpt-9", None, DAY)
    with pytest.raises(UserError, match="last 1 hour"):
        worst_usd(500, 1, "gpt-9", None, "1h")


def test_a_price_by_the_request_is_added_and_reasoning_has_its_own_where_it_is_told() -> None:
    assert request_usd(W, "sonar", "perplexity", DAY) == Decimal(".0127")
    deep = find("sonar-deep", "perplexity", DAY)
    assert usd_of(deep, W._replace(reasoning_tokens=150)) == Decimal("0.00185")
    with pytest.raises(ValueError, match="without reasoning tokens"):
        usd_of(deep, W)


@few_or_many("share", 4, 1)
def test_every_model_the_library_knows_is_found_by_its_name_and_costs_what_the_library_says(share: int) -> None:
    """Of every model, or of each fourth."""
    data_snapshot.set_custom_snapshot(None)
    rng, priced = random.Random(5), 0
    for provider in data_snapshot.get_snapshot().providers:
        for price in list(prices.of_provider(provider.id, DAY))[::share]:
            info = next(info for info in provider.models if info.id == price.model)
            read, written, output = rng.choice((0, 9, 250_000)), rng.randrange(3000), rng.randrange(4000)
            written_1h = rng.randrange(written + 1) if price.rates[0].cache_write_1h is not None else 0
            prompt, reasoning = read + written + rng.randrange(300_000), rng.randrange(output + 1)
            theirs = genai_prices.Usage(
                input_tokens=prompt,
                cache_read_tokens=read,
                cache_write_tokens=written,
                cache_write_1h_tokens=written_1h,
                output_tokens=output,
                output_reasoning_tokens=reasoning,
            )
            ours = usd_of(price, Usage(prompt, read, written, output, reasoning, written_1h))
            assert ours == info.calc_price(theirs, provider, genai_request_timestamp=DAY).total_price, price
            assert find(f"{price.provider}/{price.model}", None, DAY) == price
            priced += 1
    assert priced > 500 / share


# --- the worst case -----------------------------------------------------------------------------------------------

RATE = st.decimals(0, 100, places=3)


@st.composite
def api_prices(draw: st.DrawFn) -> ApiPrice:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 2000), max_size=3)))]
    apart, written = st.none() | RATE, RATE if draw(st.booleans()) else st.none()
    rates = tuple(
        Rates(start, draw(RATE), draw(RATE), draw(apart), draw(written), draw(written), draw(apart)) for start in starts
    )
    return ApiPrice(draw(st.sampled_from(["anthropic", "openai"])), "m", "standard", rates, draw(RATE))


@st.composite
def usages(draw: st.DrawFn, prompt_tokens: int, max_output_tokens: int, ttl: prices.CacheTtl | None) -> Usage:
    prompt = draw(st.integers(0, prompt_tokens))
    written = draw(st.integers(0, prompt)) if ttl else 0
    output = draw(st.integers(0, max_output_tokens))
    return Usage(
        prompt_tokens=prompt,
        cached_tokens=draw(st.integers(0, prompt - written)),
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)) if ttl == "1h" else 0,
        output_tokens=output,
        reasoning_tokens=draw(st.integers(0, output)),
    )


@settings(deadline=None)
@given(st.data(), api_prices(), st.integers(0, 3000), st.integers(0, 500), st.sampled_from([None, "5m", "1h"]))
def test_no_usage_within_the_bounds_costs_more_than_the_worst_case(
    data: st.DataObject, price: ApiPrice, prompt: int, output: int, ttl: prices.CacheTtl | None
) -> None:
    usage = data.draw(usages(prompt, output, ttl))
    assert usd_of(price, usage) <= worst_of(price, prompt, output, ttl)


@settings(deadline=None)
@given(api_prices(), st.integers(0, 3000), st.integers(0, 500), st.integers(0, 3000), st.sampled_from([None, "5m"]))
def test_the_worst_case_never_falls_when_either_bound_grows(
    price: ApiPrice, prompt: int, output: int, more: int, ttl: prices.CacheTtl | None
) -> None:
    worst = worst_of(price, prompt, output, ttl)
    assert worst <= worst_of(price, prompt + more, output, ttl)
    assert worst <= worst_of(price, prompt, output + more, ttl)


@pytest.mark.parametrize(
    ("prompt_tokens", "ttl", "usd"),
    [
        (100_000, None, ".01005"),
        (100_001, None, ".0502505"),
        (100_000, "5m", ".01255"),
        (100_000, "1h", ".02005"),
    ],
)
def test_the_worst_case_is_the_dearest_way_to_bill_the_prompt(
    prompt_tokens: int, ttl: prices.CacheTtl | None, usd: str
) -> None:
    assert worst_usd(prompt_tokens, 100, "claude-haiku-5-5", "anthropic", ttl) == Decimal(usd)


def test_where_caching_is_not_asked_for_a_cache_write_may_still_be_billed() -> None:
    assert worst_usd(1_000_000, 0, "gpt-9", "openai") == Decimal("2.5")
    assert worst_usd(1_000_000, 0, "claude-opus-5", "anthropic") == Decimal("5")


# --- what the list knows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", CLAUDE)
def test_a_price_shows_its_columns(model: str) -> None:
    price = find(model, "anthropic", DAY)
    assert (price.provider, price.model, price.tier) == ("anthropic", model, "standard")
    (rates,) = price.rates
    columns = (rates.input, rates.cache_write_5m, rates.cache_write_1h, rates.cache_read, rates.output)
    assert columns == tuple(map(Decimal, CLAUDE[model]))


@pytest.mark.parametrize(
    ("name", "provider", "found"),
    [
        ("claude-haiku-4-5-20251001", None, "anthropic/claude-haiku-4-5"),
        ("anthropic/claude-haiku-4-5", None, "anthropic/claude-haiku-4-5"),
        ("anthropic/claude-haiku-4-5", "anthropic", "anthropic/claude-haiku-4-5"),
        ("openrouter/qwen/qwen3-14b", None, "openrouter/qwen/qwen3-14b"),
        ("Qwen/Qwen3-14B", "openrouter", "openrouter/qwen/qwen3-14b"),
    ],
)
def test_a_model_is_found_with_and_without_its_provider(name: str, provider: str | None, found: str) -> None:
    price = find(name, provider, DAY)
    assert f"{price.provider}/{price.model}" == found


@pytest.mark.parametrize(
    ("name", "provider", "message"),
    [
        (
            "claude-hauku-4-5",
            None,
            "model 'claude-hauku-4-5': no price is known; did you mean anthropic/claude-haiku-4-5",
        ),
        ("claude-hauku-4-5", "anthropic", "no price is known at anthropic; did you mean claude-haiku-4-5 or "),
        ("qwen3-14b", None, "model 'qwen3-14b': no price is known; did you mean openrouter/qwen/qwen3-14b?"),
        ("tiny", None, "model 'tiny': no price is known; see: bench.py prices TEXT"),
        ("claude-haiku-4-5", "antropic", "provider 'antropic': not in the price list; did you mean 'anthropic'?"),
        ("text-embedding", "openai", "openai/text-embedding: the price list has no price for its prompt and output"),
        ("gpt-9-text", "openai", "openai/gpt-9-text: is also billed by output_text_mtok, which this version cannot"),
    ],
)
def test_what_is_not_known_is_an_error_that_offers_near_names(name: str, provider: str | None, message: str) -> None:
    with pytest.raises(UserError) as raised:
        find(name, provider, DAY)
    assert message in str(raised.value)


def test_a_batch_before_the_list_knows_its_price_is_an_error_and_not_the_standard_price() -> None:
    with pytest.raises(UserError, match="claude-haiku-4-5: no price of tier 'batch' is known on 2026-10-13"):
        request_usd(W, "claude-haiku-4-5", None, BEFORE_BATCHES, batch=True)


def test_a_service_tier_has_its_own_price_or_none() -> None:
    assert find("gpt-9", None, DAY, tier="flex").rates[0].input == 1
    with pytest.raises(UserError, match="no price of tier 'flexx' is known"):
        find("gpt-9", None, DAY, tier="flexx")


def test_models_are_listed_by_provider_and_by_any_text_without_those_that_bill_otherwise() -> None:
    assert [price.model for price in prices.of_provider("openai", DAY)] == ["gpt-9"]
    assert [price.model for price in prices.search("QWEN3", DAY)] == ["qwen/qwen3-14b"]
    assert {price.provider for price in prices.search("son", DAY)} == {"anthropic", "perplexity"}


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.anthropic.com/v1/messages", "anthropic"),
        ("https://API.OpenAI.com/v1", "openai"),
        ("http://127.0.0.1:8000", None),
        ("http://api.anthropic.com.example", None),
    ],
)
def test_a_provider_is_known_by_its_address(url: str, provider: str | None) -> None:
    assert prices.provider_of_url(url) == provider


def test_a_price_says_in_words_what_it_is() -> None:
    assert str(find("claude-opus-5", None, DAY)) == "anthropic/claude-opus-5 at $5.00 in, $25.00 out per million tokens"
    assert str(find("claude-haiku-5-5", None, DAY, tier="batch")) == (
        "anthropic/claude-haiku-5-5 at $0.05 in, $0.25 out per million tokens (more above 100,000 prompt tokens), batch"
    )


def test_the_snapshot_is_of_the_version_installed_and_has_a_date_only_where_it_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert prices.snapshot().version == version("genai-prices")
    monkeypatch.setattr(prices, "version", lambda _: "0.2.3")
    assert prices.snapshot() == ("genai-prices", "0.2.3", "2026-11-10")
    monkeypatch.setattr(prices, "version", lambda _: "99.0")
    assert prices.snapshot().as_of is None
