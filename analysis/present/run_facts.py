"""What a run did in numbers that stand alone: what was served, what it cost, what the client and the server say."""

from typing import Final

from analysis.present.document import Facts, facts
from analysis.present.in_words import steady_window
from analysis.present.tables import Rows
from analysis.run.counting import READINGS
from analysis.run.energy import RunEnergy
from analysis.run.sections import PacketsSeen, PriceSource, RunCost, SelftestAtLoad
from analysis.run.sessions import SessionFigures
from analysis.run.summary import RunSummary
from analysis.stats.distributions import UNKNOWN, Interval
from analysis.wording import count, dollars, interval, number, percent

RATES: Final = {
    "requests_per_s": ("requests completed", "requests/s"),
    "output_tokens_per_s": ("output tokens", "tokens/s"),
    "total_tokens_per_s": ("prompt and output tokens", "tokens/s"),
    "goodput_rps": ("goodput", "requests/s"),
}
SERVER_MEANS: Final = {
    "ttft_ms_mean": "server's mean to first token",
    "itl_ms_mean": "server's mean token gap",
    "e2e_ms_mean": "server's mean of a request",
    "queue_ms_mean": "server's mean in its queue",
}
COSTS: Final = {
    "api_usd": "paid to the API",
    "usd_per_request": "per request",
    "usd_per_good_request": "per request within objectives",
    "usd_per_million_output_tokens": "per million output tokens",
    "usd_per_million_total_tokens": "per million tokens, prompts included",
}
ENERGY_SOURCES: Final = {
    "counter": "counted",
    "power": "by power over time",
    "both": "counted or by power over time",
}
_BURSTS: Final = " (constant 0, independent users 1, bursts more): what is served in time depends on it"


def of_run(summary: RunSummary) -> Facts:
    """All facts that are known."""
    seen = [] if summary.verdict.status == "not verifiable" else client(summary)
    return facts([*served(summary), *seen, *server(summary), *energy(summary.energy), *cost(summary.cost)])


def _sessions(found: SessionFigures) -> str:
    failed = f"; {count(found.failed, 'session')} ended with a turn that failed" if found.failed else ""
    turns = f", {count(found.turns_mean, 'turn')} each" if found.turns_mean is not None else ""
    took = f", {number(found.duration_s_p50)} s at the median" if found.duration_s_p50 is not None else ""
    return f"{found.complete:,} of {found.count:,} complete{turns}{took}{failed}"


def served(summary: RunSummary) -> Rows:
    """What was served, per second, and why that is not known."""
    requests, rates = summary.requests, summary.throughput
    errors = ", ".join(f"{calls:,} {code}" for code, calls in requests.by_error.items())
    rows = [("requests", f"{requests.succeeded:,} of {requests.planned:,} succeeded{errors and f'; {errors}'}")]
    if rates.rates_unknown:
        rows.append(("rates", f"unknown: {rates.rates_unknown}"))
    elif rates.requests_per_s is None:
        rows.append(("rates", "unknown: nothing was measured"))
    else:
        rows.append(("measured for", f"{number(summary.window.seconds)} s"))
    rows += [
        (label, f"{number(rate)} {unit}{_sure(interval(rates.ci95.get(name)))}")
        for name, (label, unit) in RATES.items()
        if (rate := getattr(rates, name)) is not None
    ]
    if share := summary.shape.whole_share:
        rows.append(("token times", f"unknown for {percent(share)} of answers, which came in one piece"))
    if rates.tokens_unknown:
        rows.append(("tokens per second", f"unknown: {rates.tokens_unknown}"))
    if rates.slo_attainment is not None:
        sure = _sure(interval(rates.ci95.get("slo_attainment"), percent))
        rows.append(("met all objectives", f"{percent(rates.slo_attainment)} of requests{sure}"))
    rows += [
        ("the server's counts", f"of {count(calls, 'request')} {READINGS[code]}")
        for code, calls in summary.counts.readings.items()
    ]
    if (planned := summary.offered.planned_index_of_dispersion) is not None:
        sent = number(summary.offered.index_of_dispersion)
        rows.append(("burstiness", f"index of dispersion {sent} as sent, {number(planned)} as planned{_BURSTS}"))
    if (found := summary.sessions) is not None:
        rows.append(("sessions", _sessions(found)))
    if (window := steady_window(summary)) is not None:
        rows.append(("window", window))
    return rows


def _sure(bounds: str | None) -> str:
    return f" (95% CI {bounds})" if bounds else ""


def client(summary: RunSummary) -> Rows:
    """How the client stamped, how busy it was, how long it waited, and what its selftest says of it."""
    seen, backoff = summary.client, summary.backoff
    stamps = "nothing arrived" if seen.stamps is None else f"{seen.stamps.removesuffix('s')} timestamps"
    busy = f"{number(seen.token_events_per_s)} token events/s, {percent(seen.cpu_fraction)} of a core"
    rows = [("client", f"{stamps}, lag p99 {number(seen.lag_ms.p99)} ms, {busy}; {_error(seen.selftest)}")]
    if seen.packets:
        rows.append(("packets", _packets(seen.packets)))
    if backoff.waits:
        share = "" if backoff.share is None else f", {percent(backoff.share)} of their time"
        waited = f"slots waited {number(backoff.seat_s)} s after {count(backoff.waits, 'refusal')}{share}"
        rows.append(("backoff", f"{waited}; --backoff off asks again at once"))
    return rows


def _packets(packets: PacketsSeen) -> str:
    """How many were seen, and what became of all of them."""
    again = f"{count(packets.retransmitted, 'segment')} retransmitted or out of order"
    rest = f"; {count(packets.unstamped, 'answer')} timestamped by read instead" if packets.unstamped else ""
    return f"{number(packets.seen)} seen, {number(packets.dropped)} dropped, {again}{rest}"


def _error(selftest: SelftestAtLoad | None) -> str:
    """What this machine's selftest says of the client's error under such a load."""
    if selftest is None:
        return "error unknown (measure it with bench.py selftest)"
    error_ms = selftest.error_ms
    return "load above what selftest measured" if error_ms is None else f"error p99 {number(error_ms)} ms (selftest)"


def server(summary: RunSummary) -> Rows:
    """What the server says of itself."""
    rows = [
        (label, f"{number(mean_ms)} ms")
        for name, label in SERVER_MEANS.items()
        if (mean_ms := getattr(summary.server, name)) is not None
    ]
    if summary.cache.hit_rate is not None:
        planned = summary.cache.planned
        of = f"; the plan repeats {percent(planned)} of them" if planned else ""
        rows.append(("prefix cache", f"{percent(summary.cache.hit_rate)} of prompt tokens were cached{of}"))
    return rows + [
        (f"rate limit {limit.name}", f"at least {number(limit.remaining_min)} of {number(limit.limit)} left")
        for limit in summary.rate_limits
    ]


def energy(energy: RunEnergy | None) -> Rows:
    """What the GPUs took for what was served, or why that is not known; nothing where none was sampled."""
    if energy is None:
        return []
    if energy.joules is None:
        return [("energy", f"unknown: {energy.why}")]
    watched = f"{percent(energy.coverage)} of the window watched"
    of = f"of {count(energy.gpus, 'GPU')}, {ENERGY_SOURCES[energy.source or 'both']}, {watched}"
    rows = [("energy", f"{number(energy.joules)} J {of}")]
    if energy.joules_per_output_token is not None:
        per_joule = f"{number(energy.output_tokens_per_joule)} tokens per joule"
        rows.append(("energy per output token", f"{number(energy.joules_per_output_token)} J, {per_joule}"))
    if energy.joules_per_token is not None:
        rows.append(("energy per token, prompts included", f"{number(energy.joules_per_token)} J"))
    if energy.joules_per_request is not None:
        thousand = f"{number(energy.wh_per_1000_requests)} Wh per 1,000"
        rows.append(("energy per request", f"{number(energy.joules_per_request)} J, {thousand}"))
    if energy.gco2e is not None:
        thousand = f", {number(energy.gco2e_per_1000_requests)} g per 1,000 requests"
        grid = f"at {number(energy.grid_gco2e_per_kwh)} g/kWh (--grid-gco2e-per-kwh)"
        rows.append(("CO2e", f"{number(energy.gco2e)} g{thousand if energy.joules_per_request else ''}, {grid}"))
    return rows


def cost(cost: RunCost | None) -> Rows:
    """What the run cost, nothing when that is not known."""
    if cost is None:
        return []
    rows = [
        (label, f"{dollars(usd)}{_between(cost.ci95.get(name, UNKNOWN))}{_thousand(name, usd)}")
        for name, label in COSTS.items()
        if (usd := getattr(cost, name)) is not None
    ]
    if cost.usd_per_hour is not None:
        low, high = cost.usd_per_hour
        rows.append(("price per hour", dollars(low) + (f" to {dollars(high)}" if high != low else "")))
    if cost.priced_as:
        rows.append(("priced as", cost.priced_as))
    of = cost.prices or PriceSource()
    prices = ", ".join(filter(None, (of.source, of.version, of.as_of)))
    return [*rows, ("prices", prices), *(("note", note) for note in cost.notes if note)]


def _between(bounds: Interval) -> str:
    low, high = bounds
    return "" if low is None or high is None else f" ({dollars(low)} to {dollars(high)})"


def _thousand(name: str, usd: float) -> str:
    return f", {dollars(1000 * usd)} per 1,000" if name == "usd_per_request" else ""
