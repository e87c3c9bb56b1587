"""The shape of the answers' streams: do tokens come as a decoder makes them, or as something on the way lets them out?

What is looked at is the median over answers, so that one stall or one late read of this client says nothing.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import NS_PER_MS, column, flat, gaps_ms
from analysis.run.sections import StreamShape
from analysis.run.streams import stream
from analysis.stats.distributions import Floats, Ints, Sample, ranks
from analysis.stats.pool import per_request
from bench.runs.table import mapped

LEAST_TOKENS: Final = 8
"""Shorter answers have no shape."""

# 5,000 tokens/s in one stream: no step of a model is as short, and a tenth of an answer's mean gap is no usual step.
_TOGETHER_MS, _TOGETHER_SHARE = 0.2, 0.1
_ENOUGH_ANSWERS = 1000
# Enough answers of different lengths to tell whether the first token waits for the last.
_LEAST_ANSWERS, _LEAST_LENGTHS = 30, 5


def shape(calls: pa.Table) -> StreamShape:
    """How tokens came in the measured calls that succeeded; None where too little came to say.

    `tokens_per_burst` and `arrivals_per_burst` are what came together (within 0.2 ms and a tenth of the answer's mean
    gap), `burst_spread` the relative deviation of such bursts inside an answer, `bursts` how many an answer has.
    `decode_share` is the part of the time since sending in which tokens came, `first_gap_of_gaps` the gap after the
    first token over the median of the others, `ttft_of_first_gap` the wait before it over that gap. `ttft_by_length`
    is the rank correlation of the first token's wait with the answer's length, the prompt's held fixed.
    `blank_share` is of the answers that began with white space and then paused for `blank_pause_ms`, the median;
    `whole_share` of those that came in one piece of JSON and not as a stream.
    """
    long = pc.fill_null(pc.greater_equal(_arrived(calls), LEAST_TOKENS), False)
    shaped = np.flatnonzero(np.asarray(long) & (stream(calls, "arrivals") > 1))
    # From all of the run, and no more of them than medians need.
    answers = calls.take(shaped[:: max(1, len(shaped) // _ENOUGH_ANSWERS)])
    blank_share, blank_pause_ms = _blank(calls)
    found = StreamShape(
        answers=answers.num_rows,
        ttft_by_length=_ttft_by_length(calls),
        blank_share=blank_share,
        blank_pause_ms=blank_pause_ms,
        whole_share=_whole(calls),
    )
    return _of_streams(found, answers) if answers.num_rows else found


def _arrived(calls: pa.Table) -> pa.ChunkedArray:
    """How many tokens each call's arrivals brought."""
    return pc.subtract(calls["output_tokens"], pc.coalesce(calls["early_tokens"], 0))


class _Paced(NamedTuple):
    """Of each answer its bursts, the first of its gaps and the median; how many inner bursts have each size."""

    bursts: Floats
    first_gap_ms: Floats
    median_gap_ms: Floats
    inner: Ints


def _of_streams(found: StreamShape, answers: pa.Table) -> StreamShape:
    arrivals = stream(answers, "arrivals")
    bursts, first_gap_ms, others_ms = (np.zeros(answers.num_rows) for _ in range(3))
    inner = np.zeros(int(arrivals.max()), np.int64)
    for rows, some in mapped(_paced, answers, ["arrivals_ns"]):
        bursts[rows], first_gap_ms[rows], others_ms[rows] = some.bursts, some.first_gap_ms, some.median_gap_ms
        inner[: len(some.inner)] += some.inner
    first_ns, last_ns, sent_ns = (column(answers, f"{name}_ns") for name in ("first_token", "last_token", "sent"))
    tokens = np.asarray(_arrived(answers).to_numpy(), np.float64)
    return replace(
        found,
        bursts=float(np.median(bursts)),
        arrivals_per_burst=float(np.median(arrivals / bursts)),
        tokens_per_burst=float(np.median(tokens / bursts)),
        burst_spread=_spread(inner),
        decode_share=_median((last_ns - first_ns) / np.maximum(last_ns - sent_ns, 1.0)),
        first_gap_of_gaps=_median(first_gap_ms / np.maximum(others_ms, 1e-3)),
        ttft_of_first_gap=_median((first_ns - sent_ns) / NS_PER_MS / first_gap_ms),
    )


def _paced(answers: pa.Table) -> _Paced:
    t_ns, offsets = flat(answers, "arrivals_ns")
    gaps = gaps_ms(t_ns, offsets)
    arrivals = np.diff(offsets)
    limits = np.minimum(_TOGETHER_MS, _TOGETHER_SHARE * per_request(np.add, *gaps, 0.0) / (arrivals - 1))
    apart = gaps.values > np.repeat(limits, arrivals - 1)
    return _Paced(
        1 + per_request(np.add, apart, gaps.offsets, 0.0),
        np.maximum(gaps.values[gaps.offsets[:-1]], 1e-6),
        _medians(gaps),
        np.bincount(_inner_sizes(apart, gaps.offsets)),
    )


def _inner_sizes(apart: npt.NDArray[np.bool_], offsets: Ints) -> Ints:
    """Arrivals in each burst that is neither its answer's first nor its last."""
    ends = np.flatnonzero(apart)
    owner = np.searchsorted(offsets, ends, side="right")
    sizes: Ints = np.diff(ends)[owner[1:] == owner[:-1]]
    return sizes


def _spread(counts: Ints) -> float | None:
    """The relative deviation of sizes, of which there are so many of each; None without one."""
    if not counts.any():
        return None
    sizes = np.arange(len(counts))
    mean = np.average(sizes, weights=counts)
    return float(np.sqrt(np.average((sizes - mean) ** 2, weights=counts)) / mean)


def _ttft_by_length(calls: pa.Table) -> float | None:
    ttft = column(calls, "first_token_ns") - column(calls, "sent_ns")
    length, prompt = column(calls, "output_tokens"), np.nan_to_num(column(calls, "prompt_tokens"))
    known = ~np.isnan(ttft) & ~np.isnan(length)
    if known.sum() < _LEAST_ANSWERS or len(np.unique(length[known])) < _LEAST_LENGTHS:
        return None
    by_length, by_prompt, both = (
        _rank_correlation(a[known], b[known]) for a, b in ((ttft, length), (ttft, prompt), (length, prompt))
    )
    # The partial correlation: what the first token's wait and the answer's length share beyond the prompt's length.
    rest = (1 - by_prompt**2) * (1 - both**2)
    return float((by_length - by_prompt * both) / np.sqrt(rest)) if rest > 1e-9 else None


def _rank_correlation(a: Floats, b: Floats) -> float:
    first, second = (ranked - ranked.mean() for ranked in (ranks(a), ranks(b)))
    spread = first.std() * second.std()
    return float((first * second).mean() / spread) if spread else 0.0


def _blank(calls: pa.Table) -> tuple[float | None, float | None]:
    """(share of answers that began with white space, median of its time before the first token in ms)."""
    pause_ms = (column(calls, "first_token_ns") - column(calls, "first_blank_ns")) / NS_PER_MS
    begun = pause_ms[~np.isnan(pause_ms)]
    if not calls.num_rows:
        return None, None
    return len(begun) / calls.num_rows, float(np.median(begun)) if len(begun) else None


def _whole(calls: pa.Table) -> float | None:
    """The share of answers without the instant of any token."""
    never = pc.and_(pc.is_null(calls["first_token_ns"]), pc.is_null(calls["first_blank_ns"]))
    return float(pc.mean(never.cast(pa.int8())).as_py()) if calls.num_rows else None


def _medians(sample: Sample) -> Floats:
    """The median of each call's values; every call has at least one."""
    calls = np.repeat(np.arange(len(sample.offsets) - 1), np.diff(sample.offsets))
    ordered = sample.values[np.lexsort((sample.values, calls))]
    # Sorted once, by call and value: a median for each call by itself would take a loop over all of them.
    starts, ends = sample.offsets[:-1], sample.offsets[1:]
    found: Floats = (ordered[(starts + ends - 1) // 2] + ordered[(starts + ends) // 2]) / 2
    return found


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
