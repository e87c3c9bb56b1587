"""summary.json from the files of a run folder: pure, so that old runs can be summarised again."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.checks import identities
from analysis.checks.verdict import verdict
from analysis.money.cost import FIGURES, run_cost, without
from analysis.run import counting, intervals, selftest, served, slo, transient
from analysis.run.gpu import gpus
from analysis.run.hosts import host
from analysis.run.metrics import NS_PER_MS, NS_PER_S, column, flat, keep, measured, output_tokens, successful
from analysis.run.offered import offered
from analysis.run.rates import Flow, flow
from analysis.run.sending import sending
from analysis.run.shape import shape
from analysis.run.stalls import stalls
from analysis.run.steady import steadiness
from analysis.run.throttling import throttling
from analysis.run.window import Window, phases, window

NEVER_FINISHED = {"dropped", "budget", "not_sent", "unfinished"}


def summarize(run: Mapping[str, Any], requests: pa.Table, telemetry: pa.Table | None) -> dict[str, Any]:
    """summary.json of one run; unknown values are None, none is NaN.

    `run` is run.json, `requests` has the columns of `bench.types.Record`, `telemetry` t_ns, source, name, value.
    """
    span = window(run, requests)
    planned = measured(requests.select(["phase", "end_ns", "error", "error_message"]))
    outcomes = _outcomes(planned)
    succeeded = successful(requests)
    calls = measured(succeeded)
    objectives = [slo.parse(text) for text in run["slo"]]
    cards = gpus(run, telemetry, span)
    which_run = {
        "schema": 1,
        **{name: run[name] for name in ("run_id", "backend", "model")},
        "scenario": run["scenario"]["name"],
        **{name: run[name] for name in ("plan_hash", "seed")},
    }
    metrics = intervals.of_metrics(calls)
    judged = [slo.judge(objective, calls, planned.num_rows) for objective in objectives]
    counts = counting.counts(run, calls)
    unknown = _unknown(slo.mostly_failed(outcomes, judged), counts)
    rates = flow(run, requests, span)
    throughput = _throughput(rates, succeeded, planned.num_rows, span, objectives) | dict(unknown.rates)
    throughput |= intervals.of_throughput(throughput, rates, requests, span, objectives)
    cost = run_cost(run, requests, span, gpu_power_w=_power_w(cards))
    summary: dict[str, Any] = {
        "window": {
            "start_s": span.start_ns / NS_PER_S,
            "seconds": span.seconds,
        },
        "phases": phases(run, requests, span),
        "requests": outcomes | intervals.of_errors(requests),
        "failures": _failures(planned),
        "metrics": metrics,
        "throughput": throughput,
        "slo": judged,
        "offered": offered(run, requests),
        "sending": sending(run, requests),
        "steadiness": steadiness(run, requests) | transient.chosen(run, requests),
        "stalls": stalls(requests, metrics["chunk_gap_ms"]["p50"]),
        "tokens": counting.tokens(calls),
        "counts": counts,
        "shape": shape(calls),
        "client": _client(run, requests, span, throughput["requests_per_s"]),
        "backoff": _backoff(run),
        "cache": served.cache(run, calls, telemetry),
        "server": served.server(telemetry),
        "rate_limits": served.rate_limits(requests),
        "oddities": served.oddities(measured(requests)),
        "gpu": cards,
        "cost": without(cost, unknown.figures, unknown.why),
    }
    indices = [gpu["index"] for gpu in summary["gpu"]]
    summary |= {"host": host(run, telemetry, span), "throttling": throttling(indices, telemetry, span)}
    summary["identities"] = identities.check(identities.Evidence(run, requests, telemetry, span, summary))
    return which_run | {"verdict": verdict(run, summary)} | summary


class _Unknown(NamedTuple):
    """The rates and figures of cost that are not known although they could be computed, and why."""

    rates: Mapping[str, str | None] = MappingProxyType({})
    figures: Sequence[str] = ()
    why: str = ""


def _unknown(mostly_failed: bool, counts: Mapping[str, Any]) -> _Unknown:
    rates = ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "goodput_rps")
    if mostly_failed:
        why = "most calls failed, and what was served beside them is not what the server can do"
        return _Unknown({**dict.fromkeys(rates), "rates_unknown": why}, FIGURES, why)
    if counts["unknown_share"] > counting.MOST_UNKNOWN:
        why = "the server's token counts contradict themselves or what arrived: nothing per token is known"
        return _Unknown({**dict.fromkeys(rates[1:3]), "tokens_unknown": why}, FIGURES[2:], why)
    return _Unknown()


def _power_w(cards: Sequence[Mapping[str, Any]]) -> float | None:
    """What all GPUs drew on average; one that does not tell makes the sum unknown."""
    watts = [card["power_w_mean"] for card in cards]
    return None if not watts or None in watts else sum(watts)


def write(summary: Mapping[str, Any], path: Path) -> None:
    """Write summary.json; ValueError where a NaN or an infinity slipped in, which JSON does not know."""
    path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _outcomes(planned: pa.Table) -> dict[str, Any]:
    """What became of the measured calls; a call without an end and without an error is unfinished."""
    left_open = pc.and_(pc.is_null(planned["error"]), pc.is_null(planned["end_ns"]))
    by_error = Counter(pc.if_else(left_open, "unfinished", planned["error"]).drop_null().to_pylist())
    return {
        "planned": planned.num_rows,
        "succeeded": planned.num_rows - by_error.total(),
        "failed": sum(count for error, count in by_error.items() if error not in NEVER_FINISHED),
        "dropped": by_error["dropped"] + by_error["budget"],
        "unfinished": by_error["unfinished"] + by_error["not_sent"],
        "by_error": dict(by_error.most_common()),
    }


def _failures(planned: pa.Table) -> list[dict[str, Any]]:
    """What failed, as {code, count, message} by falling count; the message is the first that was given."""
    rows = zip(planned["error"].to_pylist(), planned["error_message"].to_pylist(), strict=True)
    found: dict[str, dict[str, Any]] = {}
    for code, message in rows:
        if code is not None and code not in NEVER_FINISHED:
            found.setdefault(code, {"code": code, "count": 0, "message": message})["count"] += 1
    return sorted(found.values(), key=lambda failure: -failure["count"])


def _throughput(
    served: Flow, calls: pa.Table, planned: int, span: Window, objectives: list[slo.Objective]
) -> dict[str, Any]:
    """What successful calls of any phase brought per second of the window, and how much of it was good.

    Goodput is null without an objective; `rates_unknown` says why there are no rates, null where there are.
    """
    output = output_tokens(calls)
    good = slo.keeps_all(objectives, calls)
    good_measured = good & np.asarray(pc.fill_null(pc.equal(calls["phase"], "measured"), False))
    return {
        "requests_per_s": served.per_s(span, np.ones(calls.num_rows)),
        "output_tokens_per_s": served.per_s(span, output),
        "total_tokens_per_s": served.per_s(span, output + column(calls, "prompt_tokens")),
        "goodput_rps": served.per_s(span, good.astype(np.float64)) if objectives else None,
        "slo_attainment": float(good_measured.sum() / planned) if objectives and planned else None,
        "rates_unknown": served.why,
        "tokens_unknown": None,
    }


def _client(run: Mapping[str, Any], requests: pa.Table, span: Window, requests_per_s: float | None) -> dict[str, Any]:
    """How this client fared in the window: lags and coalesced reads are of the calls that were under way in it."""
    under_way = keep(
        requests,
        pc.and_(
            pc.less_equal(requests["sent_ns"], span.end_ns),
            pc.greater_equal(pc.coalesce(requests["end_ns"], span.end_ns), span.start_ns),
        ),
    )
    lags_ns, _ = flat(under_way, "lags_ns")
    t_ns, _ = flat(under_way, "arrivals_ns")
    clients = run["clients"]
    # A worker that was killed has left no account of its time.
    shares = [client["cpu_s"] / client["wall_s"] for client in clients if client.get("wall_s")]
    events_per_s = float(span.holds(t_ns).sum() / span.seconds) if span.seconds else None
    return {
        "cpu_fraction": max(shares, default=None),
        "lag_ms": _lag_ms(lags_ns),
        "stamps": _stamps(clients) if pc.sum(requests["reads"]).as_py() else None,
        "reads": pc.sum(under_way["reads"]).as_py() or 0,
        "coalesced_reads": pc.sum(under_way["coalesced_reads"]).as_py() or 0,
        "token_events_per_s": events_per_s,
        "selftest": selftest.at_load(run.get("selftest"), events_per_s, requests_per_s),
    }


def _backoff(run: Mapping[str, Any]) -> dict[str, Any]:
    """How often and how long seats waited after a refusal, and what share of all seats' time that was.

    All are None where a load process has left no account, the share also in an open loop, whose seats do not wait.
    """
    told = [client.get("backoff") for client in run["clients"]]
    if not told or None in told:
        return {"waits": None, "seat_s": None, "share": None}
    seat_s = sum(one["seat_s"] for one in told)
    seats, wall_s = run["load"]["concurrency"], max(client["wall_s"] for client in run["clients"])
    share = seat_s / (seats * wall_s) if seats and wall_s else None
    return {"waits": sum(one["waits"] for one in told), "seat_s": seat_s, "share": share}


def _stamps(clients: Sequence[Mapping[str, Any]]) -> str:
    """Whose stamps arrivals have: the kernel's, unless some load process had only its own."""
    return "kernel" if clients and all(client["stamps"] == "kernel" for client in clients) else "user"


def _lag_ms(lags_ns: npt.NDArray[np.integer]) -> dict[str, float | None]:
    if not len(lags_ns):
        return {"p50": None, "p99": None, "max": None}
    p50, p99, most = np.quantile(lags_ns, [0.50, 0.99, 1.0]) / NS_PER_MS
    return {"p50": float(p50), "p99": float(p99), "max": float(most)}
