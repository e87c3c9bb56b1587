"""What the usage objects of an answer in OpenAI's dialects say together, under whatever names and wherever they are."""

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
# Names without case, underscores and hyphens: promptTokens, and Gemini's promptTokenCount.
_SPELLED = {
    **dict.fromkeys(("prompttokens", "inputtokens", "prompttokencount", "inputtokencount"), PROMPT[0]),
    **dict.fromkeys(("completiontokens", "outputtokens", "candidatestokencount", "outputtokencount"), OUTPUT[0]),
    **dict.fromkeys(("totaltokens", "totaltokencount"), TOTAL),
}
_DEEPEST, _MOST_LOOKED_AT, _LONG_NAME = 4, 100, 64


def together(usages: Sequence[tuple[int, Any]]) -> tuple[Usage | None, int]:
    """What usage objects, each with the number of arrivals before it, say together, and that number of the deciding.

    Which is the last that says something: a count above zero. Some servers send zeros until the end (Ollama's
    completions), others a count so far (vLLM). A zero or a gap at the end says nothing of what was counted before.
    """
    if (deciding := _last_said(usages)) is None:
        # None has a name of OpenAI's.
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
    """The usage somewhere in an event that has none in its place, by OpenAI's names; None where there is none.

    Groq has it under `x_groq`, gateways in a delta, under names of their own, or spelled as their language does. It is
    an object that counts both the prompt and the answer; of several, as where what is billed stands beside, the larger.
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
                for said, number in value.items()
                if (name := (_few_names if len(said) <= _LONG_NAME else _our_name)(said)) and _is_count(number)
            }
            yield value | ours if ours else value
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if depth < _DEEPEST:
            waiting += [(one, depth + 1) for one in inner if isinstance(one, dict | list)]


def _our_name(said: str) -> str | None:
    return _SPELLED.get(said.replace("_", "").replace("-", "").lower())


# A stream's events have the same few names each.
_few_names = lru_cache(maxsize=1024)(_our_name)


def _is_count(value: Any) -> bool:
    try:
        return count({"": value}, "") is not None
    except UnsoundValue:
        return False


def _last_said(usages: Sequence[tuple[int, Any]]) -> tuple[int, Any] | None:
    names = (*PROMPT, *OUTPUT, TOTAL)
    said = ((at, usage) for at, usage in reversed(usages) if any(count(usage, name) for name in names))
    return next(said, None)


def _last_positive(usages: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int | None:
    """The last count above zero under any of the names, else zero where that is all that is said."""
    found = None
    for usage in reversed(usages):
        said = _first_positive([usage], names)
        if said:
            return said
        found = 0 if said == 0 else found
    return found


def _most_telling(usage: Any, details: Sequence[str], names: Sequence[str]) -> int | None:
    """The same of one usage and its details."""
    return _first_positive([usage, *(usage.get(name) for name in details)], names)


def _first_positive(places: Sequence[Any], names: Sequence[str]) -> int | None:
    known = [said for counts in places for name in names if (said := count(counts, name)) is not None]
    return next((said for said in known if said), 0 if known else None)
