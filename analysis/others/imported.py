"""What another tool measured, in our words: a metric by what it means, whatever it is called there."""

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
"""The error code of a call of which the other tool says no more than that it failed."""
_FIGURES: Final = ("mean", "std", "min", "max", "p50", "p90", "p95", "p99")
_MOST: Final = 2**62
Times = Sequence[float | None]
UNKNOWN_ARRIVALS: Final = "unknown"
_NEVER_ZERO: Final = ("ttft_ms", "ttft_text_ms", "service_ms", "prompt_tokens")
"""A single one of 0 was not counted, and of the figures it is part of nothing is known."""


NO_CALLS: Final = SCHEMA.empty_table()
NO_INSTANTS: Final = "when each request was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One measurement of another tool.

    `calls` has a row for each of its requests, as far as the file tells them, with the columns of requests.parquet.
    `differs` says of a metric in which way theirs is not ours, `lacks` what of ours they do not tell, `untranslated`
    are the keys of the file that have no equivalent here. `began` is wall-clock time. `warmed_up` says whether it had a
    warm-up, None where the file does not tell. `tool` and `title` are filled in by who knows the format.
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
    "no_client": "how late the client read what had arrived, by whose clock, and how busy it was",
    "no_plan": "what the prompts were: whether another run asked the same cannot be checked",
    "no_server": "what the server, its version and its hardware are",
}
"""What no file of another tool says, and our verdict on a run rests on, by code."""


def lacks_of(calls: pa.Table, *of_rows: str) -> tuple[str, ...]:
    """What a file leaves out of its requests: some of it, or all."""
    return of_rows if calls.num_rows else ("each request",)


def verdict_of(found: Imported) -> RunVerdict:
    """Not verifiable, whatever the figures are, and what is missing."""
    lacks = NOT_TOLD | ({"not_told": f"{', '.join(found.lacks)}"} if found.lacks else {})
    reasons = (WrittenFinding(code, f"the file does not tell {what}") for code, what in lacks.items())
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
    """The failures as one kind, with the first message; no text means that nothing failed."""
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
    """Rows of requests.parquet from instants in seconds on any clock; a list that is not given is unknown.

    `errors` are messages, empty for success. `arrivals_s` are those of single tokens: of a call whose chunks and tokens
    are not as many nothing is known of when its tokens came.
    """
    n = len(sent_s)
    zero_s = min((t for t in sent_s if t is not None), default=0.0)

    def since(t_s: Times) -> list[int | None]:
        return [_whole(None if t is None else (t - zero_s) * 1e9) for t in t_s] or [None] * n

    def later(t_s: Times) -> list[int | None]:
        """Instants after sending: one that took no time at all, or less, was not taken."""
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
    """A whole number as a table holds it; None for what is none, and for what no clock or counter says."""
    return None if value is None or not abs(value) < _MOST else round(value)


def _answered(tokens: Sequence[int | None], first_ns: Sequence[int | None]) -> list[int | None]:
    """Tokens of answers; of one with none although its first has come nobody counted them."""
    return [n if n or first is None else None for n, first in zip(tokens, first_ns, strict=True)]


def with_theirs(calls: pa.Table, theirs: Mapping[str, MetricSummary]) -> dict[str, MetricSummary]:
    """The metrics of the rows, of which whatever the tool itself gives has its figures; those without any are left out.

    Intervals are of the rows: the tools that give any, do so by another method. Rows of another mean than the tool's
    own count otherwise, or other requests, and add nothing to it; nor an interval to a figure that is not theirs.
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
    """In what its requests are not those that its figures are of: how many there are, or how long they took."""
    calls = measured(found.calls)
    if not calls.num_rows:
        return None
    good, counts = successful(calls), found.requests
    failed = calls.num_rows - good.num_rows
    if (good.num_rows, failed) != (counts.succeeded, counts.missed):
        return f"{good.num_rows:,} succeeded and {failed:,} did not, there {counts.succeeded:,} and {counts.missed:,}"
    took_ms, said_ms = METRICS["service_ms"].values(good).values, found.metrics.get("service_ms", MetricSummary()).mean
    if len(took_ms) and not agree(said_ms, float(took_ms.mean())):
        return f"they took {number(float(took_ms.mean()))} ms on average, there {number(said_ms)} ms"
    return None


def _counted(name: str, given: MetricSummary) -> MetricSummary:
    """A tool's figures of a metric; none where its zeros say that nothing, or not each, was counted."""
    zero = given.mean == 0 or (name in _NEVER_ZERO and given.min == 0)
    return MetricSummary() if zero else given


def without_zeros(found: Imported) -> Imported:
    """The measurement, of which a time or rate of 0 is unknown: where something succeeded it took time.

    So is a rate of all tokens that has none of the prompts in it.
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
    """A metric's figures times `scale`; `place` is their key, of their metric and their name of a figure of ours."""
    said: dict[str, Any] = {
        ours: fields.number(place.format(metric=metric, figure=theirs), scale) for ours, theirs in named.items()
    }
    return MetricSummary(count=count, **said)


def metrics(
    fields: Fields, place: str, names: Mapping[str, str], named: Mapping[str, str], ms: float = 1.0, count: int = 0
) -> dict[str, MetricSummary]:
    """Metrics of ours, by their names of them; their times are in units of so many `ms`."""
    return {
        ours: figures(fields, place, theirs, named, ms if ours.endswith("_ms") else 1.0, count)
        for theirs, ours in names.items()
    }


def rates(fields: Fields, within: str = "", **named: str) -> Throughput:
    """Our rates by their keys, which may all lie within another."""
    said: dict[str, Any] = {ours: fields.number(f"{within}{theirs}") for ours, theirs in named.items()}
    return Throughput(**said)


def per_s(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60
