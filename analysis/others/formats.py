"""Which tool a file is of, by what is in it, and its reader."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from analysis.others import aiperf, guidellm, others, vllm
from analysis.others.imported import Imported, unlike_requests, without_zeros
from analysis.others.result_file import ResultFile, file_beside, keys, read, summary_of
from bench.types import UserError


class Format(NamedTuple):
    """The results of one tool: what they are, how a document of them is known, and how they are read."""

    title: str
    is_of: Callable[[Any], bool]
    read: Callable[[ResultFile], Iterator[Imported]]


FORMATS: Final[Mapping[str, Format]] = {
    "sglang-bench": Format("SGLang bench_serving", vllm.is_sglang, vllm.read_sglang),
    "vllm-bench": Format("vLLM bench serve", vllm.is_vllm, vllm.read_vllm),
    "guidellm": Format("GuideLLM", guidellm.is_guidellm, guidellm.read_guidellm),
    "aiperf": Format("AIPerf", aiperf.is_aiperf, aiperf.read_aiperf),
    "inference-perf": Format("inference-perf", others.is_inference_perf, others.read_inference_perf),
    "genai-bench": Format("genai-bench", others.is_genai_bench, others.read_genai_bench),
    "llmperf": Format("LLMPerf", others.is_llmperf, others.read_llmperf),
    "llmeter": Format("LLMeter", others.is_llmeter, others.read_llmeter),
}
"""By tool, the first that knows a document; SGLang's has the keys of vLLM's and more."""


def results_in(file: Path) -> list[Imported]:
    """What a file of another tool has measured. Raises UserError where it is of none that is known, or damaged."""
    content = read(summary_of(file))
    found = next((each for each in FORMATS.values() if each.is_of(content.documents[0])), None)
    if found is None:
        known = ", ".join(each.title for each in FORMATS.values())
        raise UserError(f"{file}: expected results of {known}; this is {keys(content.documents[0])}")
    results = [without_zeros(each) for each in found.read(content)]
    if not results:
        raise UserError(f"{file}: expected a result of {found.title}, there is none in it: let it run to its end")
    beside = file_beside(content.file)
    if beside is not None and (unlike := next(filter(None, map(unlike_requests, results)), None)):
        raise UserError(
            f"{beside}: has the requests of another run than {content.file.name}: {unlike}; lay its own beside it, or "
            "move this one away"
        )
    return results
