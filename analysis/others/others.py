"""inference-perf, genai-bench, LLMPerf and LLMeter: one summary for a run, and no instants of single requests."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from analysis.others.imported import NO_CALLS, Imported, calls_table, counted, figures, with_theirs
from analysis.others.result_file import Fields, ResultFile, rows_beside
from analysis.run.sections import Throughput

_EACH: Final = ("each request",)
_MS: Final = 1000.0
# Our names of figures by theirs.
_TAILS: Final = {"p90": "p90", "p95": "p95", "p99": "p99"}
_MEDIAN: Final = {"mean": "mean", "min": "min", "max": "max", "p50": "median", **_TAILS}
_STANDARD: Final = {"mean": "mean", "std": "stddev", "min": "min", "max": "max", "p50": "p50", **_TAILS}
_QUANTILES: Final = {
    stat: f"quantiles_{theirs}" if stat.startswith("p") else theirs for stat, theirs in _STANDARD.items()
}
_AVERAGE: Final = {"mean": "average", "p50": "p50", **_TAILS}


# --- inference-perf ---------------------------------------------------------------------------------------------

_INFERENCE_PERF: Final = {
    "time_to_first_token": "ttft_ms",
    "time_per_output_token": "tpot_ms",
    "inter_token_latency": "itl_ms",
    "request_latency": "service_ms",
}


def is_inference_perf(document: Any) -> bool:
    """Whether a document is a summary or a stage of inference-perf."""
    return isinstance(document, dict) and {"load_summary", "successes", "failures"} <= document.keys()


def read_inference_perf(result: ResultFile) -> Iterator[Imported]:
    """Read a summary_lifecycle_metrics.json, or one of a stage."""
    for document in result.documents:
        top = Fields(result.file, document)
        good, load = top.at("successes"), top.at("load_summary")
        latency, served = good.at("latency"), good.at("throughput")
        metrics = {ours: figures(latency.at(name), _MEDIAN, _MS) for name, ours in _INFERENCE_PERF.items()}
        metrics |= {name: figures(good.at(name), _MEDIAN) for name in ("prompt_tokens", "output_tokens")}
        rate = load.number("requested_rate")
        yield Imported(
            tool="inference-perf",
            title="inference-perf",
            concurrency=None if rate else load.whole("concurrency"),
            rate_per_s=rate,
            seconds=top.number("benchmark_time_seconds"),
            requests=counted(good.count("count"), top.at("failures").count("count")),
            metrics=with_theirs(NO_CALLS, metrics),
            throughput=Throughput(
                requests_per_s=served.number("requests_per_sec"),
                output_tokens_per_s=served.number("output_tokens_per_sec"),
                total_tokens_per_s=served.number("total_tokens_per_sec"),
            ),
            differs={
                "service_ms": "to the end of the stream, from before the connection is there",
                "itl_ms": "tokens are those that their tokenizer makes of the text of a chunk",
                "tpot_ms": "tokens are those that their tokenizer makes of the text",
                "output_tokens": "the server's count, or their tokenizer's where it gives none",
            },
            lacks=("the model", "their version", *_EACH),
            untranslated=top.untranslated(),
        )


# --- genai-bench ------------------------------------------------------------------------------------------------

_GENAI_BENCH: Final = {
    "ttft": "ttft_ms",
    "tpot": "tpot_ms",
    "e2e_latency": "service_ms",
    "num_input_tokens": "prompt_tokens",
    "num_output_tokens": "output_tokens",
}


def is_genai_bench(document: Any) -> bool:
    """Whether a document is one iteration of a genai-bench experiment."""
    return isinstance(document, dict) and {"aggregated_metrics", "individual_request_metrics"} <= document.keys()


def read_genai_bench(result: ResultFile) -> Iterator[Imported]:
    """Read the file of one concurrency."""
    for document in result.documents:
        top = Fields(result.file, document)
        found = top.at("aggregated_metrics")
        unit = _MS if (top.text("_time_unit") or "s") == "s" else 1.0
        stats, done = found.at("stats"), found.count("num_completed_requests")
        top.numbers("individual_request_metrics")
        metrics = {
            ours: figures(stats.at(name), _STANDARD, unit if ours.endswith("_ms") else 1.0, done)
            for name, ours in _GENAI_BENCH.items()
        }
        yield Imported(
            tool="genai-bench",
            title="genai-bench",
            concurrency=found.whole("num_concurrency"),
            seconds=found.number("run_duration"),
            requests=counted(done, found.whole("num_error_requests") or 0),
            metrics=with_theirs(NO_CALLS, metrics),
            throughput=Throughput(
                requests_per_s=found.number("requests_per_second"),
                output_tokens_per_s=found.number("mean_output_throughput_tokens_per_s"),
                total_tokens_per_s=found.number("mean_total_tokens_throughput_tokens_per_s"),
            ),
            differs={
                "tpot_ms": "from the first token to the end of the stream, over the tokens - 1",
                "prompt_tokens": "counted by their tokenizer, without the template",
            },
            lacks=("the model", "their version", "when each request was sent"),
            untranslated=top.untranslated(),
        )


# --- LLMPerf ----------------------------------------------------------------------------------------------------

_LLMPERF: Final = {
    "ttft_s": ("ttft_ms", _MS),
    "end_to_end_latency_s": ("service_ms", _MS),
    "number_input_tokens": ("prompt_tokens", 1.0),
    "number_output_tokens": ("output_tokens", 1.0),
}


def is_llmperf(document: Any) -> bool:
    """Whether a document is a summary of LLMPerf, whose keys are one long word each."""
    return isinstance(document, dict) and "results_ttft_s_mean" in document


def read_llmperf(result: ResultFile) -> Iterator[Imported]:
    """Read a summary. Their inter-token latency divides the whole answer by its tokens, and is none of ours."""
    for document in result.documents:
        top = Fields(result.file, _with_numbers(document))
        metrics = {
            ours: figures(top, {stat: f"results_{name}_{theirs}" for stat, theirs in _QUANTILES.items()}, scale)
            for name, (ours, scale) in _LLMPERF.items()
        }
        per_minute = top.number("results_num_completed_requests_per_min")
        yield Imported(
            tool="llmperf",
            title="LLMPerf",
            model=top.text("model"),
            began=top.instant("timestamp"),
            concurrency=top.whole("num_concurrent_requests"),
            requests=counted(top.count("results_num_completed_requests"), top.count("results_number_errors")),
            metrics=with_theirs(NO_CALLS, metrics),
            throughput=Throughput(
                requests_per_s=None if per_minute is None else per_minute / 60,
                output_tokens_per_s=top.number("results_mean_output_throughput_token_per_s"),
            ),
            differs={"output_tokens": "counted by their tokenizer from the text"},
            lacks=_EACH,
            untranslated=top.untranslated(),
        )


def _with_numbers(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document, whose least and largest whole numbers it writes as text: those are numpy's, which JSON refuses."""
    return {
        name: int(value)
        if name.endswith(("_min", "_max")) and isinstance(value, str) and value.isascii() and value.isdecimal()
        else value
        for name, value in document.items()
    }


# --- LLMeter ----------------------------------------------------------------------------------------------------

_LLMETER: Final = {
    "time_to_first_token": ("ttft_ms", _MS),
    "time_per_output_token": ("tpot_ms", _MS),
    "time_to_last_token": ("service_ms", _MS),
    "num_tokens_input": ("prompt_tokens", 1.0),
    "num_tokens_output": ("output_tokens", 1.0),
}


_LLMETER_ROWS: Final = "responses.jsonl"


def is_llmeter(document: Any) -> bool:
    """Whether a document is the stats.json of a run of LLMeter."""
    return isinstance(document, dict) and "time_to_last_token-p50" in document and "failed_requests" in document


def read_llmeter(result: ResultFile) -> Iterator[Imported]:
    """Read the figures of a run."""
    for document in result.documents:
        top = Fields(result.file, document)
        failed, total = top.count("failed_requests"), top.count("total_requests")
        calls = _calls(list(rows_beside(result.file, _LLMETER_ROWS)))
        metrics = {
            ours: figures(top, {stat: f"{name}-{theirs}" for stat, theirs in _AVERAGE.items()}, scale)
            for name, (ours, scale) in _LLMETER.items()
        }
        per_minute, tokens = top.number("requests_per_minute"), top.number("average_output_tokens_per_minute")
        yield Imported(
            tool="llmeter",
            title="LLMeter",
            model=top.text("model_id"),
            server=top.text("endpoint_name"),
            began=top.instant("start_time"),
            concurrency=top.whole("clients"),
            seconds=top.number("total_test_time"),
            requests=counted(total - failed, failed),
            metrics=with_theirs(calls, metrics),
            throughput=Throughput(
                requests_per_s=None if per_minute is None else per_minute / 60,
                output_tokens_per_s=None if tokens is None else tokens / 60,
            ),
            differs={"ttft_ms": "from before the connection is there", "service_ms": "to the last token"},
            calls=calls,
            lacks=("their version", "to less than a second when each request was sent" if calls.num_rows else _EACH[0]),
            untranslated=top.untranslated(),
        )


def _calls(rows: Sequence[Fields]) -> pa.Table:
    """A row for each request; when it was sent is told to the second, what it took exactly."""
    sent_s = [None if (at := row.instant("request_time")) is None else at.timestamp() for row in rows]

    def since(name: str) -> list[float | None]:
        took_s = [row.number(name) for row in rows]
        return [None if at is None or took is None else at + took for at, took in zip(sent_s, took_s, strict=True)]

    return calls_table(
        sent_s=sent_s,
        end_s=since("time_to_last_token"),
        first_s=since("time_to_first_token"),
        last_s=since("time_to_last_token"),
        prompt_tokens=[row.number("num_tokens_input") for row in rows],
        output_tokens=[row.number("num_tokens_output") for row in rows],
        cached_tokens=[row.number("num_tokens_input_cached") for row in rows],
        errors=[row.text("error") or "" for row in rows],
    )
