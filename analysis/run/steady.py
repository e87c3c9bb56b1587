"""Is it a steady state? Trends of the first token's time and of the backlog over the measured calls.

A trend is tested on medians of twelve blocks, so that a few slow calls do not make one and calls that depend on their
neighbours count as what they are: Mann-Kendall for whether there is one (Mann, Econometrica 13 (1945)), the slope of
Theil and Sen for how large (Sen, JASA 63 (1968)).
"""

import math
from statistics import NormalDist

import numpy as np
import pyarrow as pa

from analysis.run.accounts import told_of
from analysis.run.metrics import NS_PER_MS, column, measured, successful
from analysis.run.sections import Steadiness
from analysis.run.window import last_ns
from analysis.stats.distributions import Floats
from bench.runs.manifest import RunManifest

BLOCKS = 12
LEAST_PER_BLOCK = 5
FIRST_CALLS = 20


def steadiness(run: RunManifest, requests: pa.Table) -> Steadiness:
    """How much the time to first token and the backlog changed from the first measured call to the last.

    `ttft_change` is relative to the median, `backlog_growth` in calls due and not ended (open loop only);
    `*_trend_p` is the probability of such a trend by chance. All None with fewer than five calls a block, and where the
    load itself changed on purpose or its sessions' prompts grow.
    """
    if not run.is_stationary:
        return Steadiness()
    requests = told_of(run, requests)
    calls = measured(requests.select(["phase", "due_ns", "sent_ns", "first_token_ns", "end_ns", "error"]))
    ttft = _ttft_blocks_ms(successful(calls))
    backlog = _backlog_blocks(requests, column(calls, "due_ns")) if run.load.is_open else None
    growth = None if backlog is None else change(backlog)
    median = None if ttft is None else float(np.median(ttft))
    return Steadiness(
        ttft_change=change(ttft) / median if ttft is not None and median else None,
        ttft_trend_p=None if ttft is None else trend_p(ttft),
        backlog_growth=growth,
        backlog_trend_p=None if backlog is None else trend_p(backlog),
    )


def trend_p(values: Floats) -> float:
    """The two-sided probability of a trend as clear as this by chance, by Mann and Kendall, ties accounted for."""
    n = len(values)
    # Pairs in order less pairs out of order, and its variance less what ties take from it (Kendall, Rank Correlation
    # Methods, 1975); a continuity correction of 1, for the score moves in steps of 2.
    score = float(np.sign(values[None, :] - values[:, None])[np.triu_indices(n, 1)].sum())
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    z = max(abs(score) - 1, 0) / math.sqrt(variance) if variance else 0.0
    return 2 * (1 - NormalDist().cdf(z))


def change(values: Floats) -> float:
    """By how much the values change from the first to the last: Theil and Sen's slope times their distance."""
    n = len(values)
    earlier, later = np.triu_indices(n, 1)
    return float(np.median((values[later] - values[earlier]) / (later - earlier)) * (n - 1))


def _ttft_blocks_ms(calls: pa.Table) -> Floats | None:
    sent_ns = column(calls, "sent_ns")
    ttft_ns = column(calls, "first_token_ns") - sent_ns
    known = ~np.isnan(ttft_ns)
    ttft_ns = ttft_ns[known][np.argsort(sent_ns[known])]
    if len(ttft_ns) < BLOCKS * LEAST_PER_BLOCK:
        return None
    return np.array([np.median(block) for block in np.array_split(ttft_ns, BLOCKS)], np.float64) / NS_PER_MS


def _answering_ns(due_ns: Floats, sent_ns: Floats, end_ns: Floats) -> float:
    """When answers begin to end: for how long those that came first take, all but the slowest twentieth of them.

    From sending: what waited to be sent is work that piles up.
    """
    known = ~np.isnan(due_ns)
    order = np.argsort(due_ns[known], kind="stable")[: max(FIRST_CALLS, int(known.sum()) // 20)]
    waits_ns = (end_ns - sent_ns)[known][order]
    waits_ns = waits_ns[~np.isnan(waits_ns)]
    return float(due_ns[known].min() + np.quantile(waits_ns, 0.95)) if len(waits_ns) else -math.inf


def _backlog_blocks(requests: pa.Table, own_due_ns: Floats) -> Floats | None:
    """Median number of calls due and not ended, at the calls' due times, in twelve stretches of equal length.

    Counted from when the load has been on for as long as its first answers took: up to then calls come and none can
    end, which is no growth of work.
    """
    due_ns, end_ns = column(requests, "due_ns"), column(requests, "end_ns")
    # An interrupted run never came to the calls that were due after its last instant.
    own_due_ns = np.sort(own_due_ns[own_due_ns <= last_ns(requests)])
    own_due_ns = own_due_ns[own_due_ns >= _answering_ns(due_ns, column(requests, "sent_ns"), end_ns)]
    if len(own_due_ns) < BLOCKS * LEAST_PER_BLOCK:
        return None
    # What was never sent (dropped, or refused by the budget) waits in no queue and would look like work without end.
    in_line = ~np.isnan(due_ns) & ~np.isin(np.array(requests["error"].to_pylist(), object), ("dropped", "budget"))
    due_ns, end_ns = np.sort(due_ns[in_line]), np.sort(np.nan_to_num(end_ns[in_line], nan=np.inf))
    at_ns = np.linspace(own_due_ns[0], own_due_ns[-1], BLOCKS * 32)
    there = np.searchsorted(due_ns, at_ns, side="right") - np.searchsorted(end_ns, at_ns, side="right")
    return np.asarray(np.median(there.reshape(BLOCKS, -1), axis=1), np.float64)
