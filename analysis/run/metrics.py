"""The metrics, one function each: from a table of successful calls to the values of every call.

To add one, write the function and its entry in METRICS; summary, objectives and report pick it up from there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.stats.distributions import Floats, Ints, Sample
from bench.runs.table import SCHEMA, mapped

NS_PER_MS = 1e6
NS_PER_S = 1e9
MOST_AT_ONCE = 10_000
"""Tokens of one arrival that gaps are made of: a server may say 200,000,000, and each would take 24 bytes here."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number means and how to compute it.

    `values` takes a table of successful calls (the columns of `bench.types.Record`) and leaves out what is undefined.
    `optional`: a call may rightly have no value, as one output token has no gap.
    """

    name: str
    unit: Literal["ms", "tokens"]
    better: Literal["lower", "higher"]
    definition: str
    values: Callable[[pa.Table], Sample]
    optional: bool = False


def keep(calls: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """The calls where the mask is true, null being false; no copy of millions of arrivals where that is all of them."""
    mask = pc.fill_null(mask, False)
    return calls if pc.all(mask, min_count=0).as_py() else calls.filter(mask)


def is_text(column: pa.ChunkedArray, text: str) -> pa.ChunkedArray:
    """Where a column has that text; its type is said, or pyarrow searches for dateutil to tell it, each time."""
    return pc.equal(column, pa.scalar(text, pa.string()))


def measured(calls: pa.Table) -> pa.Table:
    """The calls the metrics are about: those of the warm-up are not."""
    return keep(calls, is_text(calls["phase"], "measured"))


def successful(calls: pa.Table) -> pa.Table:
    """The calls that ended without an error."""
    return keep(calls, is_successful(calls))


def is_successful(calls: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.is_null(calls["error"]), pc.is_valid(calls["end_ns"]))


def column(calls: pa.Table, name: str) -> Floats:
    """A column of numbers as float64, NaN where unknown; nanoseconds since the run's start stay exact for 104 days."""
    return np.asarray(calls[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def flat(calls: pa.Table, name: str) -> tuple[npt.NDArray[Any], Ints]:
    """A list column as (all values in one array, offsets of each call's share), values without a copy."""
    if name not in calls.column_names:
        found = list(mapped(lambda part: part, calls, [name]))
        rows = np.concatenate([rows for rows, _ in found] or [np.empty(0, np.int64)])
        calls = pa.concat_tables([part for _, part in found]).take(np.argsort(rows)) if found else SCHEMA.empty_table()
    lists = calls[name].combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())])
    return lists.flatten().to_numpy(), offsets


def per_call(calls: pa.Table, names: Sequence[str], function: Callable[[pa.Table], npt.NDArray[Any]]) -> Floats:
    """What a function of some columns gives for each call, computed for some calls at a time."""
    found = np.zeros(calls.num_rows)
    for rows, own in mapped(function, calls, names):
        found[rows] = own
    return found


def gaps_ms(t_ns: npt.NDArray[np.int64], offsets: Ints) -> Sample:
    """The gaps between each call's successive instants, in milliseconds."""
    inside = np.ones(max(len(t_ns) - 1, 0), np.bool_)
    edges = offsets[(offsets > 0) & (offsets < len(t_ns))]
    inside[edges - 1] = False
    gaps = np.diff(t_ns)[inside]
    return Sample(
        np.divide(gaps, NS_PER_MS, out=gaps.view(np.float64)),
        np.concatenate([[0], np.cumsum(np.maximum(np.diff(offsets) - 1, 0))]),
    )


OF_OUTPUT_TIMES = ("arrivals_ns", "arrival_tokens", "early_tokens", "first_token_ns", "end_ns")
"""The columns that `output_times_ns` looks at."""


def output_times_ns(calls: pa.Table) -> tuple[Floats, Ints, Floats]:
    """When output was there, as (instants, numbers of the calls, tokens).

    What was made before the first token counts when that arrives; an answer of white space alone, at its end.
    """
    t_ns, offsets = flat(calls, "arrivals_ns")
    tokens, _ = flat(calls, "arrival_tokens")
    early = told_early(calls)
    told = np.flatnonzero(early)
    return (
        _longer(t_ns.astype(np.float64), early_ns(calls)[told]),
        _longer(np.repeat(np.arange(calls.num_rows), np.diff(offsets)), told),
        _longer(tokens.astype(np.float64), early[told]),
    )


def early_ns(calls: pa.Table) -> Floats:
    """When what was made before the first token counts: with that token, or at the call's end where none arrived."""
    first_ns = column(calls, "first_token_ns")
    return np.where(np.isnan(first_ns), column(calls, "end_ns"), first_ns)


def told_early(calls: pa.Table) -> Floats:
    """How many tokens were made before the first of each call arrived, 0 where unknown."""
    return np.maximum(np.nan_to_num(column(calls, "early_tokens")), 0.0)


def _longer(values: npt.NDArray[Any], more: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The two in a row; no copy of millions of values for nothing."""
    return np.concatenate([values, more]) if len(more) else values


def token_times_ns(calls: pa.Table) -> tuple[npt.NDArray[np.int64], Ints]:
    """The instant of every token: an arrival that brings k tokens counts k times, up to `MOST_AT_ONCE`."""
    t_ns, offsets = flat(calls, "arrivals_ns")
    tokens, _ = flat(calls, "arrival_tokens")
    if tokens.min(initial=1) == tokens.max(initial=1) == 1:
        return t_ns, offsets
    tokens = np.minimum(tokens, MOST_AT_ONCE)
    before = np.concatenate([[0], np.cumsum(tokens, dtype=np.int64)])
    return np.repeat(t_ns, tokens), before[offsets]


def _one_per_call(values: Floats) -> Sample:
    defined = ~np.isnan(values)
    return Sample(values[defined], np.concatenate([[0], np.cumsum(defined)]))


def _between(later: str, earlier: str) -> Callable[[pa.Table], Sample]:
    return lambda calls: _one_per_call((column(calls, later) - column(calls, earlier)) / NS_PER_MS)


def _count(name: str) -> Callable[[pa.Table], Sample]:
    return lambda calls: _one_per_call(column(calls, name))


def _rag_response(calls: pa.Table) -> Sample:
    waited_ns = column(calls, "retrieval_ns") + column(calls, "end_ns") - column(calls, "due_ns")
    return _one_per_call(waited_ns / NS_PER_MS)


def _tpot(calls: pa.Table) -> Sample:
    after_first = column(calls, "output_tokens") - _early_tokens(calls) - 1
    # One token has no pace. The first is left out of the count because its time, the prefill's, is left out above.
    after_first[after_first < 1] = np.nan
    return _one_per_call((column(calls, "last_token_ns") - column(calls, "first_token_ns")) / after_first / NS_PER_MS)


def _early_tokens(calls: pa.Table) -> Floats:
    """Output that was made before the first token arrived. Records of old runs tell it only of hidden reasoning."""
    reasoned = np.nan_to_num(column(calls, "reasoning_tokens"))
    hidden = np.where(column(calls, "first_text_ns") == column(calls, "first_token_ns"), reasoned, 0.0)
    early = column(calls, "early_tokens")
    return np.where(np.isnan(early), hidden, early)


def _itl(calls: pa.Table) -> Sample:
    return gaps_ms(*token_times_ns(calls))


def _chunk_gap(calls: pa.Table) -> Sample:
    return gaps_ms(*flat(calls, "arrivals_ns"))


OF_TOKENS = frozenset({"ttft_ms", "ttft_text_ms", "itl_ms", "chunk_gap_ms", "tpot_ms"})
"""Metrics of the instants at which tokens came, of which an answer in one piece has none."""

POOLED = ("itl_ms", "chunk_gap_ms")
"""Metrics of which a call has many values, which are taken together over all calls; of the others it has one."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("ttft_ms", "ms", "lower",
            "Time to first token: from sending the request to the first text, reasoning or tool call that arrives; "
            "white space at the start of an answer does not count.",
            _between("first_token_ns", "sent_ns")),
        Metric("ttft_text_ms", "ms", "lower",
            "Time to first visible text, later than the first token when the model reasons first.",
            _between("first_text_ns", "sent_ns")),
        Metric("itl_ms", "ms", "lower",
            "Inter-token latency: gaps between successive tokens, pooled; k tokens in one arrival are k - 1 zero gaps.",
            _itl, optional=True),
        Metric("chunk_gap_ms", "ms", "lower",
            "Gaps between successive arrivals of output, pooled over all requests, however many tokens each brings.",
            _chunk_gap, optional=True),
        Metric("tpot_ms", "ms", "lower",
            "Time per output token after the first: (last token - first token) / (output tokens - 1), once a request; "
            "what was made before the first token (hidden reasoning, white space) is left out.",
            _tpot, optional=True),
        Metric("service_ms", "ms", "lower",
            "From sending the request to the last byte of its response.",
            _between("end_ns", "sent_ns")),
        Metric("response_ms", "ms", "lower",
            "From the instant the request was due to the last byte of its response: the wait to be sent counts.",
            _between("end_ns", "due_ns")),
        Metric("lateness_ms", "ms", "lower",
            "From the instant the request was due to its sending: the fault of the client or of its concurrency limit.",
            _between("sent_ns", "due_ns")),
        Metric("prompt_tokens", "tokens", "lower",
            "Prompt tokens of a request, as the server counted them.",
            _count("prompt_tokens")),
        Metric("output_tokens", "tokens", "higher",
            "Output tokens of a request, from the most exact source it offers.",
            _count("output_tokens")),
        Metric("connect_ms", "ms", "lower",
            "Time to open the connection, for the requests that had to open one.",
            lambda calls: _one_per_call(column(calls, "connect_ns") / NS_PER_MS), optional=True),
        Metric("retrieval_ms", "ms", "lower",
            "Time to find the passages of a prompt: from asking the retriever to its answer's end, before the load.",
            lambda calls: _one_per_call(column(calls, "retrieval_ns") / NS_PER_MS), optional=True),
        Metric("rag_response_ms", "ms", "lower",
            "What a user waits for an answer from documents: retrieval_ms + response_ms of the same request.",
            _rag_response, optional=True),
    )
}  # fmt: skip
