"""The report's plots: one function from `Data` to a Figure each, and one line in FIGURES.

A function returns None when there is nothing to draw. `layout.meta` is the caption: what the figure shows, in words.
Text that comes from outside is escaped, because plotly reads labels as HTML.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.present import series
from analysis.present.charts import (
    Panel,
    Plot,
    compact,
    distribution,
    escape,
    level,
    light,
    line_of,
    mark,
    over_time,
    scale,
    stacked,
    steps,
)
from analysis.present.figure import Figure, Trace, scatter
from analysis.present.palette import SERIES
from analysis.run.metrics import (
    METRICS,
    NS_PER_MS,
    NS_PER_S,
    OF_OUTPUT_TIMES,
    column,
    is_text,
    measured,
    output_times_ns,
    successful,
)
from analysis.run.sections import MetricSummary
from analysis.run.streams import gaps, lags
from analysis.run.summary import RunSummary
from analysis.run.window import last_ns
from analysis.stats.distributions import Floats
from analysis.stats.pool import Ordered
from analysis.wording import count, number, percent
from bench.runs.table import mapped

POINTS: Final = 4000
SPANS: Final = 500
# Of one gauge: for a line at the most, for all lines together, and for a line at the least however many there are.
POINTS_PER_LINE: Final = 800
POINTS_PER_GAUGE: Final = 3200
FEWEST_PER_LINE: Final = 100


class Data(NamedTuple):
    """A run's files as they are: requests.parquet, telemetry.parquet (or None) and summary.json."""

    requests: pa.Table
    telemetry: pa.Table | None
    summary: RunSummary


class Gauge(NamedTuple):
    """A panel of telemetry: the series of these names, from whatever source has them, times `factor`."""

    title: str
    unit: str
    names: tuple[str, ...]
    factor: float = 1.0


GAUGES: Final = (
    Gauge("GPU use", "%", ("util_pct",)),
    Gauge("Memory in use", "GiB", ("memory_used_bytes",), 2**-30),
    Gauge("GPU power", "W", ("power_w",)),
    Gauge("GPU clock", "MHz", ("sm_clock_mhz",)),
    Gauge("CPU use", "cores", ("busy_cores",)),
    Gauge("Resident memory", "GiB", ("rss_bytes",), 2**-30),
    Gauge("Requests in the engine", "requests", ("running", "queue")),
    Gauge("KV cache in use", "%", ("kv_use_fraction",), 100.0),
)


# --- distributions ----------------------------------------------------------------------------------------------


def ttft(data: Data) -> Figure | None:
    """How long requests waited for their first token; those that failed never got one."""
    return _of_requests(data, "ttft_ms", "time to first token, ms")


def tpot(data: Data) -> Figure | None:
    """How long each request took per token after its first."""
    return _of_requests(data, "tpot_ms", "time per output token, ms")


def _of_requests(data: Data, name: str, x_title: str) -> Figure | None:
    planned = measured(data.requests)
    calls = successful(planned)
    values, failed = METRICS[name].values(calls).values, planned.num_rows - calls.num_rows
    caption = _within(data.summary.metric(name), "of the requests")
    if failed and len(values):
        end = percent(len(values) / (len(values) + failed))
        caption += f" {count(failed, 'request')} failed, so the curve ends at {end}."
    return distribution(
        {"": values}, x_title, "share of requests", caption, _percentiles(data.summary.metric(name)), never=failed
    )


def itl(data: Data) -> Figure | None:
    """How evenly tokens arrived."""
    calls = successful(measured(data.requests))
    curves = {"per token": gaps("itl_ms", calls).ordered}
    caption = _within(data.summary.metric("itl_ms"), "of the gaps between tokens")
    if data.summary.tokens.tokens_equal_chunks is False:
        curves["per arrival"] = gaps("chunk_gap_ms", calls).ordered
        caption += " Some arrivals bring several tokens: per token, all but the first of them have a gap of zero."
    return distribution(
        curves, "gap between tokens, ms", "share of gaps", caption, _percentiles(data.summary.metric("itl_ms"))
    )


def client_lag(data: Data) -> Figure | None:
    """How late this client was to look at what the kernel had already received."""
    lag = data.summary.client.lag_ms
    caption = (
        "How long data had waited in the kernel, already timestamped, before the client read it. "
        f"99% of the reads were at most {number(lag.p99)} ms late, the worst {number(lag.max)} ms."
    )
    lags_ms = lags(measured(data.requests), NS_PER_MS).ordered
    return distribution({"": lags_ms}, "client lag, ms", "share of reads", caption, {"p50": lag.p50, "p99": lag.p99})


def _percentiles(metric: MetricSummary) -> dict[str, float | None]:
    return {"p50": metric.p50, "p90": metric.p90, "p99": metric.p99}


def _within(metric: MetricSummary, of: str) -> str:
    if metric.p50 is None:
        return ""
    tail = f", 99% at most {number(metric.p99)} ms" if metric.p99 is not None else ""
    return f"Half {of} took at most {number(metric.p50)} ms{tail}."


# --- over time --------------------------------------------------------------------------------------------------


def ttft_over_time(data: Data) -> Figure | None:
    """Every request's wait for its first token by when it was sent; the failures at their end."""
    if not _has_instants(data):
        return None
    sent_s, end_s = _seconds(data.requests, "sent_ns"), _seconds(data.requests, "end_ns")
    wait_ms, until_end_ms = (_seconds(data.requests, "first_token_ns") - sent_s) * 1e3, (end_s - sent_s) * 1e3
    failed = _failed(data.requests)
    warmup = np.asarray(pc.fill_null(is_text(data.requests["phase"], "warmup"), False))
    groups = [
        ("warm-up", warmup & ~failed, wait_ms, {"color": light("muted"), "size": 5, "opacity": 0.6}),
        ("first token", ~warmup & ~failed, wait_ms, {"color": light("blue"), "size": 5, "opacity": 0.6}),
        ("failed", failed, until_end_ms, {"color": light("fail"), "size": 8, "symbol": "x"}),
    ]
    traces, drawable = [], 0
    for name, of_group, height_ms, marker in groups:
        rows = np.flatnonzero(of_group & ~np.isnan(height_ms))
        drawable += len(rows)
        rows = rows[series.decimate(sent_s[rows], height_ms[rows], POINTS, SPANS)]
        if len(rows):
            traces.append(_points(name, sent_s[rows], height_ms[rows], marker))
    if not traces:
        return None
    caption = "Each point is a request. A failed one is plotted at the time from sending to failure."
    caption += _left_out(
        sum(len(trace["x"]) for trace in traces), drawable, int((failed & np.isnan(until_end_ms)).sum())
    )
    figure = _over_time(data, [Panel("", "time since sending, ms", traces)], caption, row_px=280)
    return figure.update_layout(
        yaxis=scale(Ordered.of(np.concatenate([trace["y"] for trace in traces]))), hovermode="closest"
    )


def _points(name: str, sent_s: Floats, height_ms: Floats, marker: Mapping[str, Any]) -> Trace:
    return scatter(
        x=compact(sent_s), y=compact(height_ms), name=name, mode="markers", marker=marker,
        hovertemplate=f"{name}: %{{y:,.4~r}} ms<br>sent at %{{x:,.2f}} s<extra></extra>",
    )  # fmt: skip


def _left_out(drawn: int, drawable: int, unplaced: int) -> str:
    text = ""
    if drawn < drawable:
        text += (
            f"{drawn:,} of {drawable:,} points are drawn: an even sample, plus the highest and lowest in each of "
            f"{SPANS} equal time spans."
        )
    if unplaced:
        text += f" {count(unplaced, 'request')} never sent or never ended cannot be placed."
    return text


def throughput(data: Data) -> Figure | None:
    """Tokens and requests per second, and how many requests were in flight."""
    sent_s, end_s = _seconds(data.requests, "sent_ns"), _seconds(data.requests, "end_ns")
    was_sent, ended = ~np.isnan(sent_s), ~np.isnan(end_s)
    if not ended.any() or not _has_instants(data):
        return None
    good = successful(data.requests)
    failed = _failed(data.requests)
    edges = series.bin_edges(_end_s(data), bins=int(np.clip(len(sent_s) / 8, 20, 120)))

    def arrived(some: pa.Table) -> Floats:
        t_ns, _, made = output_times_ns(some)
        return series.rate_per_s(t_ns / NS_PER_S, edges, weights=made)

    tokens_per_s = sum((found for _, found in mapped(arrived, good, OF_OUTPUT_TIMES)), np.zeros(len(edges) - 1))
    completed_per_s = series.rate_per_s(end_s[ended & ~failed], edges)
    failed_per_s = series.rate_per_s(end_s[ended & failed], edges)
    in_flight = series.mean_in_flight(sent_s[was_sent], np.where(ended, end_s, edges[-1])[was_sent], edges)

    rates = data.summary.throughput
    failures = [steps(edges, failed_per_s, "fail", "failed")] if failed_per_s.any() else []
    tokens = [steps(edges, tokens_per_s, "blue", "arrived"), *_mean(data, rates.output_tokens_per_s)]
    due_s = _seconds(data.requests, "due_ns") if data.summary.offered.wanted_rps else np.empty(0)
    due = [steps(edges, series.rate_per_s(due_s[~np.isnan(due_s)], edges), "muted", "due")] if len(due_s) else []
    completed = [
        *due,
        steps(edges, completed_per_s, "blue", "completed"),
        *failures,
        *_mean(data, rates.requests_per_s),
    ]
    panels = [
        Panel("Output tokens", "tokens/s", tokens),
        Panel("Requests", "requests/s", completed),
        Panel("Requests in flight", "requests", [steps(edges, in_flight, "blue")]),
    ]
    caption = f"Means over {edges[1]:g} s. Tokens are those of requests that succeeded."
    if due:
        caption += " Due: what the open loop's plan called for, whenever it was sent."
    return _over_time(data, panels, caption)


def _mean(data: Data, value: float | None) -> list[Trace]:
    measured = [phase for phase in data.summary.phases if phase.name == "measured"]
    return [level(phase, value, "mean") for phase in measured if value is not None]


def by_turn(data: Data) -> Figure | None:
    """How the wait and the cache changed as sessions grew."""
    if data.summary.sessions is None:
        return None
    rows = data.summary.sessions.by_turn
    turns = [row.turn for row in rows]

    def line(values: Sequence[float | None], name: str, n: int) -> list[Trace]:
        known = any(value is not None for value in values)
        return [scatter(x=turns, y=values, name=name, mode="lines+markers", line=line_of(n))] if known else []

    shares = [
        *line([row.cached_share and 100 * row.cached_share for row in rows], "cached, reported by the server", 0),
        *line([row.cacheable_share and 100 * row.cacheable_share for row in rows], "cacheable, by the plan", 1),
    ]
    panels = [
        Panel("Time to first token, median", "ms", line([row.ttft_ms_p50 for row in rows], "ttft", 0)),
        Panel("Share of prompt tokens", "%", shares),
    ]
    caption = "By turn number; a point that covers several turns stands at the first."
    drawn = [panel for panel in panels if panel.traces]
    return stacked(drawn, "turn of the session", caption, row_px=150) if drawn else None


def telemetry(data: Data) -> Figure | None:
    """What the machine and the engine said of themselves meanwhile."""
    if data.telemetry is None:
        return None
    sampled = {gauge: rows for gauge in GAUGES if (rows := _sampled(data.telemetry, gauge))}
    if not sampled:
        return None
    share = POINTS_PER_GAUGE // max(map(len, sampled.values()))
    points = min(POINTS_PER_LINE, max(FEWEST_PER_LINE, share))
    spans = points * 5 // 16
    panels = [Panel(gauge.title, gauge.unit, _lines(gauge, rows, points, spans)) for gauge, rows in sampled.items()]
    caption = (
        f"Sampled while the load ran. Lines with more than {points} samples show an even selection, plus the highest "
        f"and lowest in each of {spans} equal time spans."
    )
    return _over_time(data, panels, caption)


def _sampled(telemetry: pa.Table, gauge: Gauge) -> dict[tuple[str, str], pa.Table]:
    """The samples of each line of a gauge by (name, source), in the order in which they are drawn."""
    rows = telemetry.filter(pc.is_in(telemetry["name"], pa.array(gauge.names)))
    keys = [(key["name"], key["source"]) for key in rows.group_by(["source", "name"]).aggregate([]).to_pylist()]
    keys.sort(key=lambda key: (gauge.names.index(key[0]), len(key[1]), key[1]))
    return {
        (name, source): rows.filter(pc.and_(is_text(rows["source"], source), is_text(rows["name"], name)))
        for name, source in keys
    }


def _lines(gauge: Gauge, sampled: Mapping[tuple[str, str], pa.Table], points: int, spans: int) -> list[Trace]:
    traces = []
    for i, ((name, source), rows) in enumerate(sampled.items()):
        t_s, values = _seconds(rows, "t_ns"), column(rows, "value") * gauge.factor
        kept = series.decimate(t_s, values, points, spans)
        traces.append(
            scatter(
                x=compact(t_s[kept]), y=compact(values[kept]), mode="lines",
                name=escape(source if len(gauge.names) == 1 else name),
                line={"color": light(SERIES[i % len(SERIES)]), "width": 1.5},
                hovertemplate="%{y:,.4~r}",
            )
        )  # fmt: skip
    return traces


def _over_time(data: Data, panels: list[Panel], caption: str, row_px: int = 120) -> Figure:
    proposed = data.summary.steadiness.proposed
    if proposed is not None:
        caption += f" Dotted: from there on ({number(proposed.start_s)} s) the run is steady."
    figure = over_time(panels, data.summary.phases, _end_s(data), f"{caption}{_shaded(data)}", row_px)
    if proposed is not None:
        mark(figure, proposed.start_s)
    return figure


def _shaded(data: Data) -> str:
    spans = [f"{phase.name.replace('warmup', 'warm-up')} ({phase.start_s:.3g}–{phase.end_s:.3g} s)"
             for phase in data.summary.phases if phase.name != "measured"]  # fmt: skip
    return f" Shaded: {' and '.join(spans)}." if spans else ""


def _end_s(data: Data) -> float:
    """The last instant of the last request: where every axis of time ends."""
    return (last_ns(data.requests) or NS_PER_S) / NS_PER_S


def _has_instants(data: Data) -> bool:
    """Whether it is told when requests were sent: of what another tool measured all may stand at one instant."""
    sent = pc.min_max(data.requests["sent_ns"])
    return data.summary.verdict.status != "not verifiable" or sent["min"] != sent["max"]


def _failed(requests: pa.Table) -> npt.NDArray[np.bool_]:
    """Which calls have an error or never ended."""
    return np.asarray(pc.or_(pc.is_valid(requests["error"]), pc.is_null(requests["end_ns"])))


def _seconds(table: pa.Table, name: str) -> Floats:
    return column(table, name) / NS_PER_S


FIGURES: Final[Mapping[str, Plot[Data]]] = {
    "ttft": Plot("Latency", "Time to first token", ttft, wide=False),
    "tpot": Plot("Latency", "Time per output token", tpot, wide=False),
    "itl": Plot("Latency", "Inter-token latency", itl, wide=False),
    "ttft-over-time": Plot("Latency", "Time to first token by send time", ttft_over_time),
    "turns": Plot("Over the run", "Turns of a session", by_turn),
    "throughput": Plot("Over the run", "Throughput and concurrency", throughput),
    "telemetry": Plot("Over the run", "Machine and engine", telemetry),
    "client-lag": Plot("Client error", "Client lag", client_lag),
}
