"""AIPerf's profile_export_aiperf.json: a run as a whole, with a unit beside every metric."""

from collections.abc import Iterator
from typing import Any, Final

from analysis.others.imported import Imported, counted, figures, with_theirs
from analysis.others.result_file import Fields, ResultFile
from analysis.run.sections import CallFailures, MetricSummary, Throughput
from bench.runs.table import SCHEMA
from bench.types import UserError

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
    "ttft_ms": "begins before the connection is there",
    "tpot_ms": "their ITL: one value for each request",
    "chunk_gap_ms": "gaps between chunks with text as the client parsed them: zero where one read brought several",
    "prompt_tokens": "counted by their tokenizer, without the template, unless told to take the server's count",
}


def is_aiperf(document: Any) -> bool:
    """Whether a document is an export of AIPerf: every metric is an object with its unit."""
    return isinstance(document, dict) and "aiperf_version" in document and "input_config" in document


def read_aiperf(result: ResultFile) -> Iterator[Imported]:
    """Read the one run of a file."""
    for document in result.documents:
        yield _read(Fields(result.file, document))


def _read(fields: Fields) -> Imported:
    config = fields.at("input_config")
    names = [each.text("name") for each in config.at("models").each("items")]
    succeeded, failed = _average(fields, "request_count"), _average(fields, "error_request_count")
    theirs = {ours: _metric(fields, name) for name, ours in NAMES.items()}
    load = _load(config)
    return Imported(
        tool="aiperf",
        title="AIPerf",
        version=fields.text("aiperf_version"),
        model=next(iter(names), None),
        url=next(iter(config.at("endpoint").texts("urls")), None),
        began=fields.instant("start_time"),
        concurrency=None if load is None else load.whole("concurrency"),
        rate_per_s=None if load is None else load.number("rate"),
        seconds=_average(fields, "benchmark_duration"),
        requests=counted(round(succeeded or 0), round(failed or 0)),
        failures=tuple(_failures(fields)),
        metrics=with_theirs(SCHEMA.empty_table(), theirs),
        throughput=Throughput(
            requests_per_s=_average(fields, "request_throughput"),
            output_tokens_per_s=_average(fields, "output_token_throughput"),
            total_tokens_per_s=_average(fields, "total_token_throughput"),
            goodput_rps=_average(fields, "goodput"),
        ),
        differs=DIFFERS,
        lacks=("each request (they are in another file, profile_export.jsonl)",),
        untranslated=fields.untranslated(),
    )


def _load(config: Fields) -> Fields | None:
    """The phase that is measured."""
    return next((phase for phase in config.each("phases") if phase.text("kind") == "profiling"), None)


def _average(fields: Fields, name: str) -> float | None:
    found = fields.at(name)
    found.text("unit")
    return found.number("avg")


def _metric(fields: Fields, name: str) -> MetricSummary:
    if name not in fields:
        return MetricSummary()
    found = fields.at(name)
    unit = found.text("unit")
    if unit not in _UNITS:
        raise UserError(f"{fields.file}: {name}.unit: expected {', '.join(_UNITS)}, found {unit!r}")
    scale = _UNITS[unit]
    return figures(found, _FIGURES, scale, found.whole("count") or 0)


def _failures(fields: Fields) -> Iterator[CallFailures]:
    for each in fields.each("error_summary"):
        details = each.at("error_details")
        code = details.whole("code")
        yield CallFailures(f"http_{code}" if code else "failed", each.count("count"), details.text("message"))
