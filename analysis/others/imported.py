"""What another tool measured, in our terms: metrics matched by meaning, not by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from analysis.others.result_file import Fields
from analysis.run.agreement import OTHERWISE, agree, tells_of
from analysis.run.intervals import of_metrics
from analysis.run.metrics import METRICS, measured, successful
from analysis.run.sections import CallFailures, MetricSummary, RequestCounts, Throughput
from analysis.run.summary import RunVerdict, WrittenFinding
from analysis.wording import number
from bench.runs.table import SCHEMA
from bench.types import Phase

FAILED: Final = "failed"
"""The error code of a call that the other tool only reports as failed."""
_FIGURES: Final = ("mean", "std", "min", "max", "p50", "p90", "p95", "p99")
_MOST: Final = 2**62
Times = Sequence[float | None]
UNKNOWN_ARRIVALS: Final = "unknown"
_NEVER_ZERO: Final = ("ttft_ms", "ttft_text_ms", "service_ms", "prompt_tokens")
"""A single 0 means that the metric was not counted, and then its figures are unknown."""


NO_CALLS: Final = SCHEMA.empty_table()
NO_INSTANTS: Final = "when each request was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One measurement of another tool.

    `calls` has a row for each of its requests, as far as the file has them, with the columns of requests.parquet.
    `differs` says how their metric differs from ours, `lacks` lists which of ours they lack, `untranslated` the keys
    without an equivalent here. `began` is wall-clock time. `warmed_up` says whether there was a warm-up, None if the
    file does not say. `tool` and `title` are filled in by the detection of the format.
    """

    tool: str = ""
    title: str = ""
    version: str | None = None
    model: str | None = None
    url: str | None = None
    server: str | None = None
    began: datetime | None = None
    concurrency: int | None = None
    rate_per_s: float | None = None
    arrivals: str = UNKNOWN_ARRIVALS
    seconds: float | None = None
    warmed_up: bool | None = None
    requests: RequestCounts
    failures: tuple[CallFailures, ...] = ()
    metrics: Mapping[str, MetricSummary]
    throughput: Throughput
    calls: pa.Table = field(default_factory=lambda: NO_CALLS)
    differs: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    untranslated: tuple[str, ...] = ()


NOT_TOLD: Final = {
    "no_schedule": "when each request was due: a client that sends late makes a slow server look fast",
    "no_client": "how late the client read data that had arrived, whose timestamps these are, and how busy the "
    "client was",
    "no_plan": "the prompts: whether another run sent the same ones cannot be checked",
    "no_server": "the server, its version and its hardware",
}
"""What no other tool's file contains although our verdict on a run depends on it, by code."""


def lacks_of(calls: pa.Table, *of_rows: str) -> tuple[str, ...]:
    """Parts of the requests that a file leaves out."""
    return of_rows if calls.num_rows else ("each request",)


def verdict_of(found: Imported) -> RunVerdict:
    """The verdict, not verifiable regardless of the figures, and what is missing."""
    lacks = NOT_TOLD | ({"not_told": f"{', '.join(found.lacks)}"} if found.lacks else {})
    reasons = (WrittenFinding(code, f"the file does not contain {what}") for code, what in lacks.items())
    return RunVerdict("not verifiable", tuple(reasons))


def counted(succeeded: int, failed: int, unfinished: int = 0) -> RequestCounts:
    """What became of the requests."""
    planned = succeeded + failed + unfinished
    by_error = {FAILED: failed, "unfinished": unfinished}
    return RequestCounts(
        planned=planned,
        succeeded=succeeded,
        failed=failed,
        dropped=0,
        unfinished=unfinished,
        by_error={code: calls for code, calls in by_error.items() if calls},
        error_share=(failed + unfinished) / planned if planned else None,
    )


def failures(messages: Sequence[str]) -> tuple[CallFailures, ...]:
    """All failures as one kind, with the first message; without a message nothing failed."""
    said = [message for message in messages if message]
    return (CallFailures(FAILED, len(said), _line(said[0])),) if said else ()


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def calls_table(
    *,
    sent_s: Times,
    end_s: Times,
    first_s: Times = (),
    last_s: Times = (),
    prompt_tokens: Times = (),
    output_tokens: Times = (),
    cached_tokens: Times = (),
    errors: Sequence[str] = (),
    arrivals_s: Sequence[Sequence[float]] = (),
    phases: Sequence[Phase | None] = (),
) -> pa.Table:
    """Rows of requests.parquet from times in seconds on any clock; a missing list is unknown.

    `errors` are messages, empty for success. `arrivals_s` are times of single tokens: if a call has different numbers
    of chunks and tokens, the times of its tokens are unknown.
    """
    n = len(sent_s)
    zero_s = min((t for t in sent_s if t is not None), default=0.0)

    def since(t_s: Times) -> list[int | None]:
        return [_whole(None if t is None else (t - zero_s) * 1e9) for t in t_s] or [None] * n

    def later(t_s: Times) -> list[int | None]:
        """Times relative to sending; zero or negative ones were not measured."""
        return since([None if t is None or (sent is not None and t <= sent) else t
                      for t, sent in zip(t_s, sent_s, strict=True)] if t_s else ())  # fmt: skip

    def whole(values: Times) -> list[int | None]:
        return [_whole(value) for value in values] or [None] * n

    told = zip(arrivals_s or [()] * n, output_tokens or [None] * n, strict=True)
    single = [each if len(each) == tokens else () for each, tokens in told]
    first_ns = later(first_s)
    known = {
        "seq": list(range(n)),
        "session": list(range(n)),
        "turn": [0] * n,
        "phase": list(phases) or ["measured"] * n,
        "sent_ns": since(sent_s),
        "first_token_ns": first_ns,
        "last_token_ns": later(last_s),
        "end_ns": later(end_s),
        "prompt_tokens": [tokens or None for tokens in whole(prompt_tokens)],
        "output_tokens": _answered(whole(output_tokens), first_ns),
        "cached_tokens": whole(cached_tokens),
        "error": [FAILED if each else None for each in errors] or [None] * n,
        "error_message": [_line(each) or None for each in errors] or [None] * n,
        "arrivals_ns": [since(each) if each else [] for each in single],
        "arrival_tokens": [[1] * len(each) for each in single],
        "lags_ns": [[] for _ in range(n)],
    }
    columns = [
        pa.array(known[each.name], each.type) if each.name in known else pa.nulls(n, each.type) for each in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _whole(value: float | None) -> int | None:
    """A whole number as a table holds it; None for anything else, and for values that no clock or counter gives."""
    return None if value is None or not abs(value) < _MOST else round(value)


def _answered(tokens: Sequence[int | None], first_ns: Sequence[int | None]) -> list[int | None]:
    """Tokens of answers; None for an answer that has a first token but a count of zero."""
    return [n if n or first is None else None for n, first in zip(tokens, first_ns, strict=True)]


def with_theirs(calls: pa.Table, theirs: Mapping[str, MetricSummary]) -> dict[str, MetricSummary]:
    """The metrics of the rows, replaced by the tool's own figures where it has them; empty ones are left out.

    Intervals come from the rows, because tools that report any compute them differently. If the rows' mean differs from
    the tool's own, they count differently or are other requests, and neither add to its figures nor give an interval.
    """
    own = of_metrics(measured(successful(calls))) if calls.num_rows else {}
    found = {}
    for name in {**own, **theirs}:
        given, known = _counted(name, theirs.get(name, MetricSummary())), own.get(name, MetricSummary())
        said = {stat: value for stat in _FIGURES if (value := getattr(given, stat)) is not None}
        ci95 = {stat: ends for stat, ends in known.ci95.items() if tells_of(given, known, stat)}
        if not agree(given.mean, known.mean):
            known = MetricSummary(why=OTHERWISE)
        both = replace(known, **said, ci95=ci95, count=given.count or known.count)
        if both.mean is not None:
            found[name] = both
    return found


def unlike_requests(found: Imported) -> str | None:
    """How its requests differ from those behind its figures: in number, or in mean duration."""
    calls = measured(found.calls)
    if not calls.num_rows:
        return None
    good, counts = successful(calls), found.requests
    failed = calls.num_rows - good.num_rows
    if (good.num_rows, failed) != (counts.succeeded, counts.missed):
        return (
            f"{good.num_rows:,} succeeded and {failed:,} did not, its figures have {counts.succeeded:,} and "
            f"{counts.missed:,}"
        )
    took_ms, said_ms = METRICS["service_ms"].values(good).values, found.metrics.get("service_ms", MetricSummary()).mean
    if len(took_ms) and not agree(said_ms, float(took_ms.mean())):
        return f"they took {number(float(took_ms.mean()))} ms on average, its figures say {number(said_ms)} ms"
    return None


def _counted(name: str, given: MetricSummary) -> MetricSummary:
    """A tool's figures of a metric; empty if zeros show that it was not counted, or not always."""
    zero = given.mean == 0 or (name in _NEVER_ZERO and given.min == 0)
    return MetricSummary() if zero else given


def without_zeros(found: Imported) -> Imported:
    """The measurement with times and rates of 0 as unknown: if something succeeded, it took time.

    A rate of all tokens that does not exceed that of output tokens is unknown too, because it lacks the prompts.
    """
    if not found.requests.succeeded:
        return found
    rates = found.throughput
    output = rates.output_tokens_per_s or None
    total = rates.total_tokens_per_s or None
    told = replace(
        rates,
        requests_per_s=rates.requests_per_s or None,
        output_tokens_per_s=output,
        total_tokens_per_s=None if output is None or (total or 0.0) <= output else total,
    )
    return replace(found, throughput=told, seconds=found.seconds or None)


def figures(
    fields: Fields, place: str, metric: str, named: Mapping[str, str], scale: float = 1.0, count: int = 0
) -> MetricSummary:
    """A metric's figures times `scale`; `place` is the key of their metric, `named` has their names of our figures."""
    said: dict[str, Any] = {
        ours: fields.number(place.format(metric=metric, figure=theirs), scale) for ours, theirs in named.items()
    }
    return MetricSummary(count=count, **said)


def metrics(
    fields: Fields, place: str, names: Mapping[str, str], named: Mapping[str, str], ms: float = 1.0, count: int = 0
) -> dict[str, MetricSummary]:
    """Our metrics from theirs, by key; their times are in units of `ms` milliseconds."""
    return {
        ours: figures(fields, place, theirs, named, ms if ours.endswith("_ms") else 1.0, count)
        for theirs, ours in names.items()
    }


def rates(fields: Fields, within: str = "", **named: str) -> Throughput:
    """Our rates by their keys, which may all lie within another key."""
    said: dict[str, Any] = {ours: fields.number(f"{within}{theirs}") for ours, theirs in named.items()}
    return Throughput(**said)


def per_s(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60
