"""A comparison in the words of its user: the same names and values as flags and as keyword arguments."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from bench.app.options import HourOptions

CacheTtlOption = Literal["5m", "1h", "off"]
OFF = "off"


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """What a request is; None where measured ones say."""

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    prefix_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class CachingOptions:
    """How an API is to cache the prefix."""

    cache_ttl: CacheTtlOption = "5m"
    prefix_weights: str | None = None
    cache_delay: Decimal = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class TrafficOptions:
    """How much traffic, and when."""

    requests_per_month: int | None = None
    traffic_profile: Path | None = None
    traffic: Path | None = None
    peak_to_mean: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class HostingOptions:
    """How servers of one's own are run."""

    ops_usd_per_month: Decimal = Decimal(0)
    utilization: Decimal = Decimal("0.7")
    min_replicas: int = 1
    spare_replicas: int = 0
    autoscale: bool = False
    commit_replicas: int | None = None
    commit_usd_per_hour: Decimal | None = None
    spot_interruptions_per_hour: Decimal | None = None
    spot_reload_s: Decimal | None = None
    self_good_share: Decimal = Decimal(1)


@dataclass(frozen=True, kw_only=True)
class RoutingOptions:
    """Who serves what."""

    hybrid_share: Decimal = Decimal(1)
    pass_rate: Decimal = Decimal(1)
    overflow: bool = False
    api_good_share: Decimal = Decimal(1)


@dataclass(frozen=True, kw_only=True)
class BreakEvenOptions(RequestOptions, CachingOptions, TrafficOptions, HostingOptions, RoutingOptions, HourOptions):
    """All that can be asked of a comparison.

    `servers` are runs, folders of `capacity`, or requests/s such as 2 or 1.8..2.2; `versus` are models, runs, or
    dollars a request.
    """

    servers: tuple[str, ...]
    versus: tuple[str, ...]
    batch: bool = False
    model: str | None = None
    different_plans: bool = False
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class CachingChoice(RequestOptions, CachingOptions, TrafficOptions):
    """Whether to have an API cache the prefix."""

    versus: str


@dataclass(frozen=True, kw_only=True)
class BatchChoice(RequestOptions):
    """Whether to send requests that can wait in a batch: of an API, or at two prices."""

    deadline_h: Decimal
    versus: str | None = None
    live_usd: Decimal | None = None
    batch_usd: Decimal | None = None
    window_h: Decimal | None = None
