"""From options to a comparison: the servers, each API against them, and what the measurements leave open."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.random import Generator

from analysis.breakeven.advice import advice
from analysis.breakeven.comparison import Alternative, CostComparison, CostedServers, SelfHosted, judge
from analysis.breakeven.decision import p_cheaper
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.ranking import rank
from analysis.breakeven.scenarios import Scenario, SensitivityBar, tornado
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import states_of
from analysis.breakeven.traffic import steady
from analysis.breakeven.ways import CostedPairing
from analysis.money.numbers import exact, monthly_usd
from analysis.stats.distributions import Floats
from analysis.wording import dollars
from bench.app.breakeven.measured import MeasuredRun, check_same_load, check_same_requests, check_same_work, point
from bench.app.breakeven.offers import Offer, of_model, of_price, of_run, requests_measured, requests_stated, runs_of
from bench.app.breakeven.options import BreakEvenOptions
from bench.app.breakeven.roofline import check_capacity
from bench.app.breakeven.servers import MonthlyTraffic, PricedServers, sides_of, traffic_of
from bench.types import UserError

VOLUMES = 200
OURS = "self-hosting"
# How far beyond the volumes that matter the charts extend.
MARGIN = 30
# An input whose range is unknown is varied by this factor.
SWING = Decimal("0.2")


def compare(options: BreakEvenOptions, now: datetime) -> CostComparison:
    """Compare each self-hosted option with each API. Raises UserError for any option that is wrong."""
    rng = np.random.default_rng(options.seed)
    load = traffic_of(options)
    priced = options.gpu or options.usd_per_hour is not None or options.owned
    if not options.servers and not priced and options.versus and load.requests_per_month is not None:
        return _apis_alone(options, load, now, rng)
    each = sides_of(options, load.traffic, rng)
    if not options.versus:
        return _alone(options, each, load, rng)
    _check_sides(options, each)
    # Once for all servers, on the requests of all of them: one bill for each API.
    offers, api_runs, notes = _offers(options, [run for servers in each for run in servers.capacity.runs], load, now)
    asked, found, warnings = load.requests_per_month, list[Alternative](), list[str]()
    for servers in each:
        warnings += [*servers.hourly.notes, *servers.capacity.warnings, *_above_roofline(options, servers, api_runs)]
        found += [_alternative(offer, servers, options, asked, rng) for offer in offers]
    pairs = [CostedPairing(one.servers.name or OURS, one.name, one.pairing, one.states) for one in found]
    return _concluded(load, pairs, [*warnings, *notes], each, api_runs, found)


def _concluded(
    load: MonthlyTraffic,
    pairs: Sequence[CostedPairing],
    warnings: Sequence[str],
    each: Sequence[PricedServers] = (),
    api_runs: Sequence[MeasuredRun] = (),
    found: Sequence[Alternative] = (),
) -> CostComparison:
    """Rank all ways to serve, over the volumes around those that matter; `found` are servers against APIs."""
    asked = load.requests_per_month
    answers = [one.found.answer for one in found]
    edges = [float(edge) for answer in answers for edge in (answer.first, answer.permanent) if edge]
    volumes = _volumes(each, [*edges, *([float(asked)] if asked else [])])
    points = [point(run, servers.hourly) for servers in each for run in servers.capacity.probes]
    points += [point(run, None) for run in api_runs]
    return CostComparison(
        requests_per_month=asked,
        volumes=volumes,
        alternatives=tuple(replace(one, p_cheaper=p_cheaper(one.pairing, one.states, volumes)) for one in found),
        points=tuple(shown for shown in points if shown is not None),
        warnings=tuple(dict.fromkeys((*warnings, *filter(None, [load.described])))),
        ranking=rank(pairs, int(volumes[-1]), asked),
        sides=_sides(each),
    )


def _alone(
    options: BreakEvenOptions, each: Sequence[PricedServers], load: MonthlyTraffic, rng: Generator
) -> CostComparison:
    """What self-hosted servers cost, and which is the cheapest, without an API to compare with."""
    asked = load.requests_per_month
    if asked is None and len(each) == 1:
        raise UserError(
            "--versus: nothing to compare with; give an API, such as claude-haiku-5-5, PROVIDER/MODEL or a run, or "
            "give --requests-per-month for the bill alone"
        )
    if options.overflow or options.hybrid_share != 1 or options.pass_rate != 1:
        raise UserError("--overflow, --hybrid-share and --pass-rate send requests to an API; give --versus")
    _check_sides(options, each)
    pairs = list[CostedPairing]()
    for servers in each:
        pairing = Pairing(host=servers.host, usd_per_request=Decimal(0))
        states = states_of(pairing, None, servers.capacity.draws, rng, capacity_runs=servers.capacity.measurements)
        pairs.append(CostedPairing(servers.name or OURS, "", pairing, states))
    warnings = [warning for servers in each for warning in (*servers.hourly.notes, *servers.capacity.warnings)]
    return _concluded(load, pairs, warnings, each)


def _check_sides(options: BreakEvenOptions, each: Sequence[PricedServers]) -> None:
    """Raise UserError if servers were measured with different work, unless that is allowed."""
    if not options.different_plans:
        check_same_work([(run, servers.capacity.is_searched) for servers in each for run in servers.capacity.runs])


def _above_roofline(
    options: BreakEvenOptions, servers: PricedServers, api_runs: Sequence[MeasuredRun]
) -> tuple[str, ...]:
    """Notes on a capacity that the model may not reach. Raises UserError for one that it cannot."""
    if options.model is None:
        return ()
    capacity = servers.capacity
    requests = requests_stated(options) or requests_measured(capacity.runs or api_runs, options)
    here = options if servers.gpu is None else replace(options, gpu=servers.gpu)
    return tuple(check_capacity(options.model, capacity.high_rps, requests, here))


def _apis_alone(options: BreakEvenOptions, load: MonthlyTraffic, now: datetime, rng: Generator) -> CostComparison:
    """What APIs cost, and which is the cheapest, without self-hosted servers to compare with."""
    asked = load.requests_per_month
    offers, runs, warnings = _offers(options, (), load, now)
    nobody, pairs = SelfHost(Decimal(0), 1), list[CostedPairing]()
    for offer in offers:
        pairing = Pairing(host=nobody, usd_per_request=offer.usd(asked))
        states = states_of(pairing, offer.draws(asked, rng), None, rng, offer.curve, offer.requests)
        pairs.append(CostedPairing("", offer.name, pairing, states))
    notes = (warning for offer in offers for warning in offer.warnings)
    return _concluded(load, pairs, [*warnings, *notes], api_runs=runs)


def _sides(each: Sequence[PricedServers]) -> tuple[CostedServers, ...]:
    return tuple(
        CostedServers(SelfHosted(_description(servers), servers.capacity.ci95, servers.name), servers.host)
        for servers in each
    )


def _offers(
    options: BreakEvenOptions, own: Sequence[MeasuredRun], load: MonthlyTraffic, now: datetime
) -> tuple[list[Offer], list[MeasuredRun], list[str]]:
    """(the APIs, the runs among them, notes on the requests), beside our own runs, if any."""
    runs = runs_of(options.versus)
    if runs and options.batch:
        raise UserError("--batch: a measured run is priced as it was sent, not as a batch; give PROVIDER/MODEL instead")
    warnings = []
    requests, offers = requests_stated(options), []
    if options.different_plans:
        warnings = ["the measured and the priced requests may differ (--different-plans)"] if runs or own else []
    else:
        check_same_load(own, list(runs.values()))
        if requests is not None or options.prefix_tokens is not None:
            warnings += check_same_requests([*own, *runs.values()], requests, options.prefix_tokens)
    for spec in options.versus:
        if spec in runs:
            offers.append(of_run(runs[spec], spec))
        elif stated := of_price(spec):
            offers.append(stated)
        else:
            requests = requests or requests_measured([*own] or [*runs.values()], options)
            offers.append(of_model(spec, requests, load, options, now))
    return offers, list(runs.values()), warnings


def _pairing(offer: Offer, servers: PricedServers, options: BreakEvenOptions, volume: int | None) -> Pairing:
    return Pairing(
        host=servers.host,
        usd_per_request=offer.usd(volume),
        offered_share=options.hybrid_share,
        pass_rate=options.pass_rate,
        overflow=options.overflow,
        api_good_share=options.api_good_share,
    )


def _volumes(each: Sequence[PricedServers], anchors: Sequence[float]) -> Floats:
    """Volumes for the charts, with those that matter well inside."""
    full = [float(servers.host.requests_at_peak_per_replica) for servers in each if servers.host.capacity_rps]
    anchors = [*anchors, *full]
    low, high = min(anchors, default=1e4) / MARGIN, max(anchors, default=1e6) * MARGIN
    return np.unique(np.geomspace(max(1.0, low), max(high, 100.0), VOLUMES).round())


def _alternative(
    offer: Offer, servers: PricedServers, options: BreakEvenOptions, asked: int | None, rng: Generator
) -> Alternative:
    """Judge one API. If no volume is given, prices are taken at the first break-even."""
    volume = asked
    pairing = _pairing(offer, servers, options, volume)
    if volume is None and offer.curve is not None:
        volume = judge(pairing, states_of(pairing, None, None, rng, offer.curve), None).answer.first
        pairing = _pairing(offer, servers, options, volume)
    usd, capacity = offer.draws(volume, rng), servers.capacity
    states = states_of(pairing, usd, capacity.draws, rng, offer.curve, offer.requests, capacity.measurements)
    found = judge(pairing, states, asked)
    low, high = (None, None) if usd is None else (float(end) for end in np.quantile(usd, (0.025, 0.975)))
    alternative = Alternative(
        name=offer.name,
        servers=SelfHosted(_description(servers), capacity.ci95, servers.name),
        pairing=pairing,
        states=states,
        found=found,
        p_cheaper=np.empty(0),  # at volumes that only the alternatives together determine
        tornado=(),
        advice=tuple(advice(pairing, states, found)),
        warnings=offer.warnings,
        usd_ci95=(low, high),
    )
    return replace(alternative, tornado=_tornado(alternative, servers, volume or found.answer.first))


# --- scenarios --------------------------------------------------------------------------------------------------


def _tornado(side: Alternative, servers: PricedServers, volume: int | None) -> tuple[SensitivityBar, ...]:
    """How each input moves the result at this volume; empty if there is no volume, or nothing can be served."""
    if volume is None or not side.pairing.host.capacity_rps:
        return ()
    return tuple(tornado(_scenarios(side, servers), volume))


def _scenarios(side: Alternative, servers: PricedServers) -> "dict[str, tuple[Scenario, Scenario]]":
    """Each input at its low and its high end: its range if known, else a fifth less and more."""
    pairing, states, hourly, capacity = side.pairing, side.states, servers.hourly, servers.capacity
    host = pairing.host

    def hosts(name: str, low: Any, high: Any) -> "tuple[Scenario, Scenario]":
        first, second = (replace(pairing, host=replace(host, **{name: value})) for value in (low, high))
        return (first, states), (second, states)

    def around(value: Any) -> tuple[Decimal, Decimal]:
        return Decimal(str(value)) * (1 - SWING), Decimal(str(value)) * (1 + SWING)

    ranged = hourly.usd_low < hourly.usd_high
    hours = (hourly.usd_low, hourly.usd_high) if ranged else around(hourly.usd)
    rates = (capacity.low_rps, capacity.high_rps) if capacity.draws is not None else around(host.capacity_rps)
    usd = (
        around(pairing.usd_per_request)
        if None in side.usd_ci95
        else tuple(Decimal(str(max(0.0, end or 0))) for end in side.usd_ci95)
    )
    busy = tuple(min(Decimal(1), share) for share in around(host.utilization))
    found = {
        f"price per hour, {dollars(hours[0])} to {dollars(hours[1])}": hosts(
            "usd_per_replica_month", *map(monthly_usd, hours)
        ),
        f"capacity, {float(rates[0]):.3g} to {float(rates[1]):.3g} requests/s": _of_capacity(side, *rates),
        f"utilization, {busy[0]:.0%} to {busy[1]:.0%}": hosts("utilization", *busy),
        f"API's price, {dollars(usd[0])} to {dollars(usd[1])} a request": _of_price(side, *usd),
    }
    if host.ops_usd_per_month:
        ops = around(host.ops_usd_per_month)
        found[f"operation, {dollars(ops[0])} to {dollars(ops[1])} a month"] = hosts("ops_usd_per_month", *ops)
    if not host.traffic.by_hour and host.traffic.peak > 1:
        peaks = tuple(max(exact(1), host.traffic.peak * exact(1 + step)) for step in (-SWING, SWING))
        name = f"peak over mean, {float(peaks[0]):.3g} to {float(peaks[1]):.3g}"
        found[name] = hosts("traffic", *map(steady, peaks))
    return found


def _of_capacity(side: Alternative, low_rps: Any, high_rps: Any) -> "tuple[Scenario, Scenario]":
    """The capacity at either end, with only the price left open besides."""

    def at(rps: Any) -> Scenario:
        pairing = replace(side.pairing, host=replace(side.pairing.host, capacity_rps=rps))
        return pairing, replace(side.states, capacity_rps=np.full(len(side.states), float(rps)))

    return at(low_rps), at(high_rps)


def _of_price(side: Alternative, low_usd: Decimal, high_usd: Decimal) -> "tuple[Scenario, Scenario]":
    """The API's price at either end, by the same factor at every volume."""

    def at(usd: Decimal) -> Scenario:
        curve, middle = side.states.curve, side.pairing.usd_per_request
        if curve is not None and middle:
            curve = curve.times(usd / middle)
        return replace(side.pairing, usd_per_request=usd), replace(side.states, curve=curve)

    return at(low_usd), at(high_usd)


def _description(servers: PricedServers) -> str:
    host, hourly = servers.host, servers.hourly
    each = f"{dollars(hourly.usd)} per hour, {dollars(monthly_usd(hourly.usd))} per month"
    ops = f", and {dollars(host.ops_usd_per_month)} per month for operations" if host.ops_usd_per_month else ""
    return f"replicas at {each} each ({hourly.source}){ops}"
