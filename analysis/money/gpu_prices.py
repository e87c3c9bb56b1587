"""What a GPU, or a self-hosted deployment, costs per hour: dated rental prices, a stated price, or owned hardware.

Amounts are exact decimals in US dollars. A month is 730 hours.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import yaml

from analysis.money.numbers import HOURS_PER_MONTH
from bench.process import places
from bench.runs.manifest import ApiPricing, HourPricing
from bench.suggest import did_you_mean, nearest
from bench.types import UserError

OLD_AFTER_DAYS: Final = 90
MOST_USD_PER_HOUR: Final = 1_000_000
ON_DEMAND: Final = "on_demand"
GIVEN: Final = "given by the user"
KINDS: Final = (ON_DEMAND, "spot", "cud_1y", "cud_3y")
_BUNDLED = Path(__file__).parent / "gpu_prices.yaml"
# The base loader leaves every scalar as text: an amount must never become a float.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # ten times faster, if PyYAML was built with libyaml
_KEYS = (
    "provider", "gpu", "kind", "usd_per_gpu_hour_low", "usd_per_gpu_hour_high", "includes_host", "read_on", "source",
)  # fmt: skip
_HOST = ("host_usd_per_gpu_hour", "host_usd_per_machine_hour")
_MAY_HAVE = ("machine_gpus", *_HOST)
_Key = tuple[str, str, str]
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """One row of the price file: renting one GPU for an hour; low and high differ if the market has a range.

    `machine_gpus` are the numbers of GPUs in the machines that are rented at this price, ascending; empty if unknown,
    then any number. For a price without the host, the host's own price per GPU or machine, if known.
    """

    provider: str
    gpu: str
    kind: str
    usd_per_gpu_hour_low: Decimal
    usd_per_gpu_hour_high: Decimal
    includes_host: bool
    read_on: date
    source: str
    machine_gpus: tuple[int, ...] = ()
    host_usd_per_gpu_hour: Decimal | None = None
    host_usd_per_machine_hour: Decimal | None = None

    @property
    def whole(self) -> bool:
        """Whether the host's cost is known."""
        return self.includes_host or (self.host_usd_per_gpu_hour, self.host_usd_per_machine_hour) != (None, None)

    def paid_gpus(self, gpus: int, replicas: int = 1) -> int:
        """How many GPUs are paid for replicas of `gpus` each: whole machines, the fewest GPUs that hold them all.

        A replica's GPUs are in one machine if one is large enough.
        """
        if not self.machine_gpus:
            return gpus * replicas
        ways = [math.ceil(replicas / (size // gpus)) * size for size in self.machine_gpus if size >= gpus]
        return min(ways) if ways else replicas * self.machines(gpus) * self.machine_gpus[-1]

    def machines(self, gpus: int) -> int:
        """Over how many machines the GPUs of one replica are spread; 1 if machine sizes are unknown."""
        return math.ceil(gpus / self.machine_gpus[-1]) if self.machine_gpus else 1

    def usd_per_hour(self, gpus: int, replicas: int = 1) -> tuple[Decimal, Decimal]:
        """(low, high) of the hourly cost of replicas of `gpus` each, including hosts if their price is known.

        A host that is priced per machine is counted once per replica.
        """
        paid = self.paid_gpus(gpus, replicas)
        each, machine = self.host_usd_per_gpu_hour or Decimal(0), self.host_usd_per_machine_hour or Decimal(0)
        host = each * paid + machine * self.machines(gpus) * replicas
        return self.usd_per_gpu_hour_low * paid + host, self.usd_per_gpu_hour_high * paid + host

    @property
    def usd_per_gpu_hour(self) -> Decimal:
        """The middle of the range."""
        return (self.usd_per_gpu_hour_low + self.usd_per_gpu_hour_high) / 2

    def __str__(self) -> str:
        return f"{self.gpu}@{self.provider}" + ("" if self.kind == ON_DEMAND else f":{self.kind}")


@dataclass(frozen=True, slots=True)
class Hourly:
    """The hourly cost of a deployment, busy or idle; `notes` say what the price leaves out."""

    usd_low: Decimal
    usd_high: Decimal
    source: str
    as_of: date | None = None
    notes: tuple[str, ...] = ()

    @property
    def usd(self) -> Decimal:
        """The middle of the range."""
        return (self.usd_low + self.usd_high) / 2


@dataclass(frozen=True, slots=True)
class Owned:
    """Owned hardware, over the months that it serves; `watts` is its average draw, `pue` accounts for cooling.

    `hosting_usd_per_month` is space, network and operations.
    """

    price_usd: Decimal
    months: Decimal
    watts: Decimal
    usd_per_kwh: Decimal
    resale_usd: Decimal = Decimal(0)
    pue: Decimal = Decimal(1)
    hosting_usd_per_month: Decimal = Decimal(0)


# --- what an hour costs -----------------------------------------------------------------------------------------


def rented(price: GpuPrice, gpus: int, today: date) -> Hourly:
    """`gpus` GPUs at a listed price, in whole machines, with their host if its price is known."""
    paid, machines = price.paid_gpus(gpus), price.machines(gpus)
    notes = []
    low, high = price.usd_per_hour(gpus)
    if not price.whole:
        notes.append(f"GPU only: {price} excludes the host it needs ({price.source})")
    if host_usd := low - price.usd_per_gpu_hour_low * paid:
        notes.append(f"with ${host_usd:f} per hour for the host of {price} ({price.source})")
    if paid > gpus:
        notes.append(
            f"{price} comes in machines of {' or '.join(map(str, price.machine_gpus))}; a replica of {gpus} pays for "
            f"{paid} (to share a machine, measure the whole machine as one replica)"
        )
    if machines > 1:
        notes.append(f"{gpus} x {price} are {machines} machines; communication between them is slower than within one")
    if is_old(price, today):
        notes.append(f"the price of {price} is {age_days(price, today)} days old")
    return Hourly(
        low,
        high,
        f"{paid} x {price}, {price.source}",
        price.read_on,
        tuple(notes),
    )


def stated(usd_per_hour: Decimal) -> Hourly:
    """A price per hour as the user stated it."""
    return Hourly(usd_per_hour, usd_per_hour, GIVEN)


def owned(hardware: Owned) -> Hourly:
    """Owned hardware, its monthly cost spread over every hour."""
    usd = owned_usd_per_month(hardware) / HOURS_PER_MONTH
    return Hourly(usd, usd, "hardware owned")


def with_power(hourly: Hourly, usd_per_kwh: Decimal, watts: float | None) -> Hourly:
    """The price with measured electricity, or a note if nothing measured it."""
    if watts is None:
        return replace(hourly, notes=(*hourly.notes, "electricity not included: no GPU reported its power"))
    usd = Decimal(str(watts)) / 1000 * usd_per_kwh
    note = f"with the measured {watts:.0f} W of GPU power"
    return replace(hourly, usd_low=hourly.usd_low + usd, usd_high=hourly.usd_high + usd, notes=(*hourly.notes, note))


def owned_usd_per_month(hardware: Owned) -> Decimal:
    """Depreciation, electricity and hosting; UserError for impossible values."""
    for name in Owned.__slots__:
        value = getattr(hardware, name)
        if not value.is_finite() or value < 0 or (name == "months" and not value) or (name == "pue" and value < 1):
            least = {"months": "more than 0", "pue": "1 or more"}.get(name, "0 or more")
            raise UserError(f"owned hardware: {name} must be {least}, got {value}")
    if hardware.resale_usd > hardware.price_usd:
        raise UserError("owned hardware: resale_usd must not be more than price_usd")
    kwh = hardware.watts / 1000 * hardware.pue * HOURS_PER_MONTH
    lost_usd = (hardware.price_usd - hardware.resale_usd) / hardware.months
    return lost_usd + kwh * hardware.usd_per_kwh + hardware.hosting_usd_per_month


def hourly_of(pricing: HourPricing | ApiPricing | None) -> Hourly | None:
    """The price per hour in a run's manifest, None if there is none; the inverse of `pricing_of`."""
    if not isinstance(pricing, HourPricing):
        return None
    low, high = pricing.usd_per_hour_range or (pricing.usd_per_hour, pricing.usd_per_hour)
    as_of = date.fromisoformat(pricing.as_of) if pricing.as_of else None
    return Hourly(low, high, pricing.source or pricing.gpu or GIVEN, as_of, pricing.notes)


def pricing_of(hourly: Hourly, gpu: str | None, usd_per_kwh: Decimal | None) -> HourPricing:
    """A price per hour as a run's manifest holds it."""
    return HourPricing(
        gpu=gpu,
        usd_per_hour=hourly.usd,
        usd_per_hour_range=(hourly.usd_low, hourly.usd_high),
        source=hourly.source,
        as_of=hourly.as_of.isoformat() if hourly.as_of else None,
        notes=hourly.notes,
        usd_per_kwh=usd_per_kwh,
    )


def age_days(price: GpuPrice, today: date) -> int:
    return (today - price.read_on).days


def is_old(price: GpuPrice, today: date) -> bool:
    """Whether a price is too old to rely on."""
    return age_days(price, today) > OLD_AFTER_DAYS


# --- the price file ---------------------------------------------------------------------------------------------


def user_file() -> Path:
    """Where the user's own price file is, whether or not it exists."""
    return places.config() / "prices.yaml"


def load(extra_files: Iterable[Path] = ()) -> tuple[GpuPrice, ...]:
    """The bundled prices, replaced by those of other files for the same provider, GPU and kind.

    UserError names the malformed file and row.
    """
    prices: dict[_Key, list[GpuPrice]] = {}
    for path in (_BUNDLED, *extra_files):
        prices |= _read(path)
    return tuple(price for rows in prices.values() for price in rows)


def known(price_file: Path | None) -> tuple[GpuPrice, ...]:
    """All prices: the bundled ones, those of the user's own file if it exists, and those of a named file."""
    own = user_file()
    return load([*([own] if own.exists() else []), *([price_file] if price_file else [])])


def find(spec: str, prices: Sequence[GpuPrice], gpus: int = 1) -> GpuPrice:
    """The price that NAME[@PROVIDER][:KIND] means for `gpus` GPUs together; on demand unless a kind is named.

    Of several it is the cheapest in whole machines, in as few of them as possible; prices without the host come last,
    because they are incomplete. UserError with the nearest names if there is none.
    """
    name, _, kind = spec.lower().partition(":")
    gpu, _, provider = name.partition("@")
    kind = kind or ON_DEMAND
    if kind not in KINDS:
        raise UserError(f"GPU {spec!r}: kind {kind!r} is not known; expected {' or '.join(KINDS)}")
    of_gpu = [price for price in prices if price.gpu == gpu]
    if not of_gpu:
        priced = sorted({price.gpu for price in prices})
        raise UserError(
            f"GPU {spec!r}: no price is known{did_you_mean(gpu, priced, 12) or '; see: bench.py prices --gpu'}"
        )
    offered = [price for price in of_gpu if provider in ("", price.provider)]
    if not offered:
        providers = sorted({price.provider for price in of_gpu})
        near = " or ".join(nearest(provider, providers, 3) or providers)
        raise UserError(f"GPU {spec!r}: no price at {provider} is known; {gpu} is priced at {near}")
    if matching := [price for price in offered if price.kind == kind]:
        return cheapest(matching, gpus)
    raise UserError(f"GPU {spec!r}: no {kind} price is known; there is {' and '.join(map(str, offered))}")


def cheapest(prices: Iterable[GpuPrice], gpus: int = 1) -> GpuPrice:
    """The cheapest for `gpus` GPUs that work together; see `find`."""
    return min(
        prices,
        key=lambda price: (
            price.machines(gpus),
            not price.includes_host,
            sum(price.usd_per_hour(gpus)),
        ),
    )


def amount(text: str, name: str) -> Decimal:
    """An amount in dollars; UserError names the flag or row if it is not one, or negative."""
    try:
        usd = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        usd = Decimal(-1)
    if not usd.is_finite() or not 0 <= usd <= MOST_USD_PER_HOUR:
        raise UserError(f"{name}: expected US dollars such as 0.34, got {text!r}")
    return usd


def _read(path: Path) -> dict[_Key, list[GpuPrice]]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise UserError(f"{path}: cannot be read as a price file: {' '.join(str(problem).split())}") from None
    rows = content.get("prices") if isinstance(content, Mapping) and set(content) == {"prices"} else None
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a list of rows under the key prices")
    prices: dict[_Key, list[GpuPrice]] = {}
    for number, row in enumerate(rows, 1):
        price = _price(row, f"{path}: row {number}")
        others = prices.setdefault((price.provider, price.gpu, price.kind), [])
        if any(not set(price.machine_gpus) or set(price.machine_gpus) & set(it.machine_gpus) for it in others):
            raise UserError(f"{path}: row {number}: {price} is priced twice in this file")
        others.append(price)
    return prices


def _price(row: Any, place: str) -> GpuPrice:
    if not isinstance(row, Mapping) or not all(isinstance(value, str) for key, value in row.items() if key in _KEYS):
        raise UserError(f"{place}: expected keys and values: {', '.join(_KEYS)}")
    for key in row:
        if key not in (allowed := (*_KEYS, *_MAY_HAVE)):
            near = did_you_mean(key, allowed) or f"; expected one of {', '.join(allowed)}"
            raise UserError(f"{place}: unknown key {key!r}{near}")
    if missing := [key for key in _KEYS if not row.get(key)]:
        raise UserError(f"{place}: {missing[0]} is missing")
    if row["kind"] not in KINDS:
        raise UserError(f"{place}: kind: expected {' or '.join(KINDS)}, got {row['kind']!r}")
    if row["includes_host"] not in _YES_NO:
        raise UserError(f"{place}: includes_host: expected yes or no, got {row['includes_host']!r}")
    low, high = (amount(row[key], f"{place}: {key}") for key in ("usd_per_gpu_hour_low", "usd_per_gpu_hour_high"))
    if not low or low > high:
        raise UserError(f"{place}: expected 0 < usd_per_gpu_hour_low <= usd_per_gpu_hour_high, got {low} and {high}")
    try:
        read_on = date.fromisoformat(row["read_on"])
    except ValueError:
        raise UserError(f"{place}: read_on: expected a day such as 2026-09-25, got {row['read_on']!r}") from None
    return GpuPrice(
        provider=row["provider"].lower(),
        gpu=row["gpu"].lower(),
        kind=row["kind"],
        usd_per_gpu_hour_low=low,
        usd_per_gpu_hour_high=high,
        includes_host=_YES_NO[row["includes_host"]],
        read_on=read_on,
        source=row["source"],
        machine_gpus=_machine_gpus(row.get("machine_gpus", []), place),
        **{key: _host_usd(row, key, place) for key in _HOST},
    )


def _machine_gpus(given: Any, place: str) -> tuple[int, ...]:
    sizes = given if isinstance(given, list) else [given]
    if not all(isinstance(size, str) and size.isdecimal() and 0 < int(size) <= 4096 for size in sizes):
        raise UserError(
            f"{place}: machine_gpus: expected the numbers of GPUs of its machines, such as [1, 2, 4, 8], got {given!r}"
        )
    return tuple(sorted({int(size) for size in sizes}))


def _host_usd(row: Mapping[str, Any], key: str, place: str) -> Decimal | None:
    if key not in row:
        return None
    if _YES_NO[row["includes_host"]]:
        raise UserError(f"{place}: {key}: the price already includes the host; leave one out")
    return amount(str(row[key]), f"{place}: {key}")
