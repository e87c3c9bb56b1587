"""inference-perf, genai-bench, LLMPerf and LLMeter: one summary for a run, and its requests in it or beside it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from analysis.others.imported import (
    NO_CALLS,
    NO_INSTANTS,
    Imported,
    Times,
    calls_table,
    counted,
    figures,
    lacks_of,
    with_theirs,
)
from analysis.others.result_file import Fields, ResultFile, rows_beside
from analysis.run.sections import Throughput
from bench.types import UserError

_MS: Final = 1000.0
# Our names of figures by theirs.
_TAILS: Final = {"p90": "p90", "p95": "p95", "p99": "p99"}
_MEDIAN: Final = {"mean": "mean", "min": "min", "max": "max", "p50": "median", **_TAILS}
_STANDARD: Final = {"mean": "mean", "std": "stddev", "min": "min", "max": "max", "p50": "p50", **_TAILS}
_QUANTILES: Final = {
    stat: f"quantiles_{theirs}" if stat.startswith("p") else theirs for stat, theirs in _STANDARD.items()
}
_AVERAGE: Final = {"mean": "average", "p50": "p50", **_TAILS}


class _Row(NamedTuple):
    """What a tool calls the fields of a request, of which the times count from its sending."""

    first: str
    end: str
    prompt_tokens: str
    output_tokens: str
    error: str
    error_code: str = ""
    cached_tokens: str = ""


def _timed(rows: Sequence[Fields], named: _Row, sent_s: Times = (), last_s: Times = (), scale: float = 1.0) -> pa.Table:
    """A row for each request from its own times, times `scale` in seconds; the last token is the end, unless given.

    Where nobody tells when they were sent, all are at once: no rate is told of such rows.
    """
    sent_s = sent_s or [0.0] * len(rows)

    def each(name: str) -> list[float | None]:
        return [row.number(name) if name else None for row in rows]

    def since(times: Times) -> list[float | None]:
        return [None if at is None or took is None else at + took * scale
                for at, took in zip(sent_s, times, strict=True)]  # fmt: skip

    return calls_table(
        sent_s=sent_s,
        end_s=since(each(named.end)),
        first_s=since(each(named.first)),
        last_s=since(last_s or each(named.end)),
        prompt_tokens=each(named.prompt_tokens),
        output_tokens=each(named.output_tokens),
        cached_tokens=each(named.cached_tokens),
        errors=[row.text(named.error) or ("failed" if named.error_code in row else "") for row in rows],
    )


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
        calls = _of_inference_perf(list(rows_beside(result.file)))
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
            metrics=with_theirs(calls, metrics),
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
            calls=calls,
            lacks=("the model", "their version", *lacks_of(calls)),
            untranslated=top.untranslated(),
        )


def _of_inference_perf(rows: Sequence[Fields]) -> pa.Table:
    """A row for each request; older versions tell of its answer where newer ones have an object for that."""
    about = [row.at("info") for row in rows]
    answers = [each.at("response_metrics") if "response_metrics" in each else each for each in about]
    came_s = [each.numbers("chunk_times") or each.numbers("output_token_times") for each in answers]
    arrivals_s = [[at for at in each if at is not None] for each in came_s]
    counted_by = [(each.at("server_usage"), each) for each in answers]
    return calls_table(
        sent_s=[row.number("start_time") for row in rows],
        end_s=[row.number("end_time") for row in rows],
        first_s=[each[0] if each else None for each in arrivals_s],
        last_s=[each[-1] if each else None for each in arrivals_s],
        prompt_tokens=[each.number("input_tokens") for each in about],
        output_tokens=[server.number("completion_tokens" if "completion_tokens" in server else "output_tokens")
                       or theirs.number("output_tokens") for server, theirs in counted_by],
        errors=[row.at("error").text("error_msg") or "failed" if "error" in row else "" for row in rows],
        arrivals_s=arrivals_s,
    )  # fmt: skip


# --- genai-bench ------------------------------------------------------------------------------------------------

_GENAI_BENCH: Final = {
    "ttft": "ttft_ms",
    "tpot": "tpot_ms",
    "e2e_latency": "service_ms",
    "num_input_tokens": "prompt_tokens",
    "num_output_tokens": "output_tokens",
}


_GENAI_ROW: Final = _Row(
    "ttft", "e2e_latency", "num_input_tokens", "num_output_tokens", "error_message", error_code="error_code"
)
_GENAI_UNITS: Final = {"s": 1.0, "ms": 0.001}


def is_genai_bench(document: Any) -> bool:
    """Whether a document is one iteration of a genai-bench experiment."""
    return isinstance(document, dict) and {"aggregated_metrics", "individual_request_metrics"} <= document.keys()


def read_genai_bench(result: ResultFile) -> Iterator[Imported]:
    """Read the file of one concurrency."""
    for document in result.documents:
        top = Fields(result.file, document)
        found = top.at("aggregated_metrics")
        unit = top.text("_time_unit") or "s"
        if unit not in _GENAI_UNITS:
            raise UserError(f"{result.file}: _time_unit: expected {' or '.join(_GENAI_UNITS)}, found {unit!r}")
        scale = _GENAI_UNITS[unit]
        stats, done = found.at("stats"), found.count("num_completed_requests")
        rows = list(top.each("individual_request_metrics"))
        seen = _counted_in(stats.at("e2e_latency"), done)
        # Which requests were left out no file says.
        calls = _timed(rows, _GENAI_ROW, scale=scale) if seen == done else NO_CALLS
        metrics = {
            ours: figures(stats.at(name), _STANDARD, scale * _MS if ours.endswith("_ms") else 1.0, seen)
            for name, ours in _GENAI_BENCH.items()
        }
        yield Imported(
            tool="genai-bench",
            title="genai-bench",
            concurrency=found.whole("num_concurrency"),
            seconds=found.number("run_duration"),
            warmed_up=seen != done,
            requests=counted(done, found.whole("num_error_requests") or 0),
            metrics=with_theirs(calls, metrics),
            throughput=Throughput(
                requests_per_s=found.number("requests_per_second"),
                output_tokens_per_s=found.number("mean_output_throughput_tokens_per_s"),
                total_tokens_per_s=found.number("mean_total_tokens_throughput_tokens_per_s"),
            ),
            differs={
                "tpot_ms": "from the first token to the end of the stream, over the tokens - 1",
                "prompt_tokens": "counted by their tokenizer, without the template",
            },
            calls=calls,
            lacks=("the model", "their version", *lacks_of(calls, NO_INSTANTS)),
            untranslated=top.untranslated(),
        )


def _counted_in(found: Fields, done: int) -> int:
    """How many requests figures are of: of those that succeeded a share at the start and the end may be left out."""
    mean, total = found.number("mean"), found.number("sum")
    return done if not mean or total is None else round(total / mean)


# --- LLMPerf ----------------------------------------------------------------------------------------------------

_LLMPERF: Final = {
    "ttft_s": ("ttft_ms", _MS),
    "end_to_end_latency_s": ("service_ms", _MS),
    "number_input_tokens": ("prompt_tokens", 1.0),
    "number_output_tokens": ("output_tokens", 1.0),
}


_LLMPERF_ROW: Final = _Row(
    "ttft_s",
    "end_to_end_latency_s",
    "number_input_tokens",
    "number_output_tokens",
    "error_msg",
    error_code="error_code",
)


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
        calls = _of_llmperf(list(rows_beside(result.file)))
        per_minute = top.number("results_num_completed_requests_per_min")
        yield Imported(
            tool="llmperf",
            title="LLMPerf",
            model=top.text("model"),
            began=top.instant("timestamp"),
            concurrency=top.whole("num_concurrent_requests"),
            requests=counted(top.count("results_num_completed_requests"), top.count("results_number_errors")),
            metrics=with_theirs(calls, metrics),
            throughput=Throughput(
                requests_per_s=None if per_minute is None else per_minute / 60,
                output_tokens_per_s=top.number("results_mean_output_throughput_token_per_s"),
            ),
            differs={
                "output_tokens": "counted by their tokenizer from the text",
                "tpot_ms": "from the first token to the last, over the tokens of their tokenizer - 1",
            },
            calls=calls,
            lacks=lacks_of(calls, NO_INSTANTS),
            untranslated=top.untranslated(),
        )


def _of_llmperf(rows: Sequence[Fields]) -> pa.Table:
    """A row for each request; its inter-token latency times its tokens is the time of its last."""
    gap = "inter_token_latency_s"
    last_s = [
        (row.number(gap) or 0.0) * (row.number(_LLMPERF_ROW.output_tokens) or 0.0) or None
        if row.is_number(gap)
        else None  # a list of gaps in older versions
        for row in rows
    ]
    return _timed(rows, _LLMPERF_ROW, last_s=last_s)


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


_LLMETER_ROW: Final = _Row(
    "time_to_first_token",
    "time_to_last_token",
    "num_tokens_input",
    "num_tokens_output",
    "error",
    cached_tokens="num_tokens_input_cached",
)


def is_llmeter(document: Any) -> bool:
    """Whether a document is the stats.json of a run of LLMeter."""
    return isinstance(document, dict) and "time_to_last_token-p50" in document and "failed_requests" in document


def read_llmeter(result: ResultFile) -> Iterator[Imported]:
    """Read the figures of a run."""
    for document in result.documents:
        top = Fields(result.file, document)
        failed, total = top.count("failed_requests"), top.count("total_requests")
        rows = list(rows_beside(result.file))
        sent = [row.instant("request_time") for row in rows]
        calls = _timed(rows, _LLMETER_ROW, [None if each is None else each.timestamp() for each in sent])
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
            lacks=("their version", *lacks_of(calls, "to less than a second when each request was sent")),
            untranslated=top.untranslated(),
        )
