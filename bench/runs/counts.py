"""What a server says that it counted, held against itself, against what was asked, and against what arrived.

Strategy: every count has several witnesses. An answer's tokens are in the final usage, in the running counts of its
events, in the total less the prompt, in the number of arrivals, and, where it ended for its length, in the plan. A
prompt's tokens are in the usage, in the total less the answer, and in the plan. Where all agree, or differ as honest
servers do (hidden reasoning, several tokens an event, a proxy that cuts events), nothing is said. Where exactly one
reading fits, it is taken and named. Where none does, the contradiction is named, and nobody may build on the number.
"""

import math
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args

import numpy as np

from bench.deltas import KIND_CODES, in_columns
from bench.endings import is_for_length
from bench.types import Delta, Usage

Source = Literal["server usage", "per-chunk usage", "arrivals", "tokenizer", "chunk count"]

Reading = Literal["reasoning_apart", "output_by_total", "hidden_reasoning", "cached_apart", "prompt_by_total"]
"""Ways to read a usage that is sound, and not as OpenAI's (docs/metrics.md)."""

Contradiction = Literal[
    "output_overruled", "final_overruled", "prompt_overruled",
    "output_below_arrivals", "output_zero", "over_limit", "running_differs", "reasoning_over_output", "total_differs",
    "prompt_zero", "cached_over_prompt", "length_not_reached",
]  # fmt: skip
"""What cannot all be true of one call's counts; of the overruled ones all other witnesses agree on the number taken."""

_TEXT, _BLANK, _REASONING = KIND_CODES["text"], KIND_CODES["blank"], KIND_CODES["reasoning"]
_READINGS: Final[tuple[Reading, ...]] = get_args(Reading)
_CONTRADICTIONS: Final[tuple[Contradiction, ...]] = get_args(Contradiction)

# No backend lets such a count through (bench.runs.records has 32 bits for that of an arrival).
_MOST_OF_A_COLUMN = 2**31 - 1
# At the end of an answer tokens may be held back with half a character, or be of the kind that is never shown.
_HELD_BACK = 8
# Servers that count otherwise, or go on past the limit, are seen as such; what is far beyond it is no count.
_MOST_OF_LIMIT, _MOST_OVER_LIMIT = 4, 64
_NEAR, _NEAR_TOKENS = 0.02, 2
# A tokenizer makes 3 to 5 bytes of text of a token, of digits 1 to 3.
_FEWEST_BYTES = 2
# More than this in the first event, and four times any later one, was not made in one step.
_FIRST_STEP = 8
# Of answers of so few arrivals what was found is kept.
_FEW_DELTAS = 16


class PlannedTokens(NamedTuple):
    """What was planned: the prompt's length (None where nobody said), and the longest answer (0: not known)."""

    prompt_tokens: int | None
    max_tokens: int


class Counts(NamedTuple):
    """The counts of one call, reconciled; None is unknown.

    `output_tokens` is all that was made, `early_tokens` of them came before the first token arrived: hidden reasoning,
    and white space at the start. `arrival_tokens` are of the arrivals from the first token on, and have the rest.
    """

    usage: Usage
    output_tokens: int | None
    early_tokens: int | None
    arrival_tokens: Sequence[int]
    source: Source | None
    readings: tuple[Reading, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()


class _ArrivedTexts(NamedTuple):
    """What arrived of an answer, and where it was to end.

    `kinds` are those of `Deltas`; `tokens` is how many each event was said to bring, None where that is not known of
    all; `full` is the planned length where the answer ended for it, else 0.
    """

    kinds: bytes
    tokens: list[int] | None
    text_bytes: int
    limit: int
    full: int

    @property
    def visible(self) -> int:
        return len(self.kinds)


class _Found(NamedTuple):
    tokens: int | None
    finding: Reading | Contradiction | None = None


def reconcile(
    asked: PlannedTokens,
    usage: Usage | None,
    deltas: Sequence[Delta],
    finish: str | None,
    text_bytes: int,
    *,
    complete: bool = True,
) -> Counts:
    """The counts of one call. Of an answer that is not `complete` the usage says nothing of the output yet."""
    columns = in_columns(deltas)
    count = _few if len(columns) <= _FEW_DELTAS else _reconciled
    return count(asked, usage, bytes(columns.kinds), tuple(columns.tokens or ()), finish, text_bytes, complete=complete)


def _reconciled(
    asked: PlannedTokens,
    usage: Usage | None,
    kinds: bytes,
    said: tuple[int | None, ...],
    finish: str | None,
    text_bytes: int,
    complete: bool,
) -> Counts:
    usage = Usage(*(None if count is None or count < 0 else count for count in usage or Usage()))
    seen = _seen(asked, kinds, said, finish, text_bytes)
    prompt = _prompt(usage, asked)
    output = _said(usage, prompt.tokens, seen) if complete else _Found(None)
    findings = [prompt.finding, output.finding]
    if output.finding == "output_by_total" and usage.output_tokens is not None:
        usage = usage._replace(reasoning_tokens=(output.tokens or 0) - usage.output_tokens)
    if output.tokens is not None:
        output = _against_arrivals(output.tokens, usage.reasoning_tokens or 0, seen)
        findings.append(output.finding)
    return _spread(
        usage._replace(prompt_tokens=prompt.tokens), output.tokens, seen, [found for found in findings if found]
    )


# A load's short answers are mostly counted as one before.
_few = lru_cache(maxsize=4096)(_reconciled)


def _seen(
    asked: PlannedTokens, kinds: bytes, said: Sequence[int | None], finish: str | None, text_bytes: int
) -> _ArrivedTexts:
    tokens = [count for count in said if count is not None and count >= 0] if any(said) else []
    if max(tokens, default=0) > _MOST_OF_A_COLUMN:
        raise OverflowError("an event with more tokens than a record can hold")
    # A server that says 0 with every event does not count them.
    is_split = len(tokens) == len(kinds) and 0 < sum(tokens) <= _most(asked.max_tokens)
    return _ArrivedTexts(
        kinds,
        tokens if is_split else None,
        text_bytes,
        asked.max_tokens,
        asked.max_tokens if is_for_length(finish) else 0,
    )


def _most(limit: int) -> float:
    return _MOST_OF_LIMIT * limit + _MOST_OVER_LIMIT if limit else math.inf


# --- the prompt -------------------------------------------------------------------------------------------------


def _prompt(usage: Usage, asked: PlannedTokens) -> _Found:
    """The prompt's tokens, with those of the cache, and what is odd about their count."""
    counted, planned, by_total = usage.prompt_tokens, asked.prompt_tokens, None
    if usage.total_tokens and usage.output_tokens is not None:
        by_total = usage.total_tokens - usage.output_tokens
    if counted is None:
        return _Found(by_total, "prompt_by_total") if by_total and by_total > 0 else _Found(None)
    apart = (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0)
    if not _near(counted, planned):
        if apart and _near(counted + apart, planned):
            return _Found(counted + apart, "cached_apart")
        if by_total != counted and _near(by_total, planned):
            return _Found(by_total, "prompt_overruled")
    if counted == 0:
        return _Found(None, "prompt_zero")
    return _Found(counted, "cached_over_prompt" if apart > counted else None)


def _near(tokens: int | None, planned: int | None) -> bool:
    """Whether a count is the planned one, as nearly as templates and tokenizers leave it."""
    return tokens is not None and planned is not None and abs(tokens - planned) <= _NEAR_TOKENS + _NEAR * planned


# --- the answer -------------------------------------------------------------------------------------------------


def _said(usage: Usage, prompt: int | None, seen: _ArrivedTexts) -> _Found:
    """What the server's own sums make of the answer, which may leave reasoning out; None where it says nothing."""
    output, reasoned, total = usage.output_tokens, usage.reasoning_tokens or 0, usage.total_tokens
    rest = total - prompt if total and prompt else None
    if output is None:
        return _Found(rest, "output_by_total") if rest is not None and rest >= 0 else _Found(None)
    # The server may have added up the prompt as it counts it, without what is cached.
    if rest is None or output in (rest, (total or 0) - (usage.prompt_tokens or 0)):
        apart = reasoned > output or output != seen.full == output + reasoned
        if rest is None and reasoned and apart:
            return _Found(output + reasoned, "reasoning_apart")
        return _Found(output, "reasoning_over_output" if reasoned > output else None)
    if reasoned and rest == output + reasoned:
        return _Found(rest, "reasoning_apart")
    if not reasoned and rest > output >= seen.visible and not (seen.limit and rest > seen.limit):
        return _Found(rest, "output_by_total")
    return _Found(output, "total_differs")


def _against_arrivals(counted: int, reasoned: int, seen: _ArrivedTexts) -> _Found:
    """The answer's tokens: the server's sum, unless arrivals and plan speak against it."""
    visible, full, running = seen.visible, seen.full, sum(seen.tokens or ())
    hidden = 0 if _REASONING in seen.kinds else reasoned
    two_counts = running and not running <= counted <= running + max(_HELD_BACK, counted // 20)
    if two_counts and full and full in (running, counted):
        return _Found(full, "final_overruled")
    # More than one token an event is no reason to doubt, unless the server itself says that there was one.
    one_each = visible == full > 1 and (counted < visible or not running)
    if one_each and abs(counted - visible) > 1 and counted - hidden != visible:
        return _Found(visible, "output_overruled")
    if counted == 0 and visible:
        return _Found(None, "output_zero")
    if counted - hidden > _most(seen.limit):
        return _Found(None, "over_limit")
    if two_counts:
        return _Found(counted, "running_differs")
    if visible - counted > max(1, visible // 20) and counted != full:
        return _Found(counted, "output_below_arrivals")
    return _Found(counted, "length_not_reached" if counted < full - max(1, full // 100) else None)


def _spread(usage: Usage, total: int | None, seen: _ArrivedTexts, findings: list[Reading | Contradiction]) -> Counts:
    """Give every arrival its tokens: by its own count, or evenly; what was made before the first token, apart."""
    reasoned, hidden = usage.reasoning_tokens or 0, 0
    source: Source | None = "server usage"
    counts: Sequence[int] = seen.tokens or []
    if counts and (total is None or 0 <= total - sum(counts) <= max(_HELD_BACK, total // 20)):
        hidden, source = _made_before(counts), "per-chunk usage"
        # Tokens without text at the end, such as half of a character, came with no arrival of their own.
        held_back = 0 if total is None else total - sum(counts)
        counts = [counts[0] - hidden, *counts[1:]]
        counts[-1] += held_back
        total = hidden + sum(counts)
    elif total is None:
        counts, source = _evenly(seen.visible, seen.visible), "chunk count" if seen.visible else None
        total = seen.visible or None
    else:
        hidden = _hidden(reasoned, total, seen)
        if hidden and not reasoned:
            findings = [*findings, "hidden_reasoning"]
        counts = _shares(reasoned, total - hidden, seen.kinds)
    if "output_overruled" in findings:
        source = "arrivals"
    blank = seen.visible - len(seen.kinds.lstrip(bytes([_BLANK])))
    return Counts(
        usage,
        total,
        None if total is None else hidden + sum(counts[:blank]),
        counts[blank:],
        source,
        tuple(found for found in _READINGS if found in findings),
        tuple(found for found in _CONTRADICTIONS if found in findings),
    )


def _made_before(counts: Sequence[int]) -> int:
    """Tokens that the first event counts and did not bring: it was told of them with the first that it shows."""
    first, most = counts[0], max(counts[1:], default=0)
    return first - most if most and first > max(_FIRST_STEP, 4 * most) else 0


def _hidden(reasoned: int, total: int, seen: _ArrivedTexts) -> int:
    """How many of the tokens counted were reasoned out of sight, before the first that was shown."""
    visible = seen.visible
    if not visible or _REASONING in seen.kinds:
        return 0
    if reasoned:
        # Where more arrived than the rest can be, some of the reasoning came as text.
        shown = total - reasoned
        return reasoned if shown >= visible - max(1, visible // 20) else max(0, total - visible)
    all_text = seen.kinds.count(_TEXT) + seen.kinds.count(_BLANK) == visible
    too_many = total >= 2 * visible and _FEWEST_BYTES * visible <= seen.text_bytes < _FEWEST_BYTES * total
    return total - visible if all_text and too_many else 0


def _shares(reasoned: int, total: int, kinds: bytes) -> Sequence[int]:
    """`total` tokens over the arrivals, evenly; where reasoning was counted and shown, it has its own."""
    thoughts = kinds.count(_REASONING)
    others = len(kinds) - thoughts
    if not (thoughts and others and thoughts <= reasoned and others <= total - reasoned):
        return _evenly(total, len(kinds))
    is_thought, shares = np.frombuffer(kinds, np.uint8) == _REASONING, np.empty(len(kinds), np.int32)
    shares[is_thought], shares[~is_thought] = _evenly(reasoned, thoughts), _evenly(total - reasoned, others)
    return array("i", shares.tobytes())


def _evenly(total: int, parts: int) -> "array[int]":
    if total == parts:
        return array("i", [1]) * parts
    return array("i", np.diff(np.arange(parts + 1) * total // max(parts, 1)).tolist())
