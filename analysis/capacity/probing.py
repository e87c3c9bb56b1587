"""A run at one rate, read for the search for capacity: what kept the objectives, and whether work piled up."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.capacity.search import Probe
from analysis.run import slo
from analysis.run.metrics import NS_PER_S, column, keep, measured, successful
from analysis.run.rates import BLOCKS, growth
from analysis.stats.distributions import Floats, t_quantile

Mask = npt.NDArray[np.bool_]
# A load is watched from when it has lasted so long and so many services: before, answers are still on their way.
_FROM_S: Final = 5.0
_FROM_SERVICES: Final = 8.0
_PARTS: Final = 6
_LEAST_PER_PART: Final = 10
# It falls behind for good where a fifth of what comes in is not answered, 999 times in 1,000.
_LEAST_SHORTFALL: Final = 0.2
_SURE: Final = 0.999


class ProbedRun(NamedTuple):
    """The measured calls of a run by when they were due; `end_s` is NaN for those that failed or never ended.

    `keeps` has for each bound which calls kept it.
    """

    due_s: Floats
    end_s: Floats
    service_s: Floats
    keeps: tuple[Mask, ...]


def probe(
    run: ProbedRun, wanted: Sequence[float], rate_per_s: float, repeat: int, folder: str, *, stopped: bool
) -> Probe:
    """What a run says of its rate."""
    ended = ~np.isnan(run.end_s)
    found = growth(run.due_s[ended], (run.end_s - run.due_s)[ended])
    seconds = float(np.ptp(run.due_s)) if len(run.due_s) else 0.0
    completed = None
    if stopped and ended.any():
        completed = float(ended.sum() / (run.end_s[ended].max() - run.due_s[0]))
    elif seconds and found is not None:
        completed = float(ended.sum()) / seconds / (1 + max(found.slope, 0.0))
    return Probe(
        rate_per_s=rate_per_s,
        repeat=repeat,
        calls=len(run.due_s),
        kept=tuple(int(keeps.sum()) for keeps in run.keeps),
        wanted=tuple(wanted),
        completed_per_s=completed,
        folder=folder,
        growth=None if found is None else found.slope,
        growth_error=None if found is None else max(found.error, found.drift),
        degrees=10 if found is None else found.degrees,
        service_s=float(np.nanmean(run.service_s)) if ended.any() else None,
        sent_per_s=(len(run.due_s) - 1) / seconds if seconds else None,
        worth=tuple(_worth(keeps) for keeps in run.keeps),
        stopped=stopped,
    )


def read(requests: pa.Table, objectives: Sequence[slo.Objective], *, all_at_once: bool) -> ProbedRun:
    """A run from its requests; with `all_at_once` a call is to keep every bound, and there is one."""
    calls = keep(measured(requests), pc.is_valid(measured(requests)["due_ns"]))
    order = np.argsort(column(calls, "due_ns"), kind="stable")
    good = np.asarray(pc.and_(pc.is_null(calls["error"]), pc.is_valid(calls["end_ns"])))
    done = successful(calls)

    def mask(keeps: Mask) -> Mask:
        whole = np.zeros(calls.num_rows, np.bool_)
        whole[good] = keeps
        return whole[order]

    kept = [slo.keeps_all(objectives, done)] if all_at_once else [slo.keeps(each, done) for each in objectives]
    due_s, sent_s, end_s = (column(calls, name)[order] / NS_PER_S for name in ("due_ns", "sent_ns", "end_ns"))
    end_s = np.where(good[order], end_s, np.nan)
    return ProbedRun(due_s, end_s, end_s - sent_s, tuple(map(mask, kept)))


def of_closed_loop(requests: pa.Table) -> tuple[float, float] | None:
    """(requests/s, mean service in s) of a closed loop, roughly, its drain included; None where nothing succeeded."""
    done = successful(measured(requests))
    if not done.num_rows:
        return None
    sent_s, end_s = column(done, "sent_ns") / NS_PER_S, column(done, "end_ns") / NS_PER_S
    return done.num_rows / max(float(end_s.max() - sent_s.min()), 1e-3), float((end_s - sent_s).mean())


def _worth(keeps: Mask) -> float:
    """How many independent calls these are worth: those that miss a bound do it together, in a queue."""
    n, share = len(keeps), float(keeps.mean()) if len(keeps) else 1.0
    if n < 2 * BLOCKS or share in (0.0, 1.0):
        return float(n)
    shares = np.array([block.mean() for block in np.array_split(keeps, BLOCKS)])
    inflation = float(shares.var(ddof=1)) * (n / BLOCKS) / (share * (1 - share))
    return n / max(1.0, inflation)


class Watch:
    """Watches a load while it runs: is it sure already that the server falls behind?"""

    def __init__(self, service_s: float) -> None:
        self._from_s = max(_FROM_S, _FROM_SERVICES * service_s)
        self._seen: list[tuple[float, int, int]] = [(0.0, 0, 0)]

    def falls_behind(self, elapsed_s: float, due: int, done: int) -> bool:
        """Take how many calls were due and how many had ended; true from when it is sure."""
        self._seen.append((elapsed_s, due, done))
        if elapsed_s < self._from_s:
            return False
        seen = np.array(self._seen)
        at_s = np.linspace(elapsed_s / 2, elapsed_s, _PARTS + 1)
        came, went = (np.diff(np.interp(at_s, seen[:, 0], seen[:, n])) for n in (1, 2))
        if came.sum() < _PARTS * _LEAST_PER_PART:
            return False
        short = came - went
        error = float(short.std(ddof=1)) / math.sqrt(_PARTS)
        behind = max(_LEAST_SHORTFALL * float(came.mean()), t_quantile(_SURE, _PARTS) * error)
        return float(short.mean()) > behind
