"""The usage of an answer in OpenAI's dialects, from all its usage objects, whatever their names and places."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from backends.dialect.outside import UnsoundValue, count
from bench.types import Usage

PROMPT = ("prompt_tokens", "input_tokens")
OUTPUT = ("completion_tokens", "output_tokens")
TOTAL = "total_tokens"
PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
# OpenAI, and Moonshot beside the counts; DeepSeek; Anthropic's, as gateways pass it on; SGLang and vLLM; xAI.
CACHED = (
    *("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "num_cached_tokens"),
    *("cached_prompt_tokens", "cached_input_tokens"),
)
# OpenRouter; LiteLLM; Anthropic's and Qwen's.
WRITTEN = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
# Names in lower case without underscores and hyphens: promptTokens, and Gemini's promptTokenCount.
_SPELLED = {
    **dict.fromkeys(("prompttokens", "inputtokens", "prompttokencount", "inputtokencount"), PROMPT[0]),
    **dict.fromkeys(("completiontokens", "outputtokens", "candidatestokencount", "outputtokencount"), OUTPUT[0]),
    **dict.fromkeys(("totaltokens", "totaltokencount"), TOTAL),
}
_DEEPEST, _MOST_LOOKED_AT, _LONG_NAME = 4, 100, 64


def together(usages: Sequence[tuple[int, Any]]) -> tuple[Usage | None, int]:
    """The combined usage of several objects, each with the number of arrivals before it, and that of the deciding one.

    The last one that has a count above zero decides. Some servers send zeros until the end (Ollama's completions),
    others a count so far (vLLM). A zero or missing count at the end does not cancel an earlier one.
    """
    if (deciding := _last_said(usages)) is None:
        # None of them has OpenAI's names.
        usages = [(at, found_in(usage) or usage) for at, usage in usages]
        deciding = _last_said(usages)
    stated = [usage for _, usage in usages if isinstance(usage, dict)]
    if not stated:
        return None, 0
    arrivals, last = deciding or (0, stated[-1])
    usage = Usage(
        prompt_tokens=_last_positive(stated, PROMPT),
        cached_tokens=_most_telling(last, PROMPT_DETAILS, CACHED),
        cache_write_tokens=_most_telling(last, PROMPT_DETAILS, WRITTEN),
        output_tokens=_last_positive(stated, OUTPUT),
        reasoning_tokens=_most_telling(last, OUTPUT_DETAILS, ("reasoning_tokens",)),
        total_tokens=count(last, TOTAL),
    )
    return usage, arrivals


def found_in(event: Any) -> dict[str, Any] | None:
    """The usage anywhere in an event that lacks one in its usual place, by OpenAI's names; None if there is none.

    Groq has it under `x_groq`, gateways in a delta, under other names, or in other spellings. It is an object that
    counts both the prompt and the answer; of several, such as a separate one for billing, the larger.
    """
    known = [usage for usage in _objects(event) if _is_count(usage.get(PROMPT[0])) and _is_count(usage.get(OUTPUT[0]))]
    return max(known, key=lambda usage: usage[PROMPT[0]], default=None)


def _objects(event: Any) -> Iterator[dict[str, Any]]:
    waiting = deque([(event, 0)])
    for _ in range(_MOST_LOOKED_AT):
        if not waiting:
            return
        value, depth = waiting.popleft()
        if isinstance(value, dict):
            ours = {
                name: number
                for key, number in value.items()
                if (name := (_few_names if len(key) <= _LONG_NAME else _our_name)(key)) and _is_count(number)
            }
            yield value | ours if ours else value
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if depth < _DEEPEST:
            waiting += [(one, depth + 1) for one in inner if isinstance(one, dict | list)]


def _our_name(key: str) -> str | None:
    return _SPELLED.get(key.replace("_", "").replace("-", "").lower())


# The events of a stream all have the same few names.
_few_names = lru_cache(maxsize=1024)(_our_name)


def _is_count(value: Any) -> bool:
    try:
        return count({"": value}, "") is not None
    except UnsoundValue:
        return False


def _last_said(usages: Sequence[tuple[int, Any]]) -> tuple[int, Any] | None:
    names = (*PROMPT, *OUTPUT, TOTAL)
    counted = ((at, usage) for at, usage in reversed(usages) if any(count(usage, name) for name in names))
    return next(counted, None)


def _last_positive(usages: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int | None:
    """The last count above zero under any of the names, else zero if there is one."""
    found = None
    for usage in reversed(usages):
        value = _first_positive([usage], names)
        if value:
            return value
        found = 0 if value == 0 else found
    return found


def _most_telling(usage: Any, details: Sequence[str], names: Sequence[str]) -> int | None:
    """The same for one usage and its details."""
    return _first_positive([usage, *(usage.get(name) for name in details)], names)


def _first_positive(places: Sequence[Any], names: Sequence[str]) -> int | None:
    known = [number for counts in places for name in names if (number := count(counts, name)) is not None]
    return next((number for number in known if number), 0 if known else None)
