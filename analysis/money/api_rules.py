"""What the price list lacks: the APIs' own rules, from api_rules.yaml, each with its date and source."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

_FILE = Path(__file__).parent / "api_rules.yaml"
_WHOSE = ("models", "providers", "models_begin")
_DATED_NAME = re.compile(r"-20\d{6}$")


@dataclass(frozen=True, slots=True)
class CacheMinimum:
    """The shortest prompt that a model caches; `low_tokens` and `high_tokens` differ if sources disagree.

    Beyond it, the cached length grows in steps of `step_tokens`.
    """

    low_tokens: int
    high_tokens: int
    confidence: Literal["documented", "disputed", "assumed"]
    read_on: date
    source: str
    step_tokens: int = 1

    def cached_tokens(self, prompt_tokens: int) -> int:
        """How many tokens of a prompt with that many shared ones are cached; all of them if sources disagree."""
        if prompt_tokens < self.low_tokens:
            return 0
        return prompt_tokens - (prompt_tokens - self.low_tokens) % self.step_tokens


@dataclass(frozen=True, slots=True)
class Retirement:
    """The first day on which a model is no longer served or, unless `fixed`, the earliest possible such day."""

    day: date
    fixed: bool


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """Rules for all models of a provider; `us_only_price_factor` is for inference kept in the United States."""

    cache_ttls: tuple[str, ...]
    cache_breakpoints: int
    batch_price_factor: Decimal
    batch_requests: int
    batch_bytes: int
    batch_hours: int
    us_only_price_factor: Decimal
    read_on: date
    source: str


def released(version: str) -> date | None:
    """When this version of the price list was published; None for an unknown version."""
    day: date | None = _rules()["price_list"]["released"].get(version)
    return day


def cache_minimum(model: str, provider: str | None = None) -> CacheMinimum | None:
    """The shortest prompt that a model caches at a provider, None if unknown."""
    name = _name(model)
    for row in _rules()["cache_minimums"]:
        at_provider = provider in row.get("providers", ()) and name.startswith(tuple(row["models_begin"]))
        if name in row.get("models", ()) or at_provider:
            return CacheMinimum(**{key: value for key, value in row.items() if key not in _WHOSE})
    return None


def cache_warning(model: str, prompt_tokens: int, provider: str | None = None) -> str | None:
    """A note for a user who asked to cache a prompt that may be too short for it; None if it is long enough."""
    minimum = cache_minimum(model, provider)
    if minimum is None or prompt_tokens >= minimum.high_tokens:
        return None
    low, high = f"{minimum.low_tokens:,}", f"{minimum.high_tokens:,}"
    origin = f"{minimum.confidence}, {minimum.source}, read on {minimum.read_on}"
    if prompt_tokens < minimum.low_tokens:
        return f"{model} caches no prompt below {low} tokens: {prompt_tokens:,} are billed as plain input ({origin})"
    return f"{model} may not cache {prompt_tokens:,} tokens: its minimum is {low} to {high} ({origin})"


def retirement(model: str) -> Retirement | None:
    """When a model is withdrawn, None if unknown."""
    rules, name = _rules()["retirements"], _name(model)
    if name in rules["retires_on"]:
        return Retirement(rules["retires_on"][name], fixed=True)
    return Retirement(rules["not_before"][name], fixed=False) if name in rules["not_before"] else None


def provider_rules(provider: str) -> ProviderRules | None:
    """The rules for all models of a provider, None if unknown."""
    for row in _rules()["providers"]:
        if row["provider"] == provider:
            exact = {key: Decimal(str(row[key])) for key in ("batch_price_factor", "us_only_price_factor")}
            fields = {key: value for key, value in row.items() if key != "provider"}
            return ProviderRules(**(fields | exact | {"cache_ttls": tuple(row["cache_ttls"])}))
    return None


def _name(model: str) -> str:
    return _DATED_NAME.sub("", model.lower().removeprefix("anthropic/"))


@cache
def _rules() -> dict[str, Any]:
    rules: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return rules
