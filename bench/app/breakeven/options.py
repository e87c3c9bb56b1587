"""A comparison as the user states it: the same names and values as flags and as keyword arguments."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal

from bench.app.options import USD, HourOptions
from bench.numeric import Range

CacheTtlOption = Literal["5m", "1h", "off"]
OFF: Final = "off"

Usd = Annotated[Decimal, USD]
MonthlyUsd = Annotated[Decimal, Range("1e-6", 10**9, or_zero=True)]
"""Dollars, per month or once."""
Part = Annotated[Decimal, Range("1e-6", 1)]
"""A share above 0."""
Tokens = Annotated[int, Range(0, 10**7, whole=True)]
Replicas = Annotated[int, Range(0, 10**6, whole=True)]
Seconds = Annotated[Decimal, Range("1e-3", 86_400, or_zero=True)]
Hours = Annotated[Decimal, Range("1e-3", 10**5)]


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """The size of a request; None takes it from measured runs."""

    prompt_tokens: Annotated[int, Range(1, 10**7, whole=True)] | None = None
    output_tokens: Tokens | None = None
    prefix_tokens: Tokens | None = None


@dataclass(frozen=True, kw_only=True)
class CachingOptions:
    """How an API caches the prefix."""

    cache_ttl: CacheTtlOption = "5m"
    prefix_weights: str | None = None
    cache_delay: Seconds = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class TrafficOptions:
    """How much traffic, and when."""

    requests_per_month: Annotated[int, Range(1, 10**12, whole=True)] | None = None
    traffic_profile: Path | None = None
    traffic: Path | None = None
    peak_to_mean: Annotated[Decimal, Range(1, 10**6)] | None = None


@dataclass(frozen=True, kw_only=True)
class HostingOptions:
    """How the self-hosted servers are run."""

    ops_usd_per_month: MonthlyUsd = Decimal(0)
    utilization: Part = Decimal("0.7")
    min_replicas: Replicas = 1
    spare_replicas: Replicas = 0
    autoscale: bool = False
    commit_replicas: Replicas | None = None
    commit_usd_per_hour: Usd | None = None
    spot_interruptions_per_hour: Annotated[Decimal, Range("1e-6", 1_000, or_zero=True)] | None = None
    spot_reload_s: Seconds | None = None
    self_good_share: Part = Decimal(1)


@dataclass(frozen=True, kw_only=True)
class RoutingOptions:
    """Who serves what."""

    hybrid_share: Part = Decimal(1)
    pass_rate: Annotated[Decimal, Range("1e-6", 1, or_zero=True)] = Decimal(1)
    overflow: bool = False
    api_good_share: Part = Decimal(1)


@dataclass(frozen=True, kw_only=True)
class BreakEvenOptions(RequestOptions, CachingOptions, TrafficOptions, HostingOptions, RoutingOptions, HourOptions):
    """All options of a comparison.

    `servers` are runs, folders of `capacity`, or requests/s such as 2 or 1.8..2.2; `versus` are models, runs, or
    dollars per request.
    """

    servers: tuple[str, ...]
    versus: tuple[str, ...]
    batch: bool = False
    model: str | None = None
    different_plans: bool = False
    seed: Annotated[int, Range(0, 2**63 - 1, whole=True)] = 0


@dataclass(frozen=True, kw_only=True)
class CachingChoice(RequestOptions, CachingOptions, TrafficOptions):
    """Whether to let an API cache the prefix."""

    versus: str


@dataclass(frozen=True, kw_only=True)
class BatchChoice(RequestOptions):
    """Whether to send requests that can wait in a batch: to an API, or at two given prices."""

    versus: str | None = None
    live_usd: Usd | None = None
    batch_usd: Usd | None = None
    deadline_h: Hours
    window_h: Hours | None = None


@dataclass(frozen=True, kw_only=True)
class FineTuneChoice:
    """Whether to train a model once, so that each request costs less."""

    train_usd: MonthlyUsd
    prompted_usd: Usd
    tuned_usd: Usd
