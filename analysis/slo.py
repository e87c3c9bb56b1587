"""Service level objectives: `ttft_ms:p99<500`, or `tpot_ms<50` for every request, or `error_share<5%`.

The bound judges each request, the percentile says what share of them must keep it. A request keeps the bound of a
pooled metric (itl_ms, chunk_gap_ms) when that share of its own gaps does. A metric that a request rightly does not
have, such as tpot_ms of one token, cannot break an objective. The share of errors is an objective on the run, which no
single request can break.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.metrics import METRICS
from analysis.stats import quantile_with_failures
from bench.types import UserError

ERROR_SHARE: Final = "error_share"

_SHARE = re.compile(rf"\s*{ERROR_SHARE}\s*<\s*(?P<limit>\d+(?:\.\d+)?)\s*(?P<percent>%?)\s*")
_SYNTAX = re.compile(r"\s*(?P<metric>\w+)\s*(?::\s*p(?P<percentile>\d+(?:\.\d+)?))?\s*<\s*(?P<limit>\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Objective:
    """An upper bound in milliseconds on a metric; `percentile` None means that every request must keep it.

    With `error_share` for a metric the bound is on the share of the requests that fail, the percentile on the others.
    """

    text: str
    metric: str
    percentile: float | None
    limit: float

    @property
    def share(self) -> float:
        """What share of the requests must keep the bound."""
        return 1.0 if self.percentile is None else self.percentile / 100


def parse(text: str) -> Objective:
    """An objective from `METRIC<LIMIT`, `METRIC:pNN<LIMIT` or `error_share<NN%`; UserError where it is none of them."""
    if share := _SHARE.fullmatch(text):
        limit = float(share["limit"]) / (100 if share["percent"] else 1)
        if not 0 < limit <= 1:
            raise UserError(f"--slo {text!r}: a share of errors lies between 0 and 1, or 0% and 100%, as in 5%")
        return Objective(text.strip(), ERROR_SHARE, 100 * (1 - limit), limit)
    found = _SYNTAX.fullmatch(text)
    if not found:
        raise UserError(
            f"--slo {text!r} is no objective: write METRIC:pNN<LIMIT or METRIC<LIMIT, as in ttft_ms:p99<500"
        )
    latencies = [name for name, metric in METRICS.items() if metric.unit == "ms"]
    name = found["metric"]
    if name not in latencies:
        nearest = difflib.get_close_matches(name, latencies, n=1, cutoff=0.0)[0]
        raise UserError(f"--slo {text!r}: {name} is no latency metric; the nearest is {nearest}")
    percentile = float(found["percentile"]) if found["percentile"] else None
    if percentile is not None and not 0 < percentile < 100:
        raise UserError(f"--slo {text!r}: a percentile lies between p0 and p100; leave it out to bind every request")
    return Objective(text.strip(), name, percentile, float(found["limit"]))


def keeps(objective: Objective, calls: pa.Table) -> npt.NDArray[np.bool_]:
    """Which of these successful calls keep the objective's bound."""
    if objective.metric == ERROR_SHARE:
        return np.ones(calls.num_rows, np.bool_)
    metric = METRICS[objective.metric]
    values, offsets = metric.values(calls)
    kept_before = np.concatenate([[0], np.cumsum(values < objective.limit)])
    kept, sizes = np.diff(kept_before[offsets]), np.diff(offsets)
    return np.where(sizes > 0, kept >= objective.share * sizes - 1e-9, metric.optional)


def keeps_all(objectives: Sequence[Objective], calls: pa.Table) -> npt.NDArray[np.bool_]:
    """Which of these successful calls are good: they keep every objective's bound."""
    good = np.ones(calls.num_rows, np.bool_)
    for objective in objectives:
        good &= keeps(objective, calls)
    return good


def judge(objective: Objective, calls: pa.Table, planned: int) -> dict[str, Any]:
    """Whether a run met the objective: of the calls planned, those not among the successful `calls` do not keep it.

    `value` is the percentile (the maximum, without one) with every failure counted as infinite; None where it is
    infinite or the sample cannot carry it. `met` is None when the sample cannot carry the percentile.
    """
    if objective.metric == ERROR_SHARE:
        if not planned:
            return _result(objective, None, None, None)
        failed = 1 - calls.num_rows / planned
        return _result(objective, failed, failed < objective.limit, 1 - failed)
    metric = METRICS[objective.metric]
    values, _ = metric.values(calls)
    kept = int(keeps(objective, calls).sum())
    failures = planned - (calls.num_rows if metric.optional else len(values))
    value: float | None
    if objective.percentile is None:
        value = math.inf if failures else float(values.max(initial=-math.inf))
        met = kept == planned if planned else None
    else:
        # In a pooled metric a failed call weighs as much as an average one.
        weight = max(1.0, len(values) / calls.num_rows) if calls.num_rows else 1.0
        value = quantile_with_failures(np.sort(values), objective.share, round(failures * weight))
        met = None if value is None else value < objective.limit
    attainment = kept / planned if planned else None
    return _result(objective, value if value is not None and math.isfinite(value) else None, met, attainment)


def mostly_failed(outcomes: Mapping[str, Any], judged: Sequence[Mapping[str, Any]]) -> bool:
    """Whether more calls failed than succeeded, though some did, and no objective on errors allows it."""
    allowed = any(result["metric"] == ERROR_SHARE and result["met"] for result in judged)
    return bool(outcomes["failed"] > outcomes["succeeded"] > 0) and not allowed


def _result(objective: Objective, value: float | None, met: bool | None, attainment: float | None) -> dict[str, Any]:
    return {
        "objective": objective.text,
        "metric": objective.metric,
        "percentile": objective.percentile,
        "unit": "share" if objective.metric == ERROR_SHARE else "ms",
        "limit": objective.limit,
        "value": value,
        "met": met,
        "attainment": attainment,
    }
