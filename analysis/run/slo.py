"""Service level objectives: `ttft_ms:p99<500`, or `tpot_ms<50` for every request, or `error_share<5%`.

The bound judges each request, the percentile says what share of them must keep it. A request keeps the bound of a
pooled metric (itl_ms, chunk_gap_ms) when that share of its own gaps does. A metric that a request rightly does not
have, such as tpot_ms of one token, cannot break an objective. The share of errors is an objective on the run, which no
single request can break.

A user waits from the instant that a request is due, so an objective on ttft_ms counts from there, the wait to be sent
included, as response_ms does; service_ttft_ms counts from sending, as the metric itself does. What was judged and what
the server alone took are both told.
"""

import math
import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import METRICS, NS_PER_MS, POOLED, column, is_text, keep, per_call
from analysis.run.sections import RequestCounts, SloResult
from analysis.run.streams import OF_GAPS, gaps
from analysis.stats.distributions import CONFIDENCE, Sample, clopper_pearson, quantile_with_failures
from analysis.stats.pool import pool_of
from analysis.wording import ERROR_SHARE, LATENCIES, SERVICE, WAITED
from bench.durations import read_milliseconds
from bench.numeric import read
from bench.runs.manifest import RunManifest
from bench.suggest import did_you_mean
from bench.types import Scenario, UserError

_MANY: Final = 1_000_000

_SHARE = re.compile(rf"\s*{ERROR_SHARE}\s*<\s*(?P<limit>[^<]+)")
_SYNTAX = re.compile(
    r"\s*(?P<metric>\w+)\s*(?::\s*p(?P<percentile>\d+(?:\.\d+)?))?\s*<\s*(?P<limit>[^<(]+)"
    r"(?P<counted>\(goodput\))?\s*"
)


@dataclass(frozen=True, slots=True)
class Objective:
    """An upper bound in milliseconds on a metric; `percentile` None means that every request must keep it.

    With `error_share` for a metric the bound is on the share of the requests that fail, the percentile on the others.
    One that `only_counts` says which requests are good, and no run fails by it.
    One of a class of a mix (`klass`) binds that class's requests and no other.
    """

    text: str
    metric: str
    percentile: float | None
    limit: float
    from_sending: bool = False
    only_counts: bool = False
    klass: str | None = None

    @property
    def share(self) -> float:
        """What share of the requests must keep the bound."""
        return 1.0 if self.percentile is None else self.percentile / 100


def parse(text: str) -> Objective:
    """An objective from `METRIC<LIMIT`, `METRIC:pNN<LIMIT` or `error_share<NN%`; UserError where it is none of them."""
    if share := _SHARE.fullmatch(text):
        part = read(share["limit"])
        if part is None or not 0 < part <= 1:
            raise UserError(f"--slo {text!r}: a share of errors lies between 0 and 1, or 0% and 100%, as in 5%")
        return Objective(text.strip(), ERROR_SHARE, float(100 * (1 - part)), float(part))
    found = _SYNTAX.fullmatch(text)
    limit = read_milliseconds(found["limit"]) if found else None
    if found is None or limit is None:
        raise UserError(
            f"--slo {text!r} is not an objective: write METRIC:pNN<LIMIT or METRIC<LIMIT, as in ttft_ms:p99<500 or "
            "ttft_ms:p99<0.5s"
        )
    name = found["metric"]
    if name not in LATENCIES:
        near = did_you_mean(name, LATENCIES) or f"; expected one of {', '.join(LATENCIES)}"
        raise UserError(f"--slo {text!r}: {name} is not a latency metric{near}")
    percentile = float(found["percentile"]) if found["percentile"] else None
    if percentile is not None and not 0 < percentile < 100:
        raise UserError(f"--slo {text!r}: a percentile lies between p0 and p100; leave it out to bind every request")
    from_sending = name.removeprefix(SERVICE) in WAITED and name.startswith(SERVICE)
    metric = name.removeprefix(SERVICE) if from_sending else name
    return Objective(text.strip(), metric, percentile, limit, from_sending, bool(found["counted"]))


def objectives_of(run: RunManifest) -> list[Objective]:
    return objectives(run.slo, run.scenario)


def objectives(asked: Sequence[str], scenario: Scenario) -> list[Objective]:
    """What is asked for of all requests, and what the scenario asks of its classes."""
    of_classes = (
        replace(parse(text), text=f"{each.name}: {text.strip()}", klass=each.name)
        for each in scenario.classes
        for text in each.slo
    )
    return [*map(parse, asked), *of_classes]


def judge_all(objectives: Sequence[Objective], calls: pa.Table, planned: pa.Table) -> tuple[SloResult, ...]:
    """Whether a run met each of its objectives, of the planned and the successful calls that it binds."""
    return tuple(judge(each, _bound(each, calls), _bound(each, planned).num_rows) for each in objectives)


def _bound(objective: Objective, calls: pa.Table) -> pa.Table:
    return calls if objective.klass is None else keep(calls, is_text(calls["class"], objective.klass))


def _values(objective: Objective, calls: pa.Table) -> Sample:
    """The values the objective judges, in ms."""
    sample = METRICS[objective.metric].values(calls)
    if objective.from_sending or objective.metric not in WAITED:
        return sample
    late_ms = (column(calls, "sent_ns") - column(calls, "due_ns")) / NS_PER_MS
    return Sample(sample.values + np.nan_to_num(late_ms[np.diff(sample.offsets) > 0]), sample.offsets)


def keeps(objective: Objective, calls: pa.Table) -> npt.NDArray[np.bool_]:
    """Which of these successful calls keep the objective's bound, or are not bound by it."""
    if objective.klass is not None:
        others = ~np.asarray(pc.fill_null(is_text(calls["class"], objective.klass), False))
        return others | keeps(replace(objective, klass=None), calls)
    if objective.metric == ERROR_SHARE:
        return np.ones(calls.num_rows, np.bool_)
    if objective.metric in POOLED:
        return per_call(calls, OF_GAPS, partial(_kept, objective)) > 0
    return _kept(objective, calls)


def _kept(objective: Objective, calls: pa.Table) -> npt.NDArray[np.bool_]:
    metric = METRICS[objective.metric]
    values, offsets = _values(objective, calls)
    kept_before = np.concatenate([[0], np.cumsum(values < objective.limit)])
    kept, sizes = np.diff(kept_before[offsets]), np.diff(offsets)
    return np.where(sizes > 0, kept >= objective.share * sizes - 1e-9, metric.optional)


def keeps_all(objectives: Sequence[Objective], calls: pa.Table) -> npt.NDArray[np.bool_]:
    """Which of these successful calls are good: they keep every objective's bound."""
    good = np.ones(calls.num_rows, np.bool_)
    for objective in objectives:
        good &= keeps(objective, calls)
    return good


def judge(objective: Objective, calls: pa.Table, planned: int) -> SloResult:
    """Whether a run met the objective: of the calls planned, those not among the successful `calls` do not keep it.

    Both are of the calls that it binds.

    `value` is the percentile (the maximum, without one) with every failure counted as infinite; None where it is
    infinite or the sample cannot carry it. `met` is what was seen; where the sample cannot carry the percentile, what
    the binomial of the requests that kept the bound makes certain, else None. `service_value` is the same from sending,
    None where the objective does not tell the two apart.
    """
    if not planned:
        return _result(objective, None, None, None)
    if objective.metric == ERROR_SHARE:
        failed = 1 - calls.num_rows / planned
        return _settled(_result(objective, failed, failed < objective.limit, 1 - failed), calls.num_rows, planned)
    kept = int(keeps(objective, calls).sum())
    value = _percentile(objective, calls, planned)
    found = _result(objective, _finite(value), None if value is None else value < objective.limit, kept / planned)
    if objective.only_counts:
        found = replace(found, met=None)
    elif objective.percentile is None:
        # It speaks of the requests that were made, all of which were seen.
        found = replace(found, met=kept == planned)
    elif found.met is None or objective.metric not in POOLED:
        found = _settled(found, kept, planned)
    if objective.metric in WAITED:
        from_sending = _percentile(replace(objective, from_sending=True), calls, planned)
        return replace(found, service_value=_finite(from_sending))
    return found


def is_failed(result: SloResult, inconclusive: Literal["pass", "fail"] | None) -> bool:
    """Whether an objective is to fail a run: `inconclusive` says what becomes of one that is not certain either way.

    Without it what was seen decides, and what cannot be seen passes. One that no request kept always fails.
    """
    if inconclusive is None or result.certain or result.attainment == 0:
        return result.met is False
    return inconclusive == "fail"


def _settled(found: SloResult, kept: int, planned: int) -> SloResult:
    """With whether another such run would, at 95%, end the same way, and how many more requests would make it so."""
    share = (found.percentile or 0.0) / 100
    certain = _certain(kept, planned, share)
    met = False if not kept else certain if found.met is None else found.met
    if certain is not None and certain == met:
        return replace(found, met=met)
    return replace(found, met=met, certain=False, more_requests=_more(kept / planned, planned, share))


def _certain(kept: float, planned: int, share: float) -> bool | None:
    """Whether at least this share keeps a bound that `kept` of `planned` kept, None where it may be either at 95%.

    One-sided, by the exact binomial, of requests that are taken as independent.
    """
    low, high = clopper_pearson(kept, planned, 2 * (1 - CONFIDENCE))
    return True if low >= share else False if high < share else None


def _more(seen: float, planned: int, share: float) -> int | None:
    """How many requests more would make it certain if they kept the bound as often; None for more than a million."""
    low, high = planned, 2 * planned
    while _certain(seen * high, high, share) is None:
        low, high = high, 2 * high
        if low > _MANY:
            return None
    between = range(low + 1, high)
    return low + 1 - planned + bisect_left(between, True, key=lambda n: _certain(seen * n, n, share) is not None)


def _percentile(objective: Objective, calls: pa.Table, planned: int) -> float | None:
    """What the objective bounds, `inf` where it falls among the failures; None where the sample cannot carry it."""
    name = objective.metric
    pool = gaps(name, calls) if name in POOLED else pool_of(_values(objective, calls))
    optional = METRICS[name].optional
    failures = planned - (calls.num_rows if optional else pool.n)
    if objective.percentile is None:
        return math.inf if failures else pool.high
    # A failed call weighs as much as an average one, which may have several values, or seldom one.
    weight = pool.n / calls.num_rows if optional and calls.num_rows else 1.0
    return quantile_with_failures(pool.ordered, objective.share, round(failures * weight))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def mostly_failed(outcomes: RequestCounts, judged: Sequence[SloResult]) -> bool:
    """Whether more calls failed than succeeded, though some did, and no objective on errors allows it."""
    allowed = any(result.metric == ERROR_SHARE and result.met for result in judged)
    return outcomes.failed > outcomes.succeeded > 0 and not allowed


def _result(objective: Objective, value: float | None, met: bool | None, attainment: float | None) -> SloResult:
    return SloResult(
        objective=objective.text,
        metric=objective.metric,
        percentile=objective.percentile,
        unit="share" if objective.metric == ERROR_SHARE else "ms",
        limit=objective.limit,
        from_sending=objective.from_sending,
        klass=objective.klass,
        value=value,
        met=met,
        attainment=attainment,
    )
