"""From options to a comparison: the servers, each API against them, and what the measurements leave open."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.cli.breakeven.measured import check_same_load, point
from bench.cli.breakeven.servers import Load, Servers, load_of, servers_of
from bench.cli.breakeven.versus import Offer, of_model, of_price, of_run, requests_measured, requests_stated, runs_of
from bench.types import UserError

if TYPE_CHECKING:
    import numpy as np

    from analysis.money.breakeven import Answer
    from analysis.money.comparison import Comparison, Rival
    from analysis.money.routing import Case
    from analysis.money.uncertainty import Bar, Draws, Uncertainty
    from analysis.stats import Floats

VOLUMES = 200
# How far beyond the volumes that matter the pictures reach.
MARGIN = 30
# An input whose range nobody knows is varied by so much.
SWING = Decimal("0.2")


def compare(options: dict[str, Any], now: datetime) -> "Comparison":
    """Compare the servers with each API that the options name. Raises UserError for whatever is wrong with them."""
    import numpy as np

    from analysis.money.comparison import Comparison

    rng = np.random.default_rng(options["seed"])
    load = load_of(options)
    servers = servers_of(options, load.traffic, rng)
    offers, rivals_runs, warnings = _offers(options, servers, load, now)
    answers = [_answer(_case(offer, servers, options, None), offer) for offer in offers]
    volumes = _volumes(servers, answers, load.requests_per_month)
    judge = _Judge(servers, load.requests_per_month, volumes, rng)
    points = [point(run, servers.hourly) for run in servers.capacity.probes]
    points += [point(run, None) for run in rivals_runs]
    return Comparison(
        host=_host(servers),
        requests_per_month=load.requests_per_month,
        volumes=volumes,
        rivals=tuple(
            _rival(_case(offer, servers, options, judge.at(answer)), answer, offer, judge)
            for offer, answer in zip(offers, answers, strict=True)
        ),
        points=tuple(found for found in points if found is not None),
        warnings=(*servers.hourly.notes, *servers.capacity.warnings, *warnings),
    )


def _offers(options: dict[str, Any], servers: Servers, load: Load, now: datetime) -> tuple[list[Offer], Any, list[str]]:
    """(the APIs, the runs among them, what there is to say of the requests)."""
    if not options["versus"]:
        raise UserError("--versus: give an API to compare with, such as claude-haiku-5-5, PROVIDER/MODEL or a run")
    runs, own = runs_of(options["versus"]), servers.capacity.runs
    if runs and options["batch"]:
        raise UserError("--batch: a measured run is priced as it was made; give PROVIDER/MODEL instead of it")
    warnings = []
    if options["different_plans"]:
        warnings = ["the runs offered different loads (--different-plans)"] if runs and own else []
    else:
        check_same_load(own, list(runs.values()))
    requests, offers = requests_stated(options), []
    if options["model"] is not None:
        from bench.cli.breakeven.roofline import check_capacity

        requests = requests or requests_measured([*own] or [*runs.values()], options)
        warnings.append(check_capacity(servers.capacity.high_rps, requests, options))
    for spec in options["versus"]:
        if spec in runs:
            offers.append(of_run(runs[spec]))
        elif stated := of_price(spec):
            offers.append(stated)
        else:
            requests = requests or requests_measured([*own] or [*runs.values()], options)
            offers.append(of_model(spec, requests, load, options, now))
    return offers, list(runs.values()), warnings


def _case(offer: Offer, servers: Servers, options: dict[str, Any], volume: int | None) -> "Case":
    from analysis.money.routing import Case

    return Case(
        host=servers.host,
        usd_per_request=offer.usd(volume),
        offered_share=options["hybrid_share"],
        pass_rate=options["pass_rate"],
        overflow=options["overflow"],
        api_good_share=options["api_good_share"],
    )


def _answer(case: "Case", offer: Offer) -> "Answer":
    from analysis.money.breakeven import break_even, break_even_on_curve

    if offer.curve is None or offer.settled_at is None or not case.host.capacity_rps:
        return break_even(case)
    return break_even_on_curve(case, offer.curve, offer.settled_at)


def _volumes(servers: Servers, answers: "Sequence[Answer]", asked: int | None) -> "Floats":
    """Volumes for pictures: those that matter are well inside."""
    import numpy as np

    anchors = [float(volume) for answer in answers for volume in (answer.first, answer.permanent) if volume]
    anchors += [float(asked)] if asked else []
    anchors += [float(servers.host.requests_at_peak_per_replica)] if servers.host.capacity_rps else []
    low, high = min(anchors, default=1e4) / MARGIN, max(anchors, default=1e6) * MARGIN
    return np.unique(np.geomspace(max(1.0, low), max(high, 100.0), VOLUMES).round())


class _Judge(NamedTuple):
    """What all answers are judged by."""

    servers: Servers
    requests_per_month: int | None
    volumes: "Floats"
    rng: "np.random.Generator"

    def at(self, answer: "Answer") -> int | None:
        """The volume at which prices are taken: the user's, else that of the first break-even."""
        return self.requests_per_month or answer.first


def _rival(case: "Case", answer: "Answer", offer: Offer, judge: _Judge) -> "Rival":
    import numpy as np

    from analysis.money import uncertainty
    from analysis.money.advice import advice, where
    from analysis.money.comparison import Rival

    asked, drawn = judge.requests_per_month, offer.draws(judge.at(answer), judge.rng)
    draws = _draws(case, drawn, offer, judge)
    judged = uncertainty.judge(case, answer, draws, asked) if asked else answer
    low, high = (None, None) if drawn is None else (float(end) for end in np.quantile(drawn, (0.025, 0.975)))
    prices = None if offer.curve is None else offer.curve(judge.volumes)
    return Rival(
        name=offer.name,
        case=case,
        answer=judged,
        uncertainty=_uncertainty(case, answer, draws, offer, judge),
        p_cheaper=uncertainty.p_cheaper(case, draws, asked) if asked else None,
        tornado=_tornado(case, (low, high), judge, judge.at(answer)),
        advice=tuple(advice(case, judged, asked) if asked else [where(judged)]),
        warnings=offer.warnings,
        api_usd_per_request=prices,
        usd_ci95=(low, high),
    )


def _draws(case: "Case", usd: "Floats | None", offer: Offer, judge: _Judge) -> "Draws":
    """Price and capacity as they might have come out; what was stated is as it is."""
    import numpy as np

    from analysis.money.uncertainty import Draws

    capacity = judge.servers.capacity
    measured = [len(values) for values in (usd, capacity.draws) if values is not None]
    size = max(measured, default=1)
    return Draws(
        np.full(size, float(case.usd_per_request)) if usd is None else usd,
        np.full(size, capacity.low_rps) if capacity.draws is None else capacity.draws,
        offer.requests,
        capacity.measurements,
    )


def _uncertainty(case: "Case", answer: "Answer", draws: "Draws", offer: Offer, judge: _Judge) -> "Uncertainty":
    """Where the price depends on the volume, the break-even's interval takes it where the break-even is."""
    import numpy as np

    from analysis.money.uncertainty import assess, p_cheaper

    if offer.curve is None:
        return assess(case, draws, judge.volumes)

    def at(volume: float) -> "Draws":
        usd = offer.curve(np.array([volume]))[0] if offer.curve else 0.0
        return replace(draws, usd_per_request=draws.usd_per_request * float(usd) / float(case.usd_per_request))

    first = at(float(answer.first or judge.volumes[-1]))
    chances = [p_cheaper(case, at(volume), volume) for volume in judge.volumes.tolist()]
    return replace(assess(case, first, judge.volumes[:1]), volumes=judge.volumes, p_cheaper=np.array(chances))


# --- scenarios --------------------------------------------------------------------------------------------------


def _tornado(
    case: "Case", usd_ci95: tuple[float | None, float | None], judge: _Judge, volume: int | None
) -> "tuple[Bar, ...]":
    """What each input does at this volume; nothing where there is none to look at, or nothing can be served."""
    from analysis.money.uncertainty import tornado

    if volume is None or not case.host.capacity_rps:
        return ()
    return tuple(tornado(_scenarios(case, usd_ci95, judge), volume))


def _scenarios(
    case: "Case", usd_ci95: tuple[float | None, float | None], judge: _Judge
) -> "dict[str, tuple[Case, Case]]":
    """Each input at its low and its high end: its range where that is known, else a fifth less and more."""
    from analysis.money.numbers import dollars, exact, monthly_usd
    from analysis.money.selfhost import steady

    host, hourly, capacity = case.host, judge.servers.hourly, judge.servers.capacity

    def hosts(name: str, low: Any, high: Any) -> "tuple[Case, Case]":
        return replace(case, host=replace(host, **{name: low})), replace(case, host=replace(host, **{name: high}))

    def around(value: Any) -> tuple[Decimal, Decimal]:
        return Decimal(str(value)) * (1 - SWING), Decimal(str(value)) * (1 + SWING)

    ranged = hourly.usd_low < hourly.usd_high
    hours = (hourly.usd_low, hourly.usd_high) if ranged else around(hourly.usd)
    rates = (capacity.low_rps, capacity.high_rps) if capacity.draws is not None else around(host.capacity_rps)
    usd = (
        around(case.usd_per_request)
        if None in usd_ci95
        else tuple(Decimal(str(max(0.0, end or 0))) for end in usd_ci95)
    )
    busy = tuple(min(Decimal(1), share) for share in around(host.utilization))
    found = {
        f"price of an hour, {dollars(hours[0])} to {dollars(hours[1])}": hosts(
            "usd_per_replica_month", *map(monthly_usd, hours)
        ),
        f"capacity, {float(rates[0]):.3g} to {float(rates[1]):.3g} requests/s": hosts("capacity_rps", *rates),
        f"utilization, {busy[0]:.0%} to {busy[1]:.0%}": hosts("utilization", *busy),
        f"API's price, {dollars(usd[0])} to {dollars(usd[1])} a request": (
            replace(case, usd_per_request=usd[0]), replace(case, usd_per_request=usd[1]),
        ),
    }  # fmt: skip
    if host.ops_usd_per_month:
        ops = around(host.ops_usd_per_month)
        found[f"operation, {dollars(ops[0])} to {dollars(ops[1])} a month"] = hosts("ops_usd_per_month", *ops)
    if not host.traffic.by_hour and host.traffic.peak > 1:
        peaks = tuple(max(exact(1), host.traffic.peak * exact(1 + step)) for step in (-SWING, SWING))
        name = f"peak over mean, {float(peaks[0]):.3g} to {float(peaks[1]):.3g}"
        found[name] = hosts("traffic", *map(steady, peaks))
    return found


def _host(servers: Servers) -> str:
    from analysis.money.numbers import dollars, monthly_usd

    host, hourly = servers.host, servers.hourly
    each = f"{dollars(hourly.usd)} an hour, {dollars(monthly_usd(hourly.usd))} a month"
    ops = f", and {dollars(host.ops_usd_per_month)} a month besides" if host.ops_usd_per_month else ""
    return f"replicas at {each} each ({hourly.source}){ops}"
