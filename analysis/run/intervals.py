"""The 95% intervals of a run's metrics, rates and shares, from its requests in the order in which they came."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run import slo
from analysis.run.metrics import METRICS, POOLED, column, measured, successful
from analysis.run.rates import Flow
from analysis.run.sections import MetricSummary, RequestCounts, Throughput
from analysis.run.streams import OF_GAPS, OF_STREAMS, gaps, output_tokens, stream
from analysis.stats.correlation import Dependence, PairedSeries
from analysis.stats.describe import cells_of, dependence, describe, rate_interval, share_interval
from analysis.stats.distributions import Interval, Ints, Sample
from analysis.stats.pool import pool_of
from bench.runs.table import only
from bench.types import Load

Known = tuple[Interval, str | None]
"""An interval, and why there is none, or a wide one."""

_AS_SENT: Final = [("sent_ns", "ascending"), ("seq", "ascending")]
# Which objectives a queue breaks for many requests together.
_WITH_WAIT: Final = ("ttft_ms", "ttft_text_ms", "service_ms", "response_ms")


def of_metrics(calls: pa.Table) -> dict[str, MetricSummary]:
    """Every metric by name, of successful measured calls.

    What has something in common with the wait for a first token is as correlated as that wait: of `service_ms`, in
    which most is the work of one request, a short run would not show it.
    """
    order = pc.sort_indices(calls, _AS_SENT).to_numpy()
    streams = only(calls, [*OF_GAPS, *OF_STREAMS]).take(order)
    one_each = bool(stream(streams, "arrivals").any() and stream(streams, "one_each").all())
    waits = _in_order(METRICS["ttft_ms"].values(calls), order)
    of_waits = dependence(waits)
    each = np.zeros(calls.num_rows)
    each[np.diff(waits.offsets) > 0] = waits.values
    beside = PairedSeries(each, of_waits)

    def described(name: str) -> MetricSummary:
        pool = gaps(name, streams) if name in POOLED else pool_of(_in_order(METRICS[name].values(calls), order))
        return MetricSummary(**describe(pool, of_waits if name == "ttft_ms" else dependence(pool, beside)))

    found: dict[str, MetricSummary] = {}
    for name in METRICS:
        # Where every arrival brings one token the gaps between arrivals are those between tokens.
        found[name] = found["itl_ms"] if one_each and name == "chunk_gap_ms" else described(name)
    return found


def of_throughput(
    rates: Throughput, served: Flow, requests: pa.Table, objectives: Sequence[slo.Objective], load: Load
) -> Throughput:
    """Add the intervals of the rates and shares that are known, and why one of them is missing or wide.

    A load that changes on purpose is no sample of its parts, and its rates have no interval.
    """
    calls = successful(requests)
    good = slo.keeps_all(objectives, calls)
    output = output_tokens(calls)
    of_call = {
        "requests_per_s": np.ones(calls.num_rows),
        "output_tokens_per_s": output,
        "total_tokens_per_s": output + column(calls, "prompt_tokens"),
        "goodput_rps": good.astype(np.float64),
    }
    known = [name for name in of_call if getattr(rates, name) is not None and load.is_stationary]
    ended, window_ns = int(served.units(of_call["requests_per_s"])), (served.span.start_ns, served.span.end_ns)
    in_cells = served.units_in(cells_of(ended), [of_call[name] for name in known]) if known else []
    found = {name: rate_interval(units, window_ns, ended) for name, units in zip(known, in_cells, strict=True)}
    if rates.slo_attainment is not None:
        waits = _of_waits(calls) if any(objective.metric in _WITH_WAIT for objective in objectives) else None
        found["slo_attainment"] = share_interval(_of_planned(requests, calls["seq"].filter(pa.array(good))), waits)
    return replace(rates, ci95=_intervals(found), why=_why(found))


def of_errors(counts: RequestCounts, requests: pa.Table) -> RequestCounts:
    """Add the share of the measured calls that did not succeed, with its interval."""
    succeeded = _of_planned(requests, successful(requests)["seq"])
    share = 1 - float(succeeded.mean()) if len(succeeded) else None
    found = {"error_share": share_interval(~succeeded)}
    return replace(counts, error_share=share, ci95=_intervals(found), why=_why(found))


def _of_waits(calls: pa.Table) -> Dependence:
    calls = measured(calls)
    return dependence(_in_order(METRICS["ttft_ms"].values(calls), pc.sort_indices(calls, _AS_SENT).to_numpy()))


def _in_order(sample: Sample, order: Ints) -> Sample:
    """A sample of which a call has one value or none, its calls in another order."""
    sizes = np.diff(sample.offsets)[order]
    return Sample(sample.values[sample.offsets[order[sizes > 0]]], np.concatenate([[0], np.cumsum(sizes)]))


def _intervals(found: Mapping[str, Known]) -> dict[str, Interval]:
    return {name: interval for name, (interval, _) in found.items()}


def _why(found: Mapping[str, Known]) -> dict[str, str]:
    return {name: why for name, (_, why) in found.items() if why}


def _of_planned(requests: pa.Table, seqs: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which of the measured calls, in the plan's order, are among these."""
    planned = measured(requests.select(["seq", "phase"]))["seq"]
    return np.isin(np.sort(planned.to_numpy()), seqs.to_numpy())
