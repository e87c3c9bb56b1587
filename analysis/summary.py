"""summary.json from the files of a run folder: pure, so that old runs can be summarised again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.checks import identities
from analysis.checks.verdict import verdict
from analysis.money.cost import UNIT_COSTS, run_cost, without
from analysis.run import counting, energy, intervals, selftest, server_metrics, slo, transient
from analysis.run.gpu import gpus, throttling
from analysis.run.host_contention import host
from analysis.run.metrics import NS_PER_S, column, is_text, keep, measured, successful
from analysis.run.nodes import nodes
from analysis.run.offered import offered
from analysis.run.rates import Flow, flow
from analysis.run.sections import (
    BackoffWaits,
    CallFailures,
    ClientHealth,
    CountChecks,
    GpuUse,
    MeasuredWindow,
    PacketsSeen,
    RequestCounts,
    Throughput,
)
from analysis.run.sending import sending, tail_of
from analysis.run.sessions import reached, sessions
from analysis.run.shape import shape
from analysis.run.stalls import stalls
from analysis.run.steady import steadiness
from analysis.run.streams import arrivals_in, lags, output_tokens, with_streams
from analysis.run.summary import RequestGroup, RunSummary, RunVerdict
from analysis.run.window import Window, phases, window
from analysis.stats.distributions import all_known
from bench.errors import error_code
from bench.runs.manifest import LoadClient, RunManifest

_OF_OUTCOMES = ["phase", "end_ns", "error", "error_message", "class"]


def summarize(run: RunManifest, requests: pa.Table, telemetry: pa.Table | None) -> RunSummary:
    """Summarise one run; unknown values are None, none is NaN.

    `requests` has the columns of `bench.types.Record`, `telemetry` t_ns, source, name, value.
    """
    requests = reached(everything := with_streams(requests))
    span = window(run, requests)
    planned = measured(requests.select(_OF_OUTCOMES))
    outcomes = _outcomes(measured(everything.select(_OF_OUTCOMES)), requests)
    calls = measured(successful(requests))
    objectives = slo.objectives_of(run)
    cards = gpus(_names_of_cards(run), telemetry, span)
    metrics = intervals.of_metrics(calls)
    judged = slo.judge_all(objectives, calls, planned)
    counts = counting.counts(run, calls)
    unknown = _unknown(slo.mostly_failed(outcomes, judged), counts)
    rates = flow(run, requests, span)
    throughput = _served(rates, run, requests, objectives, unknown)
    groups = partial(_groups, run, everything, rates, objectives, unknown)
    cost = run_cost(run, requests, span, gpu_power_w=None if energy.not_the_servers(run) else _power_w(cards))
    summary = RunSummary(
        run_id=run.run_id,
        backend=run.backend,
        model=run.model,
        scenario=run.scenario.name,
        plan_hash=run.plan_hash,
        seed=run.seed,
        verdict=RunVerdict("valid"),
        window=MeasuredWindow(span.start_ns / NS_PER_S, span.seconds),
        phases=phases(run, requests, span),
        requests=outcomes,
        failures=_failures(planned),
        metrics=metrics,
        throughput=throughput,
        slo=judged,
        classes=groups("class"),
        adapters=groups("adapter"),
        inconclusive=run.inconclusive,
        offered=offered(run, requests),
        sending=sending(run, requests),
        steadiness=transient.with_window(steadiness(run, requests), run, requests),
        stalls=stalls(requests, metrics["chunk_gap_ms"].p50),
        tokens=counting.tokens(calls),
        counts=counts,
        shape=shape(calls),
        client=_client(run, requests, span, throughput.requests_per_s),
        backoff=_backoff(run),
        cache=server_metrics.cache(run, calls, telemetry),
        server=server_metrics.server(telemetry),
        rate_limits=server_metrics.rate_limits(requests),
        oddities=server_metrics.oddities(measured(requests)),
        gpu=cards,
        energy=energy.of_run(run, cards, throughput, span),
        nodes=nodes(run, telemetry, span),
        cost=without(cost, unknown.figures, unknown.why),
        host=host(run, telemetry, span),
        sessions=sessions(everything),
        throttling=throttling([gpu.index for gpu in cards], telemetry, span),
    )
    return _judged(identities.Evidence(run, requests, telemetry, span, summary))


def _names_of_cards(run: RunManifest) -> dict[int, str | None]:
    """The names of the GPUs by their index: of those that were sampled, or else that the machine has."""
    sampled = {card.index: card.name for card in run.telemetry.gpus} if run.telemetry else {}
    return sampled or dict(enumerate(gpu.name for gpu in run.hardware.gpus))


def _judged(evidence: identities.Evidence) -> RunSummary:
    """The summary with its identities, which are of its numbers, and with the verdict of both."""
    summary = replace(evidence.summary, identities=identities.check(evidence))
    return replace(summary, verdict=verdict(evidence.run, summary))


def _groups(
    run: RunManifest,
    everything: pa.Table,
    rates: Flow,
    objectives: list[slo.Objective],
    unknown: "_Unknown",
    by: str,
) -> tuple[RequestGroup, ...]:
    """The same of the requests that have each value of the column `by`, by the same functions: they sum up to all."""
    succeeded, found = successful(reached(everything)), []
    for name in sorted(everything[by].unique().drop_null().to_pylist()):
        planned = keep(everything, is_text(everything[by], name))
        rows = reached(planned)
        own = rates.of(np.asarray(pc.fill_null(is_text(succeeded[by], name), False)))
        bind = [each for each in objectives if by != "class" or each.klass in (None, name)]
        group = RequestGroup(
            name=name,
            requests=_outcomes(measured(planned.select(_OF_OUTCOMES)), rows),
            metrics=intervals.of_metrics(measured(successful(rows))),
            throughput=_served(own, run, rows, bind, unknown),
        )
        found.append(group)
    return tuple(found)


def _served(
    rates: Flow,
    run: RunManifest,
    requests: pa.Table,
    objectives: list[slo.Objective],
    unknown: "_Unknown",
) -> Throughput:
    """What these requests brought per second, as far as it is known, with its intervals."""
    planned = measured(requests.select(["phase"])).num_rows
    found = _without(_throughput(rates, successful(requests), planned, objectives), unknown)
    return intervals.of_throughput(found, rates, requests, objectives, run.load)


class _Unknown(NamedTuple):
    """What is not known although it could be computed: rates, or those of tokens, and figures of cost; and why."""

    rates: Literal["none", "tokens", "all"] = "none"
    figures: Sequence[str] = ()
    why: str = ""


def _unknown(mostly_failed: bool, counts: CountChecks) -> _Unknown:
    if mostly_failed:
        why = "most requests failed, and what was served beside them is not what the server can do"
        return _Unknown("all", UNIT_COSTS, why)
    if (counts.unknown_share or 0) > counting.MOST_UNKNOWN:
        why = "the server's token counts contradict themselves or what arrived: nothing per token is known"
        return _Unknown("tokens", UNIT_COSTS[2:], why)
    return _Unknown()


def _without(throughput: Throughput, unknown: _Unknown) -> Throughput:
    if unknown.rates == "none":
        return throughput
    throughput = replace(throughput, output_tokens_per_s=None, total_tokens_per_s=None)
    if unknown.rates == "tokens":
        return replace(throughput, tokens_unknown=unknown.why)
    return replace(throughput, requests_per_s=None, goodput_rps=None, rates_unknown=unknown.why)


def _power_w(cards: Sequence[GpuUse]) -> float | None:
    """What all GPUs drew on average; one that does not tell makes the sum unknown."""
    watts = all_known(card.power_w_mean for card in cards)
    return sum(watts) if watts else None


def _outcomes(planned: pa.Table, requests: pa.Table) -> RequestCounts:
    """What became of the measured calls; a call without an end and without an error is unfinished."""
    left_open = pc.and_(pc.is_null(planned["error"]), pc.is_null(planned["end_ns"]))
    by_error = Counter(pc.if_else(left_open, "unfinished", planned["error"]).drop_null().to_pylist())
    counted = Counter[str]()
    for code, calls in by_error.items():
        counted[error_code(code).counts_as] += calls
    counts = RequestCounts(
        planned=planned.num_rows,
        succeeded=planned.num_rows - by_error.total(),
        failed=counted["failed"],
        dropped=counted["dropped"],
        unfinished=counted["unfinished"],
        by_error=dict(by_error.most_common()),
    )
    return intervals.of_errors(counts, requests)


def _failures(planned: pa.Table) -> tuple[CallFailures, ...]:
    """What failed, by falling count; the message is the first that was given."""
    rows = zip(planned["error"].to_pylist(), planned["error_message"].to_pylist(), strict=True)
    failed = [(code, message) for code, message in rows if code is not None and error_code(code).counts_as == "failed"]
    first = dict(reversed(failed))  # of equal keys the last one stays
    counts = Counter(code for code, _ in failed)
    return tuple(CallFailures(code, count, first[code]) for code, count in counts.most_common())


def _throughput(flow: Flow, calls: pa.Table, planned: int, objectives: list[slo.Objective]) -> Throughput:
    """What successful calls of any phase brought per second of the window, and how much of it was good.

    Goodput is null without an objective; `rates_unknown` says why there are no rates, null where there are.
    """
    output = output_tokens(calls)
    good = slo.keeps_all(objectives, calls)
    good_measured = good & np.asarray(pc.fill_null(is_text(calls["phase"], "measured"), False))
    return Throughput(
        requests_per_s=flow.per_s(np.ones(calls.num_rows)),
        output_tokens_per_s=flow.per_s(output),
        total_tokens_per_s=flow.per_s(output + column(calls, "prompt_tokens")),
        goodput_rps=flow.per_s(good.astype(np.float64)) if objectives else None,
        slo_attainment=float(good_measured.sum() / planned) if objectives and planned else None,
        rates_unknown=flow.why,
    )


def _client(run: RunManifest, requests: pa.Table, span: Window, requests_per_s: float | None) -> ClientHealth:
    """How this client fared in the window: lags and coalesced reads are of the calls that were under way in it."""
    under_way = keep(
        requests,
        pc.and_(
            pc.less_equal(requests["sent_ns"], span.end_ns),
            pc.greater_equal(pc.coalesce(requests["end_ns"], span.end_ns), span.start_ns),
        ),
    )
    clients = run.clients or ()
    # A worker that was killed has left no account of its time.
    shares = [client.cpu_s / client.wall_s for client in clients if client.wall_s and client.cpu_s is not None]
    events_per_s = arrivals_in(under_way, span.start_ns, span.end_ns) / span.seconds if span.seconds else None
    return ClientHealth(
        cpu_fraction=max(shares, default=None),
        lag_ms=tail_of(lags(under_way, 1.0).ordered),
        stamps=_stamps(clients, requests) if pc.sum(requests["reads"]).as_py() else None,
        packets=_packets(run, requests),
        reads=pc.sum(under_way["reads"]).as_py() or 0,
        coalesced_reads=pc.sum(under_way["coalesced_reads"]).as_py() or 0,
        token_events_per_s=events_per_s,
        selftest=selftest.at_load(run.selftest, events_per_s, requests_per_s),
    )


def _backoff(run: RunManifest) -> BackoffWaits:
    """How often and how long slots waited after a refusal, and what share of all slots' time that was.

    All are None where a load process has left no account, the share also in an open loop, whose slots do not wait.
    """
    clients = run.clients or ()
    accounts = all_known(client.backoff for client in clients)
    if not accounts:
        return BackoffWaits()
    seat_s = sum(account.seat_s for account in accounts)
    slots, wall_s = run.load.concurrency, max(client.wall_s or 0.0 for client in clients)
    share = seat_s / (slots * wall_s) if slots and wall_s else None
    return BackoffWaits(sum(account.waits for account in accounts), seat_s, share)


def _packets(run: RunManifest, requests: pa.Table) -> PacketsSeen | None:
    """What the run's packet ring saw, and how many answers it does not stamp; None where there was no ring."""
    ring = run.packets
    if ring is None:
        return None
    arrived = pc.sum(pc.greater(requests["reads"], 0)).as_py() or 0
    stamped = pc.sum(pc.equal(requests["stamps"], "packets")).as_py() or 0
    again = pc.sum(requests["repeated_segments"]).as_py() or 0
    return PacketsSeen(ring.seen, ring.dropped, again, arrived, arrived - stamped)


def _stamps(clients: Sequence[LoadClient], requests: pa.Table) -> str:
    """Whose stamps arrivals have: the packets', else the kernel's, unless some load process had only its own."""
    if pc.any(pc.equal(requests["stamps"], "packets")).as_py():
        return "packets"
    return "kernel" if clients and all(client.stamps == "kernel" for client in clients) else "user"
