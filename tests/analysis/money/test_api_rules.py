from datetime import date
from decimal import Decimal

import pytest
import yaml

from analysis.money import api_rules
from analysis.money.api_rules import Retirement, cache_minimum, cache_warning, provider_rules, released, retirement

RULES = yaml.safe_load(api_rules._FILE.read_text())


@pytest.mark.parametrize(
    ("model", "low", "high"),
    [
        ("claude-haiku-5-5", 512, 512),
        ("claude-sonnet-4-5", 1024, 1024),
        ("claude-sonnet-4-5-20250929", 1024, 1024),
        ("anthropic/claude-haiku-4-5", 4096, 4096),
        ("claude-sonnet-4-6", 1024, 2048),
    ],
)
def test_a_model_caches_from_its_minimum_on_and_unknown_where_sources_disagree(model: str, low: int, high: int) -> None:
    minimum = cache_minimum(model)
    assert minimum is not None and (minimum.low_tokens, minimum.high_tokens) == (low, high)
    assert cache_warning(model, high) is None and cache_warning(model, low - 1) is not None


def test_of_other_models_no_minimum_is_known() -> None:
    assert cache_minimum("gpt-9") is None


def test_a_warning_names_the_minimum_its_source_and_its_date() -> None:
    assert cache_warning("claude-haiku-4-5", 4096) is None
    assert cache_warning("gpt-9", 1) is None
    assert cache_warning("claude-haiku-4-5", 500) == (
        "claude-haiku-4-5 caches no prompt below 4,096 tokens: 500 are billed as plain input "
        "(documented, platform.claude.com/docs/en/build-with-claude/prompt-caching, read on 2026-10-08)"
    )
    disputed = cache_warning("claude-sonnet-4-6", 1500)
    assert disputed is not None
    assert disputed.startswith(
        "claude-sonnet-4-6 may not cache 1,500 tokens: its minimum is 1,024 to 2,048 (disputed, "
    )


def test_a_retirement_has_its_day_or_one_before_which_it_will_not_be() -> None:
    assert retirement("claude-sonnet-4-5-20250929") == Retirement(date(2026, 11, 30), fixed=True)
    assert retirement("claude-haiku-5-5") == Retirement(date(2027, 10, 7), fixed=False)
    assert retirement("gpt-9") is None


def test_a_provider_s_limits_are_exact() -> None:
    rules = provider_rules("anthropic")
    assert rules is not None
    assert (rules.cache_ttls, rules.cache_breakpoints) == (("5m", "1h"), 4)
    assert (rules.batch_price_factor, rules.us_only_price_factor) == (Decimal("0.5"), Decimal("1.1"))
    assert provider_rules("openai") is None


def test_the_date_of_a_release_of_the_price_list_is_known_or_none() -> None:
    assert released("0.2.3") == date(2026, 11, 10)
    assert released("0.0.1") is None


def test_every_rule_has_its_source_and_date_and_no_model_two_minimums() -> None:
    dated = [*RULES["cache_minimums"], RULES["retirements"], *RULES["providers"]]
    assert all(isinstance(row["read_on"], date) and row["source"] for row in dated)
    models = [model for row in RULES["cache_minimums"] for model in row.get("models", ())]
    assert len(models) == len(set(models))
    for row in RULES["cache_minimums"]:
        assert 512 <= row["low_tokens"] <= row["high_tokens"] <= 4096
        assert (row["low_tokens"] == row["high_tokens"]) == (row["confidence"] == "documented")
