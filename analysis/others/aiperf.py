"""AIPerf's profile_export_aiperf.json, which has a unit for every metric, and its requests in profile_export.jsonl."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import pyarrow as pa

from analysis.others.imported import Imported, calls_table, counted, figures, with_theirs
from analysis.others.result_file import Fields, rows_beside
from analysis.run.sections import CallFailures, MetricSummary, Throughput
from bench.types import Phase, UserError

_PHASES: Final[dict[str | None, Phase]] = {"profiling": "measured", "warmup": "warmup"}

NAMES: Final = {
    "time_to_first_token": "ttft_ms",
    "time_to_first_output_token": "ttft_text_ms",
    "inter_token_latency": "tpot_ms",
    "inter_chunk_latency": "chunk_gap_ms",
    "request_latency": "service_ms",
    "input_sequence_length": "prompt_tokens",
    "output_sequence_length": "output_tokens",
}
_FIGURES: Final = {"mean": "avg", **{each: each for each in ("std", "min", "max", "p50", "p90", "p95", "p99")}}
_UNITS: Final = {"ms": 1.0, "sec": 1000.0, "s": 1000.0, "us": 0.001, "ns": 1e-6, "tokens": 1.0}
DIFFERS: Final = {
    "ttft_ms": "starts before the connection is established",
    "tpot_ms": "their ITL: one value per request",
    "chunk_gap_ms": "gaps between chunks with text as their client parsed them; zero if one read brought several",
    "prompt_tokens": "counted by their tokenizer, without the chat template, unless configured to use the server's "
    "count",
}


def read_aiperf(fields: Fields) -> Iterator[Imported]:
    """Read the single run of a file."""
    calls, config = _calls(list(rows_beside(fields.file))), fields.at("input_config")
    names = [each.text("name") for each in config.each("models.items")]
    succeeded, failed = _average(fields, "request_count"), _average(fields, "error_request_count")
    theirs = {ours: _metric(fields, name) for name, ours in NAMES.items()}
    phases = [(phase.text("kind"), phase) for phase in config.each("phases")]
    load = next((phase for kind, phase in phases if kind == "profiling"), None)
    yield Imported(
        version=fields.text("aiperf_version"),
        model=next(iter(names), None),
        url=next(iter(config.texts("endpoint.urls")), None),
        began=fields.instant("start_time"),
        concurrency=None if load is None else load.whole("concurrency"),
        rate_per_s=None if load is None else load.number("rate"),
        seconds=_average(fields, "benchmark_duration"),
        warmed_up="warmup" in dict(phases) if phases else None,
        requests=counted(round(succeeded or 0), round(failed or 0)),
        failures=tuple(_failures(fields)),
        metrics=with_theirs(calls, theirs),
        throughput=Throughput(
            requests_per_s=_average(fields, "request_throughput"),
            output_tokens_per_s=_average(fields, "output_token_throughput"),
            total_tokens_per_s=_average(fields, "total_token_throughput"),
            goodput_rps=_average(fields, "goodput"),
        ),
        differs=DIFFERS,
        calls=calls,
        lacks=() if calls.num_rows else ("each request (put profile_export.jsonl beside it)",),
        untranslated=fields.untranslated(),
    )


def _calls(rows: list[Fields]) -> pa.Table:
    """A row per request; a failed one has only its own times."""
    about, metrics = [row.at("metadata") for row in rows], [row.at("metrics") for row in rows]
    # Nanoseconds since 1970 exceed the precision of a float.
    starts, ends = ([each.whole(name) for each in about] for name in ("request_start_ns", "request_end_ns"))
    zero_ns = min((ns for ns in starts if ns is not None), default=0)
    sent_s, end_s = ([None if ns is None else (ns - zero_ns) / 1e9 for ns in each] for each in (starts, ends))
    errors = ["" if "error" not in row else row.text("error.message") or "failed" for row in rows]

    def value(name: str, scale: float = 1.0) -> list[float | None]:
        return [each.number(f"{name}.value", scale) for each in metrics]

    first_s, took_s = value("time_to_first_token", 0.001), value("request_latency", 0.001)
    begun_s = [_sum(sent, first) for sent, first in zip(sent_s, first_s, strict=True)]
    gaps_ms = [each.numbers("inter_chunk_latency.value") for each in metrics]
    return calls_table(
        sent_s=sent_s,
        end_s=end_s,
        first_s=begun_s,
        last_s=[_sum(sent, took) for sent, took in zip(sent_s, took_s, strict=True)],
        prompt_tokens=value("input_sequence_length"),
        output_tokens=value("output_sequence_length"),
        errors=errors,
        arrivals_s=[
            [] if begun is None else list(accumulate(((gap or 0.0) / 1000 for gap in gaps), initial=begun))
            for begun, gaps in zip(begun_s, gaps_ms, strict=True)
        ],
        phases=[_PHASES.get(each.text("benchmark_phase")) for each in about],
    )


def _sum(start_s: float | None, took_s: float | None) -> float | None:
    return None if start_s is None or took_s is None else start_s + took_s


def _average(fields: Fields, name: str) -> float | None:
    fields.text(f"{name}.unit")
    return fields.number(f"{name}.avg")


def _metric(fields: Fields, name: str) -> MetricSummary:
    if name not in fields:
        return MetricSummary()
    found = fields.at(name)
    unit = found.text("unit")
    if unit not in _UNITS:
        raise UserError(f"{fields.file}: {name}.unit: expected {', '.join(_UNITS)}, found {unit!r}")
    scale = _UNITS[unit]
    return figures(found, "{figure}", name, _FIGURES, scale, found.whole("count") or 0)


def _failures(fields: Fields) -> Iterator[CallFailures]:
    for each in fields.each("error_summary"):
        details = each.at("error_details")
        code = details.whole("code")
        yield CallFailures(f"http_{code}" if code else "failed", each.count("count"), details.text("message"))
