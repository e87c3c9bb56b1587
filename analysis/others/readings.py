"""Our own run evaluated by other tools' definitions: what a figure would be if it were measured as theirs is."""

from collections.abc import Mapping
from copy import copy
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import NS_PER_MS, NS_PER_S, column, flat, gaps_ms, keep, measured, successful, token_times_ns
from analysis.run.sections import Throughput
from analysis.run.summary import RunSummary
from analysis.stats.distributions import LEVELS, Floats

Reading = frozenset[str]
"""How figures are computed from a run's calls: the names of the definitions that are not ours; empty for ours."""
AS_OURS: Final = Reading()


class Definition(NamedTuple):
    """One way in which another tool's figures differ: its name in a `Reading`, and a description."""

    name: str
    words: str


DEFINITIONS: Final = {
    each.name: each
    for each in (
        Definition(
            "first_chunk", "the first bytes of an answer, with the chunk that names the role, count as the first token"
        ),
        Definition("from_connection", "time starts before the connection is opened, not when the request is sent"),
        Definition("to_last_token", "a request ends with its last token, not with its last byte"),
        Definition("chunks_are_tokens", "each chunk counts as one token, however many it carries"),
        Definition("with_warmup", "warm-up requests are counted"),
        Definition("with_failures", "failed requests are counted"),
        Definition("whole_time", "rates cover all the time from the first request to the last answer"),
        Definition(
            "as_slow", "with a fixed number in flight, the rate follows from the mean time of a request (Little's law)"
        ),
        Definition(
            "until_last_sent", "requests that ended after the last one was sent are not counted, and rates end there"
        ),
    )
}
_CLIENT: Final = frozenset({"from_connection", "whole_time"})
KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "vllm-bench": _CLIENT | {"first_chunk", "to_last_token"},
    "sglang-bench": _CLIENT | {"to_last_token"},
    "aiperf": _CLIENT | {"to_last_token"},
    "guidellm": _CLIENT | {"until_last_sent"},
    "inference-perf": _CLIENT,
    "genai-bench": _CLIENT,
    "llmperf": _CLIENT,
    "llmeter": _CLIENT | {"to_last_token"},
}
"""What is known about each tool's client, from its code; docs/others.md has the same in words."""
RATES: Final = ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s")
COUNTS: Final = ("prompt_tokens", "output_tokens")


# These choose the calls, so they affect every metric; those below affect only the metrics they name.
_CALLS: Final = Reading({"with_warmup", "with_failures", "until_last_sent"})
_BEARING: Final[Mapping[str, tuple[str, ...]]] = {
    "ttft_ms": ("first_chunk", "from_connection"),
    "ttft_text_ms": ("from_connection",),
    "tpot_ms": ("first_chunk", "chunks_are_tokens"),
    "itl_ms": ("first_chunk", "chunks_are_tokens"),
    "chunk_gap_ms": ("first_chunk",),
    "service_ms": ("from_connection", "to_last_token"),
    "output_tokens": ("chunks_are_tokens",),
    "requests_per_s": ("whole_time", "as_slow"),
    "output_tokens_per_s": ("whole_time", "chunks_are_tokens", "as_slow"),
    "total_tokens_per_s": ("whole_time", "chunks_are_tokens", "as_slow"),
}


def bearing_on(metric: str) -> tuple[str, ...]:
    """The definitions by which a figure can differ."""
    return (*_BEARING.get(metric, ()), *_CALLS)


class TheirMean(NamedTuple):
    """Their mean time of a request, and the definitions that explained it."""

    service_ms: float
    by: tuple[str, ...]


class OurCalls:
    """A run's calls, from which any figure can be computed by any reading."""

    def __init__(self, summary: RunSummary, requests: pa.Table) -> None:
        self._summary, self._requests = summary, requests
        self._mean: TheirMean | None = None
        self._counted = dict[Reading, pa.Table]()
        self._read = dict[tuple[str, Reading], Mapping[str, float]]()
        self._rates = dict[tuple[str, Reading], float | None]()

    def beside(self, mean: TheirMean) -> "OurCalls":
        """The same if both held as many in flight: by Little's law their rate is ours times our mean over theirs."""
        found = copy(self)  # sharing what was computed so far
        found._mean = mean
        return found

    def figure(self, metric: str, statistic: str, reading: Reading) -> float | None:
        """A statistic of a metric, or a rate; None if this run does not have it."""
        if metric in RATES:
            key = metric, reading - {"as_slow"}
            if key not in self._rates:
                self._rates[key] = self._rate(*key)
            rate = self._rates[key]
            return rate * self._pace(reading) if "as_slow" in reading and rate is not None else rate
        # Definitions that do not affect times change nothing here, so these are computed once.
        plain = reading - {"whole_time", "as_slow"}
        if (metric, plain) not in self._read:
            self._read[metric, plain] = _statistics(values(metric, self._calls(plain), plain))
        return self._read[metric, plain].get(statistic)

    def _pace(self, reading: Reading) -> float:
        """Our mean time over theirs, of the same calls as the rate."""
        if self._mean is None:
            return 1.0
        ours_ms = self.figure("service_ms", "mean", reading | set(self._mean.by))
        return (ours_ms or 0.0) / self._mean.service_ms

    def _calls(self, reading: Reading) -> pa.Table:
        which = reading & _CALLS
        if which not in self._counted:
            self._counted[which] = self._count(which)
        return self._counted[which]

    def _count(self, reading: Reading) -> pa.Table:
        calls = self._requests if "with_warmup" in reading else measured(self._requests)
        counted = keep(calls, pc.is_valid(calls["end_ns"])) if "with_failures" in reading else successful(calls)
        if "until_last_sent" not in reading:
            return counted
        return keep(counted, pc.less_equal(counted["end_ns"], pc.max(calls["sent_ns"])))

    def _rate(self, metric: str, reading: Reading) -> float | None:
        if reading.isdisjoint({*_BEARING[metric], "chunks_are_tokens", *_CALLS}):
            found: float | None = getattr(self._summary.throughput, metric)
            return found
        calls = self._calls(reading)
        units = np.ones(calls.num_rows)
        if metric != "requests_per_s":
            units = _tokens(calls, reading)
            units = units + column(calls, "prompt_tokens") if metric == "total_tokens_per_s" else units
        if "until_last_sent" in reading:
            seconds = _until_last_sent_s(calls if "with_warmup" in reading else measured(self._requests))
        elif "whole_time" in reading:
            seconds = _seconds(calls)
        else:
            seconds, inside = self._window(calls)
            units = units[inside]
        return float(np.nansum(units) / seconds) if seconds else None

    def _window(self, calls: pa.Table) -> tuple[float, Any]:
        window = self._summary.window
        if window.start_s is None or window.seconds is None:
            return 0.0, slice(None)
        ended_s = column(calls, "end_ns") / NS_PER_S
        return window.seconds, (ended_s >= window.start_s) & (ended_s <= window.start_s + window.seconds)


def _statistics(values: Floats) -> Mapping[str, float]:
    if not len(values):
        return {}
    levels = np.quantile(values, list(LEVELS.values()))
    return {"mean": float(values.mean()), **dict(zip(LEVELS, map(float, levels), strict=True))}


def _until_last_sent_s(calls: pa.Table) -> float:
    sent = column(calls, "sent_ns")
    return float((np.nanmax(sent) - np.nanmin(sent)) / NS_PER_S) if calls.num_rows else 0.0


def _seconds(calls: pa.Table) -> float:
    if not calls.num_rows:
        return 0.0
    return float((np.nanmax(column(calls, "end_ns")) - np.nanmin(column(calls, "sent_ns"))) / NS_PER_S)


def _tokens(calls: pa.Table, reading: Reading) -> Floats:
    if "chunks_are_tokens" not in reading:
        return column(calls, "output_tokens")
    return np.asarray(np.diff(flat(calls, "arrivals_ns")[1]), np.float64)


def values(metric: str, calls: pa.Table, reading: Reading) -> Floats:
    """A metric's values by a reading, in our units; including gaps and counts."""
    first = column(calls, "first_byte_ns" if "first_chunk" in reading else "first_token_ns")
    last = column(calls, "last_token_ns")
    sent = column(calls, "sent_ns")
    if "from_connection" in reading:
        sent = sent - np.nan_to_num(column(calls, "connect_ns"))
    if metric in ("ttft_ms", "ttft_text_ms"):
        found = (first if metric == "ttft_ms" else column(calls, "first_text_ns")) - sent
    elif metric == "tpot_ms":
        gaps = _tokens(calls, reading) - 1
        found = (last - first) / np.where(gaps >= 1, gaps, np.nan)
    elif metric == "service_ms":
        found = (last if "to_last_token" in reading else column(calls, "end_ns")) - sent
    elif metric in ("chunk_gap_ms", "itl_ms"):
        return _gaps(metric, calls, first, reading)
    elif metric == "output_tokens":
        found = _tokens(calls, reading) * NS_PER_MS
    else:
        found = column(calls, metric) * NS_PER_MS
    return np.asarray(found[~np.isnan(found)] / NS_PER_MS, np.float64)


def _gaps(metric: str, calls: pa.Table, first_ns: Floats, reading: Reading) -> Floats:
    """Gaps between chunks or tokens; after an empty first chunk, also the gap from it to the first token."""
    chunks = metric == "chunk_gap_ms" or "chunks_are_tokens" in reading
    t_ns, offsets = flat(calls, "arrivals_ns") if chunks else token_times_ns(calls)
    own = gaps_ms(t_ns, offsets).values
    if "first_chunk" not in reading:
        return np.asarray(own, np.float64)
    before = (column(calls, "first_token_ns") - first_ns) / NS_PER_MS
    return np.concatenate([before[before > 0], own])


def rates_of(throughput: Throughput) -> dict[str, float]:
    """The known rates, by name."""
    return {name: rate for name in RATES if (rate := getattr(throughput, name)) is not None}
