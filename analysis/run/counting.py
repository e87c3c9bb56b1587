"""Who counted the tokens of a run, whether the counts agree, and whether prompts and answers are the planned ones."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import column, keep
from analysis.run.sections import CountChecks, PromptLengths, TokenSources
from analysis.run.streams import stream
from bench.runs.manifest import RunManifest

READINGS: Final = {
    "reasoning_apart": "the answer's count leaves reasoning out: the sum of both was used",
    "output_by_total": "the total leaves more for the answer than its count (hidden reasoning): the total was used",
    "hidden_reasoning": "more tokens than the text can hold: the others were counted as reasoning before the first",
    "cached_apart": "the prompt's count leaves cached tokens out: the sum of both, the planned prompt, was used",
    "prompt_by_total": "the prompt has no count: the total less the answer was used",
}
"""How the counts of `bench.runs.counts` were read where they are not as OpenAI's, as clauses."""

CONTRADICTIONS: Final = {
    "output_overruled": "usage disagrees with the tokens that arrived one by one up to the length asked for, at "
    "which the answer ended: the arrivals were used",
    "final_overruled": "the final usage and the running counts differ, and one is the length asked for, at which the "
    "answer ended: that was used",
    "prompt_overruled": "the prompt's count is not the planned one, the total less the answer is: that was used",
    "output_below_arrivals": "usage has fewer tokens than there were arrivals of output",
    "output_zero": "usage says that there was no output, and output arrived",
    "over_limit": "usage has many times the tokens that the answer may have",
    "running_differs": "the final usage and the running counts differ",
    "reasoning_over_output": "usage has more reasoning than output",
    "total_differs": "the total is not the prompt and the answer together",
    "prompt_zero": "usage says that the prompt had no tokens",
    "cached_over_prompt": "usage has more of the prompt cached than the prompt has tokens",
    "length_not_reached": "the answer ended for its length with fewer tokens than the length asked for",
}
"""What cannot all be true of the counts of one call (`bench.runs.counts`), as clauses."""

RESOLVED: Final = {"output_overruled", "final_overruled", "prompt_overruled"}
"""Contradictions of which one side has all other witnesses for it: the recorded number is theirs."""

MOST_UNKNOWN: Final = 0.01
"""Up to this share of calls whose output nobody knows, rates per token are still those of the run."""

# Of a prompt that was counted beforehand the count is known; a server's template may add to it that was not asked.
_CUT, _ADDED, _ADDED_TOKENS = 0.98, 1.1, 32
# Of one that was not: a word is one token at least, seldom two, and templates are what they are.
_CUT_GUESS, _ADDED_GUESS, _ADDED_GUESS_TOKENS = 0.5, 3.0, 100
# Shorter answers may be the same by chance.
_LEAST_ALIKE_TOKENS = 8
# After these the number of tokens is still that of the answer.
_NOT_OF_OUTPUT = RESOLVED | {"length_not_reached", "prompt_zero", "cached_over_prompt"}


def tokens(calls: pa.Table) -> TokenSources:
    """Whether each arrival brought one token, where the output token counts come from, and whether all were made."""
    arrivals, brought = int(stream(calls, "arrivals").sum()), int(stream(calls, "tokens").sum())
    sources = Counter(calls["token_source"].drop_null().to_pylist())
    counted = keep(calls.select(["output_tokens", "max_tokens"]), pc.is_valid(calls["output_tokens"]))
    allowed = pc.sum(counted["max_tokens"]).as_py()
    return TokenSources(
        tokens_equal_chunks=bool(stream(calls, "one_each").all()) if arrivals else None,
        tokens_per_arrival=brought / arrivals if arrivals else None,
        token_sources=dict(sources.most_common()),
        output_of_max=pc.sum(counted["output_tokens"]).as_py() / allowed if allowed else None,
    )


def counts(run: RunManifest, calls: pa.Table) -> CountChecks:
    """Whether the server's counts of the successful `calls` agree with each other, the plan and what arrived."""
    contradictions = calls["count_contradictions"].drop_null().to_pylist()
    unknown = sum(not _NOT_OF_OUTPUT.issuperset(codes.split()) for codes in contradictions)
    return CountChecks(
        readings=_codes(calls["count_readings"].drop_null().to_pylist()),
        contradictions=_codes(contradictions),
        unknown_share=unknown / calls.num_rows if calls.num_rows else 0.0,
        prompts=_prompts(run, calls),
        finish=dict(Counter(calls["finish"].drop_null().to_pylist()).most_common()),
        repeated_share=_repeated_share(calls),
    )


def _codes(found: Iterable[str]) -> dict[str, int]:
    """How many calls have each code, by falling count."""
    return dict(Counter(code for codes in found for code in codes.split()).most_common())


def _prompts(run: RunManifest, calls: pa.Table) -> PromptLengths:
    """What share of prompts is shorter or longer than planned, and the median of prompt over plan; None: not known."""
    said, planned = column(calls, "prompt_tokens"), column(calls, "prompt_tokens_wanted")
    said = said - np.nan_to_num(column(calls, "image_tokens"))  # the plan is of the text alone
    known = ~np.isnan(said) & (planned > 0)
    if not known.any():
        return PromptLengths()
    exact = run.tokenizer.exact
    least = planned * (_CUT if exact else _CUT_GUESS)
    most = planned * (_ADDED if exact else _ADDED_GUESS) + (_ADDED_TOKENS if exact else _ADDED_GUESS_TOKENS)
    return PromptLengths(
        cut_share=float((said < np.minimum(least, planned - 2))[known].mean()),
        longer_share=float((said > most)[known].mean()),
        of_planned=float(np.median(said[known] / planned[known])),
    )


def _repeated_share(calls: pa.Table) -> float | None:
    """The share of answers whose text another answer of that length had before: prompts are all different."""
    long = keep(
        calls.select(["text_sha", "output_tokens"]),
        pc.and_(pc.is_valid(calls["text_sha"]), pc.greater_equal(calls["output_tokens"], _LEAST_ALIKE_TOKENS)),
    )
    lengths = len(pc.unique(long["output_tokens"]))
    others = long.num_rows - lengths
    different = long.group_by(["text_sha", "output_tokens"]).aggregate([]).num_rows
    return (long.num_rows - different) / others if others > 0 else None
