"""inference-perf, genai-bench, LLMPerf and LLMeter: one summary per run, with its requests in it or beside it."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from analysis.others.imported import (
    NO_CALLS,
    NO_INSTANTS,
    Imported,
    Times,
    calls_table,
    counted,
    lacks_of,
    metrics,
    per_s,
    rates,
    with_theirs,
)
from analysis.others.result_file import Fields, rows_beside
from analysis.run.sections import Throughput
from bench.types import UserError

_MS: Final = 1000.0
# Our names of figures by theirs.
_TAILS: Final = {"p90": "p90", "p95": "p95", "p99": "p99"}
_MEDIAN: Final = {"mean": "mean", "min": "min", "max": "max", "p50": "median", **_TAILS}
_STANDARD: Final = {"mean": "mean", "std": "stddev", "min": "min", "max": "max", "p50": "p50", **_TAILS}
_QUANTILES: Final = _STANDARD | {stat: f"quantiles_{stat}" for stat in ("p50", *_TAILS)}
_AVERAGE: Final = {"mean": "average", "p50": "p50", **_TAILS}


class _Row(NamedTuple):
    """What a tool calls the fields of a request; times count from its sending."""

    first: str
    end: str
    prompt_tokens: str
    output_tokens: str
    error: str
    error_code: str = ""
    cached_tokens: str = ""


def _timed(rows: Sequence[Fields], named: _Row, sent_s: Times = (), last_s: Times = (), scale: float = 1.0) -> pa.Table:
    """A row per request from its own times, times `scale` in seconds; the last token is the end, unless given.

    If the file does not say when requests were sent, all start at 0, and no rate is derived from these rows.
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

_LATENCIES: Final = {
    "time_to_first_token": "ttft_ms",
    "time_per_output_token": "tpot_ms",
    "inter_token_latency": "itl_ms",
    "request_latency": "service_ms",
}
_LENGTHS: Final = {name: name for name in ("prompt_tokens", "output_tokens")}


def read_inference_perf(top: Fields) -> Iterator[Imported]:
    """Read a summary_lifecycle_metrics.json, or one of a stage."""
    calls = _of_inference_perf(list(rows_beside(top.file)))
    theirs = metrics(top, "successes.latency.{metric}.{figure}", _LATENCIES, _MEDIAN, _MS)
    theirs |= metrics(top, "successes.{metric}.{figure}", _LENGTHS, _MEDIAN)
    rate = top.number("load_summary.requested_rate")
    yield Imported(
        concurrency=None if rate else top.whole("load_summary.concurrency"),
        rate_per_s=rate,
        seconds=top.number("benchmark_time_seconds"),
        requests=counted(top.count("successes.count"), top.count("failures.count")),
        metrics=with_theirs(calls, theirs),
        throughput=rates(
            top,
            "successes.throughput.",
            requests_per_s="requests_per_sec",
            output_tokens_per_s="output_tokens_per_sec",
            total_tokens_per_s="total_tokens_per_sec",
        ),
        differs={
            "service_ms": "to the end of the stream, starting before the connection is established",
            "itl_ms": "tokens are counted by their tokenizer, chunk by chunk",
            "tpot_ms": "tokens are counted by their tokenizer from the text",
            "output_tokens": "the server's count, or their tokenizer's if the server gives none",
        },
        calls=calls,
        lacks=("the model", "their version", *lacks_of(calls)),
        untranslated=top.untranslated(),
    )


def _of_inference_perf(rows: Sequence[Fields]) -> pa.Table:
    """A row per request; newer versions keep the answer in an object of its own."""
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
        errors=[row.text("error.error_msg") or "failed" if "error" in row else "" for row in rows],
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


def read_genai_bench(top: Fields) -> Iterator[Imported]:
    """Read the file of one concurrency."""
    found = top.at("aggregated_metrics")
    unit = top.text("_time_unit") or "s"
    if unit not in _GENAI_UNITS:
        raise UserError(f"{top.file}: _time_unit: expected {' or '.join(_GENAI_UNITS)}, found {unit!r}")
    scale = _GENAI_UNITS[unit]
    done = found.count("num_completed_requests")
    rows = list(top.each("individual_request_metrics"))
    seen = _counted_in(found.at("stats.e2e_latency"), done)
    # The file does not say which requests were left out.
    calls = _timed(rows, _GENAI_ROW, scale=scale) if seen == done else NO_CALLS
    theirs = metrics(found, "stats.{metric}.{figure}", _GENAI_BENCH, _STANDARD, scale * _MS, seen)
    yield Imported(
        concurrency=found.whole("num_concurrency"),
        seconds=found.number("run_duration"),
        warmed_up=seen != done,
        requests=counted(done, found.whole("num_error_requests") or 0),
        metrics=with_theirs(calls, theirs),
        throughput=rates(
            found,
            requests_per_s="requests_per_second",
            output_tokens_per_s="mean_output_throughput_tokens_per_s",
            total_tokens_per_s="mean_total_tokens_throughput_tokens_per_s",
        ),
        differs={
            "tpot_ms": "from the first token to the end of the stream, over the tokens - 1",
            "prompt_tokens": "counted by their tokenizer, without the chat template",
        },
        calls=calls,
        lacks=("the model", "their version", *lacks_of(calls, NO_INSTANTS)),
        untranslated=top.untranslated(),
    )


def _counted_in(found: Fields, done: int) -> int:
    """How many requests the figures cover: a share of the successful ones may be left out at the start and the end."""
    mean, total = found.number("mean"), found.number("sum")
    return done if not mean or total is None else round(total / mean)


# --- LLMPerf ----------------------------------------------------------------------------------------------------

_LLMPERF: Final = {
    "ttft_s": "ttft_ms",
    "end_to_end_latency_s": "service_ms",
    "number_input_tokens": "prompt_tokens",
    "number_output_tokens": "output_tokens",
}
_LLMPERF_ROW: Final = _Row(
    "ttft_s",
    "end_to_end_latency_s",
    "number_input_tokens",
    "number_output_tokens",
    "error_msg",
    error_code="error_code",
)


def read_llmperf(document: Fields) -> Iterator[Imported]:
    """Read a summary. Their inter-token latency divides the whole answer by its tokens, so it is not ours."""
    # The smallest and largest integers are written as text, because they are numpy's, which JSON refuses.
    top = document.with_numbers("_min", "_max")
    calls = _of_llmperf(list(rows_beside(top.file)))
    theirs = metrics(top, "results_{metric}_{figure}", _LLMPERF, _QUANTILES, _MS)
    yield Imported(
        model=top.text("model"),
        began=top.instant("timestamp"),
        concurrency=top.whole("num_concurrent_requests"),
        requests=counted(top.count("results_num_completed_requests"), top.count("results_number_errors")),
        metrics=with_theirs(calls, theirs),
        throughput=Throughput(
            requests_per_s=per_s(top.number("results_num_completed_requests_per_min")),
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
    """A row per request; its inter-token latency times its tokens is the time of its last token."""
    gap = "inter_token_latency_s"
    last_s = [
        (row.number(gap) or 0.0) * (row.number(_LLMPERF_ROW.output_tokens) or 0.0) or None
        if row.is_number(gap)
        else None  # a list of gaps in older versions
        for row in rows
    ]
    return _timed(rows, _LLMPERF_ROW, last_s=last_s)


# --- LLMeter ----------------------------------------------------------------------------------------------------

_LLMETER: Final = {
    "time_to_first_token": "ttft_ms",
    "time_per_output_token": "tpot_ms",
    "time_to_last_token": "service_ms",
    "num_tokens_input": "prompt_tokens",
    "num_tokens_output": "output_tokens",
}
_LLMETER_ROW: Final = _Row(
    "time_to_first_token",
    "time_to_last_token",
    "num_tokens_input",
    "num_tokens_output",
    "error",
    cached_tokens="num_tokens_input_cached",
)


def read_llmeter(top: Fields) -> Iterator[Imported]:
    """Read the figures of a run."""
    failed, total = top.count("failed_requests"), top.count("total_requests")
    rows = list(rows_beside(top.file))
    sent = [row.instant("request_time") for row in rows]
    calls = _timed(rows, _LLMETER_ROW, [None if each is None else each.timestamp() for each in sent])
    yield Imported(
        model=top.text("model_id"),
        server=top.text("endpoint_name"),
        began=top.instant("start_time"),
        concurrency=top.whole("clients"),
        seconds=top.number("total_test_time"),
        requests=counted(total - failed, failed),
        metrics=with_theirs(calls, metrics(top, "{metric}-{figure}", _LLMETER, _AVERAGE, _MS)),
        throughput=Throughput(
            requests_per_s=per_s(top.number("requests_per_minute")),
            output_tokens_per_s=per_s(top.number("average_output_tokens_per_minute")),
        ),
        differs={"ttft_ms": "starts before the connection is established", "service_ms": "to the last token"},
        calls=calls,
        lacks=("their version", *lacks_of(calls, "when each request was sent, more precisely than to the second")),
        untranslated=top.untranslated(),
    )
