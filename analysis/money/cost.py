"""What a run cost: an API request by request, each by its own usage; a self-hosted deployment by the hour.

Every figure is dollars per unit bought: requests, requests that met the objectives, millions of tokens.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.money.api_rules import cache_warning
from analysis.money.gpu_prices import Hourly, hourly_of, with_power
from analysis.money.numbers import SECONDS_PER_HOUR
from analysis.money.prices import STANDARD, ApiPrice, find, snapshot, usd_of
from analysis.run import slo
from analysis.run.metrics import column, is_successful, is_text, keep, successful
from analysis.run.rates import Flow, flow
from analysis.run.sections import PriceSource, RunCost
from analysis.run.streams import output_tokens
from analysis.run.window import Window
from analysis.stats.describe import cells_of, rate_interval
from analysis.stats.distributions import UNKNOWN, Floats, Interval
from analysis.stats.uncertainty import interval, mean_of
from analysis.wording import dollars
from bench.errors import error_code
from bench.runs.manifest import ApiPricing, HourPricing, RunManifest
from bench.types import Usage, UserError

MILLION = 1_000_000
# An answer that ended early contradicts its finish reason, not its usage, so it can still be priced.
NOT_OF_USAGE = {"length_not_reached"}
SERVER_COUNTS = ("server usage", "per-chunk usage")
STANDARD_TIERS = (None, "standard", "default", "auto")


class UnitCost(NamedTuple):
    """Dollars for one unit of something, with the 95% interval; None where unknown."""

    usd: float | None
    ci95: Interval = UNKNOWN


class UnitCosts(NamedTuple):
    """The cost per unit, by the names of summary.json."""

    usd_per_request: UnitCost = UnitCost(None)
    usd_per_good_request: UnitCost = UnitCost(None)
    usd_per_million_output_tokens: UnitCost = UnitCost(None)
    usd_per_million_total_tokens: UnitCost = UnitCost(None)


UNIT_COSTS = UnitCosts._fields


def run_cost(run: RunManifest, requests: pa.Table, span: Window, gpu_power_w: float | None = None) -> RunCost | None:
    """What a run cost; None if nobody bills and no price per hour is known.

    `requests` has the columns of `bench.types.Record`. A price per hour in the manifest's `pricing` is that of a
    self-hosted deployment, with the electricity of `gpu_power_w` if that was to be measured; without one, an API is
    priced at the date of the run.
    """
    pricing = run.pricing
    hourly = hourly_of(pricing)
    if hourly is not None and isinstance(pricing, HourPricing) and pricing.usd_per_kwh:
        hourly = with_power(hourly, pricing.usd_per_kwh, gpu_power_w)
    objectives = slo.objectives_of(run)
    if hourly is not None:
        return _self_hosted(hourly, flow(run, requests, span), successful(requests), span, objectives)
    if isinstance(pricing, ApiPricing) and (pricing.provider or pricing.model):
        return _api(run, pricing, requests, objectives)
    return None


def _snapshot() -> PriceSource:
    return PriceSource(*snapshot())


def _cost(basis: Literal["api", "self-hosted"], figures: UnitCosts, notes: Sequence[str], **other: Any) -> RunCost:
    return RunCost(
        basis=basis,
        **{name: figure.usd for name, figure in figures._asdict().items()},
        ci95={name: figure.ci95 for name, figure in figures._asdict().items()},
        notes=tuple(notes),
        **other,
    )


def without(cost: RunCost | None, names: Sequence[str], why: str) -> RunCost | None:
    """A deployment's cost without those figures whose inputs are unknown."""
    if cost is None or cost.basis != "self-hosted":
        return cost
    no_interval = dict.fromkeys(names, UNKNOWN)
    unknown: dict[str, Any] = dict.fromkeys(names)
    return replace(cost, **unknown, ci95={**cost.ci95, **no_interval}, notes=(*cost.notes, why))


# --- an API -----------------------------------------------------------------------------------------------------


class _Outcome(NamedTuple):
    """Everything that determines the price of a request that was sent: how it ended, and its usage."""

    ended: bool
    status: int | None
    error: str | None
    token_source: str | None
    service_tier: str | None
    prompt_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cache_write_1h_tokens: int | None
    count_contradictions: str | None


Charge = Decimal | str
"""What a request cost, or why that is not known."""


def _api(run: RunManifest, pricing: ApiPricing, requests: pa.Table, objectives: Sequence[slo.Objective]) -> RunCost:
    price_of = partial(find, pricing.model or run.model, pricing.provider)
    at = run.created
    try:
        price = price_of(at)
    except UserError as problem:
        return _cost("api", UnitCosts(), [str(problem)], prices=_snapshot())
    sent = keep(requests, pc.is_valid(requests["sent_ns"]))
    charges = _charges(sent, lambda tier: price_of(at, tier=tier))
    paid = _total(charges)
    notes = [f"the amount paid is not known: {paid}"] if isinstance(paid, str) else []
    if pricing.cache_ttl:
        notes += _cache_notes(price.model, sent)
    return _cost(
        "api",
        _api_figures(sent, charges, objectives),
        notes,
        api_usd=float(paid) if isinstance(paid, Decimal) else None,
        prices=_snapshot(),
        priced_as=str(price),
    )


def _charges(sent: pa.Table, price_of: Callable[[str], ApiPrice]) -> list[Charge]:
    """What each request cost. Many are alike: each kind is priced once."""
    columns = [pc.is_valid(sent["end_ns"]), *(sent[name] for name in _Outcome._fields[1:])]
    rows = [_Outcome(*row) for row in zip(*(values.to_pylist() for values in columns), strict=True)]
    price = cache(price_of)
    charges = {row: _charge(row, price) for row in set(rows)}
    return [charges[row] for row in rows]


def _charge(row: _Outcome, price_of: Callable[[str], ApiPrice]) -> Charge:
    billed = "usage" if row.error is None else error_code(row.error).billed
    if row.status not in (None, 200) or billed == "no":
        return Decimal(0)
    if billed == "unknown" or not row.ended:
        return f"{row.error or 'unfinished'} requests may have been billed but reported no usage"
    if contradicted := set((row.count_contradictions or "").split()) - NOT_OF_USAGE:
        return f"reported usage contradicts itself, the plan or the answer ({', '.join(sorted(contradicted))})"
    if row.token_source not in SERVER_COUNTS:
        return "the server reported no usage"
    usage = Usage(**{name: getattr(row, name) for name in Usage._fields if name in _Outcome._fields})
    try:
        return usd_of(price_of(STANDARD if row.service_tier in STANDARD_TIERS else str(row.service_tier)), usage)
    except (ValueError, UserError) as problem:
        return str(problem)


def _total(charges: Sequence[Charge]) -> Charge:
    """The exact sum, or why it is not known: a partial sum would be mistaken for the total."""
    if unknown := Counter(charge for charge in charges if isinstance(charge, str)):
        reason, _ = unknown.most_common(1)[0]
        return f"{reason} ({unknown.total():,} of {len(charges):,} requests)"
    return sum((charge for charge in charges if isinstance(charge, Decimal)), Decimal(0))


def _api_figures(sent: pa.Table, charges: Sequence[Charge], objectives: Sequence[slo.Objective]) -> UnitCosts:
    """Costs of the measured requests. Good requests carry the cost of all others."""
    measured = _mask(is_text(sent["phase"], "measured"))
    served = measured & _mask(is_successful(sent))
    calls = sent.filter(pa.array(served))
    output = column(calls, "output_tokens")
    good = np.zeros(len(charges))
    # Failed requests are paid for too: those that met the objectives carry their cost.
    good[served] = slo.keeps_all(objectives, calls)
    of_served = [charge for charge, counts in zip(charges, served, strict=True) if counts]
    of_measured = [charge for charge, counts in zip(charges, measured, strict=True) if counts]
    return UnitCosts(
        _per(of_served, np.ones(len(of_served))),
        _per(of_measured, good[measured]) if objectives else UnitCost(None),
        _per(of_served, output, MILLION),
        _per(of_served, output + column(calls, "prompt_tokens"), MILLION),
    )


def _per(charges: Sequence[Charge], units: Floats, scale: int = 1) -> UnitCost:
    """The cost per `scale` units, from each request's cost and units; see `uncertainty.interval`."""
    total, whole, n = _total(charges), float(units.sum()), len(charges)
    if isinstance(total, str) or not whole > 0:
        return UnitCost(None)
    usd = float(total * scale / int(whole))
    if n < 2:
        return UnitCost(usd)
    return UnitCost(usd, interval(mean_of(np.array([float(charge) for charge in charges]) * scale, units)))


def _cache_notes(model: str, sent: pa.Table) -> list[str]:
    """The note, if caching was asked for and nothing was cached."""
    if any(pc.sum(sent[name]).as_py() for name in ("cached_tokens", "cache_write_tokens")):
        return []
    longest = pc.max(sent["prompt_tokens"]).as_py()
    return (
        [] if longest is None else [cache_warning(model, longest) or "caching was requested, but no prompt was cached"]
    )


# --- a deployment of one's own ----------------------------------------------------------------------------------


def _self_hosted(
    hourly: Hourly, served: Flow, calls: pa.Table, span: Window, objectives: Sequence[slo.Objective]
) -> RunCost:
    """The price per hour over the throughput of the measured window; the counts are those of throughput."""
    output = output_tokens(calls)
    rate = served.per_s(np.ones(calls.num_rows))
    per = partial(_per_hour, hourly.usd, served, span, int((rate or 0) * span.seconds))
    figures = UnitCosts(
        per(np.ones(calls.num_rows)),
        per(slo.keeps_all(objectives, calls).astype(np.float64)) if objectives else UnitCost(None),
        per(output, MILLION),
        per(output + column(calls, "prompt_tokens"), MILLION),
    )
    notes = list(hourly.notes)
    if served.why:
        notes.append(f"the cost of a request is not known: {served.why}")
    elif rate is not None:
        notes.append(f"at the load of this run, {rate:.3g} requests/s; idle hours cost the same")
    if hourly.usd_low != hourly.usd_high:
        low, high = (dollars(usd, 3) for usd in (hourly.usd_low, hourly.usd_high))
        notes.append(f"an hour costs {low} to {high}; figures use the middle and scale with it")
    return _cost(
        "self-hosted",
        figures,
        notes,
        usd_per_hour=(float(hourly.usd_low), float(hourly.usd_high)),
        prices=PriceSource(hourly.source, as_of=hourly.as_of.isoformat() if hourly.as_of else None),
    )


def _per_hour(
    usd_per_hour: Decimal, served: Flow, span: Window, requests: int, of_call: Floats, scale: int = 1
) -> UnitCost:
    """The cost per `scale` units, from each call's units; its interval is the inverse of the rate's."""
    if not served.per_s(of_call):
        return UnitCost(None)
    window_ns = (span.start_ns, span.end_ns)
    (units,) = served.units_in(cells_of(requests), [of_call])
    usd_of_window = usd_per_hour * (span.end_ns - span.start_ns) / (SECONDS_PER_HOUR * 10**9) * scale
    usd = float(usd_of_window / Decimal(served.units(of_call)))
    # Cost per unit is the inverse of a rate, so the ends of the rate's interval are exchanged.
    (low, high), _ = rate_interval(units, window_ns, requests)
    usd_per_s = float(usd_of_window) / span.seconds
    return UnitCost(usd, (usd_per_s / high if high else None, usd_per_s / low if low else None))


def _mask(values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(values, False).to_numpy(), dtype=np.bool_)
