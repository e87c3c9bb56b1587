"""vLLM's `bench serve`, the Python client and the one in Rust, and SGLang's bench_serving, which descends from it."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

import pyarrow as pa

from analysis.others.imported import (
    NO_INSTANTS,
    Imported,
    calls_table,
    counted,
    failures,
    figures,
    lacks_of,
    with_theirs,
)
from analysis.others.result_file import Fields
from analysis.run.sections import MetricSummary, Throughput
from bench.runs.table import SCHEMA

_FIRST: Final = "from before the connection is established to the first chunk, which may be the empty one with the role"
_CHUNKS: Final = "their ITL: gaps between chunks, empty ones included, however many tokens each carries"
_LAST: Final = "ends with the last chunk of the answer, not with its last byte"
_PER_TOKEN: Final = "from the first chunk, which may be the empty one, to the last, over the server's tokens - 1"
OF_VLLM: Final = {"ttft_ms": _FIRST, "chunk_gap_ms": _CHUNKS, "tpot_ms": _PER_TOKEN, "service_ms": _LAST}
OF_SGLANG: Final = {
    "ttft_ms": "from before the connection is established to the first chunk with text",
    "chunk_gap_ms": "their ITL: gaps between chunks with text, however many tokens each carries",
    "tpot_ms": "from the first chunk with text to the last, over the server's tokens - 1",
    "service_ms": _LAST,
}
_FIGURES: Final = {"mean": "mean", "std": "std", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
# Ours by theirs; their ITL is of chunks, despite its name.
VLLM: Final = {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "chunk_gap_ms", "e2el": "service_ms"}
_SGLANG: Final = {"ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "chunk_gap_ms", "e2e_latency": "service_ms"}


def read_vllm(fields: Fields) -> Iterator[Imported]:
    """Read one result, which may be a line of a file that was appended to."""
    yield _read(fields, VLLM, OF_VLLM)


def read_sglang(fields: Fields) -> Iterator[Imported]:
    """Read one line, which is a run."""
    yield _read(fields, _SGLANG, OF_SGLANG)


def _read(fields: Fields, names: Mapping[str, str], differs: Mapping[str, str]) -> Imported:
    errors = fields.texts("errors")
    completed = fields.count("completed")
    failed = fields.whole("failed")
    planned = fields.whole("num_prompts")
    if failed is None:
        failed = sum(map(bool, errors)) if errors else max(0, (planned or completed) - completed)
    rate, concurrency = (
        fields.number("request_rate") if fields.is_number("request_rate") else None,
        fields.whole("max_concurrency"),
    )
    calls = _calls(fields, errors)
    theirs = {ours: _metric(fields, name, completed) for name, ours in names.items()}
    burstiness = fields.number("burstiness")
    return Imported(
        model=fields.text("model_id"),
        server=fields.text("backend") or fields.text("endpoint_type"),
        began=fields.instant("date"),
        concurrency=None if rate else concurrency,
        rate_per_s=rate,
        arrivals="unknown" if not rate else "poisson" if burstiness in (None, 1.0) else f"gamma:{burstiness**-0.5:.3g}",
        seconds=fields.number("duration"),
        requests=counted(completed, failed),
        failures=failures(errors),
        metrics=with_theirs(calls, theirs),
        throughput=Throughput(
            requests_per_s=fields.number("request_throughput"),
            output_tokens_per_s=fields.number("output_throughput"),
            total_tokens_per_s=fields.number("total_token_throughput") or fields.number("total_throughput"),
            goodput_rps=fields.number("request_goodput"),
        ),
        calls=calls,
        differs=differs,
        lacks=("their version", *lacks_of(calls, *(() if "start_times" in fields else (NO_INSTANTS,)))),
        untranslated=fields.untranslated(),
    )


def _metric(fields: Fields, name: str, completed: int) -> MetricSummary:
    """A metric's figures; they write zeros if nothing succeeded."""
    found = figures(fields, "{figure}_{metric}_ms", name, _FIGURES)
    fields.number(f"p50_{name}_ms")  # the median, repeated
    return found if completed else MetricSummary()


def _calls(fields: Fields, errors: list[str]) -> pa.Table:
    """A row per request if the file has them. Only successful requests have times."""
    ttft_s, latency_s, gaps_s = fields.numbers("ttfts"), fields.numbers("latencies"), fields.rows("itls")
    prompt, output, start_s = (fields.numbers(name) for name in ("input_lens", "output_lens", "start_times"))
    n = len(ttft_s)
    start_s = start_s or [0.0] * n  # SGLang and older versions do not record when a request started
    latency_s = latency_s or [None] * n
    if not n or not n == len(gaps_s) == len(output) == len(errors) == len(start_s) == len(latency_s):
        return SCHEMA.empty_table()
    ok = [not error for error in errors]
    known = sum(tokens or 0 for tokens, good in zip(prompt, ok, strict=False) if good)
    if known != fields.number("total_input_tokens") or len(prompt) != n:
        prompt = []  # SGLang's are not in the order of its answers
    began_s = [start or 0.0 for start in start_s]
    arrivals_s = [
        list(accumulate(gaps, initial=began + (ttft or 0.0))) if good else []
        for began, ttft, gaps, good in zip(began_s, ttft_s, gaps_s, ok, strict=True)
    ]
    last_s = [each[-1] if each else None for each in arrivals_s]
    return calls_table(
        sent_s=began_s,
        first_s=[each[0] if each else None for each in arrivals_s],
        last_s=last_s,
        end_s=[
            began + latency if good and latency else last
            for began, latency, last, good in zip(began_s, latency_s, last_s, ok, strict=True)
        ],
        prompt_tokens=prompt,
        output_tokens=[tokens if good else None for tokens, good in zip(output, ok, strict=True)],
        errors=errors,
        arrivals_s=arrivals_s,
    )
