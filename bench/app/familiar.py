"""Flags of other tools: accepted if they mean the same here; otherwise the message names the flag to use.

From the options of vLLM's and SGLang's benchmarks, GuideLLM, AIPerf, genai-bench, LLMPerf, k6 and Locust;
docs/coming-from.md compares them tool by tool.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from bench.durations import read_milliseconds
from bench.numeric import read
from bench.types import UserError


class Meaning(NamedTuple):
    """The option that a foreign flag stands for, and how to convert its value."""

    option: str
    value: Callable[[str], str] = str


def _seconds(value: str) -> str:
    return f"{value}s" if value[-1:].isdigit() else value


def _minutes(value: str) -> str:
    return f"{value}m" if value[-1:].isdigit() else value


def _arrivals(burstiness: str) -> str:
    """The shape of a gamma distribution is 1 / CV²."""
    found = read(burstiness)
    shape = math.nan if found is None else float(found)
    if not 0 < shape < math.inf:
        raise UserError(f"--burstiness {burstiness}: expected a number above 0, the shape of a gamma distribution")
    return "poisson" if shape == 1 else f"gamma:{1 / math.sqrt(shape):.6g}"


def _all(option: str, *words: str) -> dict[str, Meaning]:
    return dict.fromkeys(words, Meaning(option))


SAME: Final[Mapping[str, Meaning]] = {
    **_all("requests", "num-prompts", "num-requests", "request-count", "max-requests", "max-requests-per-run"),
    **_all("requests", "max-num-completed-requests", "iterations"),
    **_all("concurrency", "num-concurrency", "num-concurrent-requests", "vus", "users"),
    **_all("rate", "request-rate"),
    **_all("url", "base-url", "api-base", "target"),
    **_all("model", "api-model-name", "model-name", "model-names"),
    **_all("prompt_tokens", "isl", "input-len", "random-input-len", "random-input", "synthetic-input-tokens-mean"),
    **_all("prompt_tokens", "prompt-input-tokens-mean"),
    **_all("output_tokens", "osl", "output-len", "random-output-len", "random-output", "output-tokens-mean"),
    **_all("output_tokens", "sharegpt-output-len"),
    **_all("warmup", "num-warmups", "warmup-requests", "warmup-request-count"),
    **_all("seed", "random-seed"),
    **_all("tokenizer", "model-tokenizer", "processor"),
    **_all("extra_body", "extra-request-body", "additional-sampling-params"),
    **_all("workers", "num-workers"),
    **_all("adapter", "lora-name"),
    **_all("gpu", "server-gpu-type"),
    **_all("gpus", "server-gpu-count"),
    **_all("max_in_flight", "max-outstanding"),
    **_all("no_stream", "disable-stream"),
    **_all("dataset", "dataset-path", "input-file"),
    **_all("sessions", "num-conversations", "conversation-num"),
    "run-time": Meaning("duration"),
    "max-time-per-run": Meaning("duration", _minutes),
    **dict.fromkeys(("max-seconds", "benchmark-duration"), Meaning("duration", _seconds)),
    "request-timeout-seconds": Meaning("timeout", _seconds),
    "ready-check-timeout-sec": Meaning("ready_timeout", _seconds),
    **dict.fromkeys(("burstiness", "arrival-smoothness"), Meaning("arrivals", _arrivals)),
}
"""Foreign flags that mean the same here, without their dashes."""

MOST_AT_ONCE: Final = "max-concurrency"
"""A limit on requests in flight: of a closed loop or, together with a rate, of an open one."""

_LENGTHS: Final = "the distribution of lengths is part of a scenario (docs/scenarios.md); --prompt-tokens N fixes it"
_RESULTS: Final = "use --out FOLDER; every run has a folder with all results"
_BODY: Final = "use --extra-body, such as '{\"top_k\": 40}'"
_KEY: Final = "keys are never on the command line; set the variable that `bench.py run --help` names, or use --header"
ELSEWHERE: Final[Mapping[str, str]] = {
    word: advice
    for words, advice in {
        "rate-type arrival-pattern": "use --arrivals, or --concurrency for a closed loop",
        "host server-host": "use --url http://HOST:PORT",
        "endpoint endpoint-type request-type request-format": "use --route, with --url and --backend",
        "api-backend llm-api server-engine": "use --backend",
        "dataset-name data task traffic-scenario random-range-ratio": "use --scenario",
        "isl-stddev osl-stddev prompt-input-tokens-stddev output-tokens-stddev": _LENGTHS,
        "mean-input-tokens stddev-input-tokens mean-output-tokens stddev-output-tokens": _LENGTHS,
        "random-prefix-len prefix-prompt-length prefix-repetition-prefix-len": "set shared_prefix_tokens in a scenario",
        "save-result save-detailed result-dir result-filename output-file output-path output-dir": _RESULTS,
        "results-dir artifact-dir output-artifact-dir experiment-folder-name": _RESULTS,
        "percentile-metrics metric-percentiles summary-trend-stats": "every report has all of them; leave it out",
        "top-k min-p frequency-penalty presence-penalty repetition-penalty": _BODY,
        "chat-template-kwargs extra-inputs": _BODY,
        "ignore-eos": "llamacpp and vllm are always asked for answers of the planned length; leave it out",
        "disable-ignore-eos": "use --extra-body '{\"ignore_eos\": false}'",
        "streaming": "answers are streamed unless --no-stream says otherwise; leave it out",
        "rps": "that is a limit; --rate is a schedule, kept whatever the server does: use --rate",
        "spawn-rate": "all slots start at once; leave it out",
        "ramp-up-strategy ramp-up-start-rps ramp-up-end-rps stage": "use a --rate that changes, such as 1..10:5m",
        "api-key openai-api-key": _KEY,
        "lora-modules": "use --adapter NAME",
        "flush-cache": "use --cache cold, which is the default; or leave it out",
        "max-error-rate": "use --slo 'error_share<5%'",
    }.items()
    for word in words.split()
}
"""Flags of other tools that work differently here, without their dashes, and what to use."""

GOODPUT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("ttft", "time_to_first_token"), "service_ttft_ms"),
    **dict.fromkeys(("tpot", "inter_token_latency"), "tpot_ms"),
    **dict.fromkeys(("e2el", "e2e", "request_latency"), "service_ms"),
}
"""Metrics as --goodput names them; theirs count from the time of sending, and AIPerf's inter-token latency is our tpot.
"""


def word_of(name: str) -> str:
    """A flag or a key, normalised as the tables have it."""
    return name.lstrip("-").replace("_", "-")


def meaning_of(name: str, *, at_a_rate: bool) -> Meaning | None:
    """What another tool's flag or key is here; None if no tool has it, or it differs here."""
    word = word_of(name)
    if word == MOST_AT_ONCE:
        return Meaning("max_in_flight" if at_a_rate else "concurrency")
    return SAME.get(word)


def here(name: str) -> str | None:
    """What to use instead of a word that differs here; None for one that no known tool has."""
    advice = ELSEWHERE.get(word_of(name))
    return None if advice is None else f"{name}: {advice}"


_BETWEEN: Final = re.compile(r"[\s,]+(?=[A-Za-z_]\w*:)")
"""Separates two bounds, but not the digits of 2,000 nor a number and its unit."""


def goodput(text: str) -> tuple[str, ...]:
    """The objectives that `ttft:200 tpot:50` stands for: bounds on each request that only count good ones."""
    bounds = []
    for part in _BETWEEN.split(text.strip(" ,")):
        name, _, limit = part.partition(":")
        limit_ms = read_milliseconds(limit)
        if name not in GOODPUT or limit_ms is None:
            known = ", ".join(GOODPUT)
            raise UserError(f"--goodput {part!r}: expected NAME:MILLISECONDS such as ttft:200, with a name of {known}")
        bounds.append(f"{GOODPUT[name]}<{limit_ms:.12g} (goodput)")
    return tuple(bounds)
