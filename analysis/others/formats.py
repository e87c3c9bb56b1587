"""Detect which tool wrote a file, by its content, and read it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from analysis.others import aiperf, guidellm, others, vllm
from analysis.others.imported import Imported, unlike_requests, without_zeros
from analysis.others.result_file import Fields, file_beside, keys, read, summary_of
from bench.types import UserError


def having(*keys: str) -> Callable[[Any], bool]:
    """Whether a document is an object with all keys of one of these lines."""
    each = [frozenset(line.split()) for line in keys]
    return lambda document: isinstance(document, dict) and any(some <= document.keys() for some in each)


class Format(NamedTuple):
    """The results of one tool: their title, how a document of them is recognised, and how it is read."""

    title: str
    is_of: Callable[[Any], bool]
    read: Callable[[Fields], Iterator[Imported]]


FORMATS: Final[Mapping[str, Format]] = {
    "sglang-bench": Format(
        "SGLang bench_serving",
        having(
            "mean_ttft_ms total_input_tokens mean_e2e_latency_ms",
            "mean_ttft_ms total_input_tokens sharegpt_output_len",
        ),
        vllm.read_sglang,
    ),
    "vllm-bench": Format("vLLM bench serve", having("mean_ttft_ms total_input_tokens"), vllm.read_vllm),
    "guidellm": Format("GuideLLM", guidellm.is_guidellm, guidellm.read_guidellm),
    "aiperf": Format("AIPerf", having("aiperf_version input_config"), aiperf.read_aiperf),
    "inference-perf": Format("inference-perf", having("load_summary successes failures"), others.read_inference_perf),
    "genai-bench": Format(
        "genai-bench", having("aggregated_metrics individual_request_metrics"), others.read_genai_bench
    ),
    "llmperf": Format("LLMPerf", having("results_ttft_s_mean"), others.read_llmperf),
    "llmeter": Format("LLMeter", having("time_to_last_token-p50 failed_requests"), others.read_llmeter),
}
"""For each tool, in order of detection; SGLang's results have vLLM's keys and more."""


def results_in(file: Path) -> list[Imported]:
    """What a file of another tool measured. Raises UserError for an unknown or damaged file."""
    content = read(summary_of(file))
    tool = next((name for name, each in FORMATS.items() if each.is_of(content.documents[0])), None)
    if tool is None:
        known = ", ".join(each.title for each in FORMATS.values())
        raise UserError(f"{file}: expected results of {known}; this is {keys(content.documents[0])}")
    found, documents = FORMATS[tool], (Fields(content.file, each) for each in content.documents)
    read_of_all = (each for document in documents for each in found.read(document))
    results = [without_zeros(replace(each, tool=tool, title=found.title)) for each in read_of_all]
    if not results:
        raise UserError(f"{file}: expected a result of {found.title}, but it has none; let the tool run to its end")
    beside = file_beside(content.file)
    if beside is not None and (unlike := next(filter(None, map(unlike_requests, results)), None)):
        raise UserError(
            f"{beside}: has requests of a different run than {content.file.name} ({unlike}); put the right file "
            "beside it, or move this one away"
        )
    return results
