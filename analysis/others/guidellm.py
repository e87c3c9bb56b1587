"""GuideLLM's benchmarks.json, version 2: one run for each benchmark in it."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from analysis.others.imported import Imported, calls_table, counted, failures, figures, lacks_of, with_theirs
from analysis.others.result_file import Fields
from analysis.run.sections import MetricSummary, Throughput
from bench.types import UserError

VERSION: Final = 2
# Their metric, ours, and the factor from theirs to ours.
METRICS: Final = (
    ("time_to_first_token_ms", "ttft_ms", 1.0),
    ("time_to_first_output_token_ms", "ttft_text_ms", 1.0),
    ("inter_token_latency_ms", "tpot_ms", 1.0),
    ("request_latency", "service_ms", 1000.0),
    ("prompt_token_count", "prompt_tokens", 1.0),
    ("output_token_count", "output_tokens", 1.0),
)
_FIGURES: Final = {
    "mean": "mean", "std": "std_dev", "min": "min", "max": "max", "p50": "median",
    **{name: f"percentiles.{name}" for name in ("p90", "p95", "p99")},
}  # fmt: skip
DIFFERS: Final = {
    "tpot_ms": "their ITL: one value per request, weighted by its number of gaps between tokens",
    "ttft_ms": "percentiles are observed values, not interpolated; this holds for all metrics",
    "requests_per_s": "over requests that succeeded and ended before the last one was sent; their table has all",
}


def is_guidellm(document: Any) -> bool:
    """Whether a document is a GuideLLM report of any version."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("benchmarks"), list)
        and isinstance(document.get("metadata"), dict)
    )


def read_guidellm(top: Fields) -> Iterator[Imported]:
    """Read each benchmark. Raises UserError for another version, which keeps its metrics elsewhere."""
    version = top.whole("metadata.version")
    if version != VERSION:
        raise UserError(
            f"{top.file}: expected version {VERSION} of GuideLLM's report, found {version}; write it again with "
            "GuideLLM 0.6 or later"
        )
    for benchmark in top.each("benchmarks"):
        yield _read(benchmark, top.text("metadata.guidellm_version"))


def _read(benchmark: Fields, version: str | None) -> Imported:
    config, totals = benchmark.at("config"), benchmark.at("metrics.request_totals")
    strategy, backend = config.at("strategy"), config.at("backend")
    calls, messages = _calls(benchmark)
    kind, rate = strategy.text("type_"), strategy.number("rate")
    served = benchmark.at("metrics")
    theirs = {ours: _metric(served, name, scale) for name, ours, scale in METRICS}
    return Imported(
        version=version,
        model=backend.text("model"),
        url=backend.text("target"),
        began=benchmark.instant("start_time"),
        concurrency=None if rate else strategy.whole("streams") or (1 if kind == "synchronous" else None),
        rate_per_s=rate,
        arrivals=kind if rate and kind in ("poisson", "constant") else "unknown",
        seconds=benchmark.number("duration"),
        warmed_up=_warmed_up(config),
        requests=counted(totals.count("successful"), totals.count("errored"), totals.count("incomplete")),
        failures=failures(messages),
        metrics=with_theirs(calls, theirs),
        throughput=Throughput(
            requests_per_s=served.number("requests_per_second.successful.mean"),
            output_tokens_per_s=served.number("output_tokens_per_second.successful.mean"),
            total_tokens_per_s=served.number("tokens_per_second.successful.mean"),
            goodput_rps=served.number("request_goodput"),
            slo_attainment=served.number("slo_attainment"),
        ),
        calls=calls,
        differs=DIFFERS,
        lacks=("the gaps between tokens", *lacks_of(calls)),
        untranslated=benchmark.untranslated(),
    )


def _warmed_up(config: Fields) -> bool | None:
    """Whether warm-up was a share, number or time of requests."""
    if "warmup" not in config:
        return None
    asked = config.at("warmup")
    return any(asked.number(name) for name in ("percent", "value"))


def _metric(served: Fields, name: str, scale: float) -> MetricSummary:
    """The figures of successful requests; they write zeros if there were none."""
    found = served.at(f"{name}.successful")
    found.at("percentiles")  # keys that are not read are reported, even if nothing was counted
    if not found.whole("count"):
        return MetricSummary()
    return figures(found, "{figure}", name, _FIGURES, scale, found.count("count"))


def _calls(benchmark: Fields) -> tuple[pa.Table, list[str]]:
    """A row per finished request, and the messages of failed ones; "measured" is what their figures count."""
    requests, ends_s = benchmark.at("requests"), benchmark.at("scheduler_metrics").number("measure_end_time")
    good, bad = list(requests.each("successful")), list(requests.each("errored"))
    ended = [*good, *bad]
    messages = [""] * len(good) + [each.text("info.error") or "failed" for each in bad]
    stamps = [each.at("info.timings") for each in ended]
    end_s = [each.number("request_end_time") for each in ended]
    counted_in = [ends_s is None or end is None or end <= ends_s for end in end_s]
    calls = calls_table(
        sent_s=[each.number("request_start_time") for each in ended],
        end_s=end_s,
        first_s=[each.number("first_token_iteration") for each in stamps],
        last_s=[each.number("last_token_iteration") for each in stamps],
        prompt_tokens=[each.number("prompt_tokens") for each in ended],
        output_tokens=[each.number("output_tokens") for each in ended],
        errors=messages,
        phases=["measured" if each else None for each in counted_in],
    )
    return calls, messages
