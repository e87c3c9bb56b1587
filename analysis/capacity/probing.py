"""A run at one rate, read for the search for capacity: what kept the objectives, and whether work piled up."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.capacity.reserve import steady_from
from analysis.capacity.search import Probe
from analysis.run import slo
from analysis.run.metrics import NS_PER_S, column, is_successful, is_text, keep, measured, successful
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


class Bound(NamedTuple):
    """The share of a class's requests (None: of all) that must keep these objectives."""

    klass: str | None
    objectives: tuple[slo.Objective, ...]
    share: float


class ProbedRun(NamedTuple):
    """The measured calls of a run by when they were due; `end_s` is NaN for those that failed or never ended.

    `keeps` has for each bound which calls kept it, `binds` which calls it is on, without it all. `begins` says which
    calls begin a session; without it all do.
    """

    due_s: Floats
    end_s: Floats
    service_s: Floats
    keeps: tuple[Mask, ...]
    binds: tuple[Mask, ...] = ()
    begins: Mask | None = None


def bounds(objectives: Sequence[slo.Objective], attainment: float | None) -> tuple[Bound, ...]:
    """What must be kept: each objective by its own share, or, of all requests and of each class, all by one share."""
    if attainment is None:
        return tuple(Bound(each.klass, (each,), each.share) for each in objectives)
    return tuple(
        Bound(klass, tuple(objectives), attainment) for klass in dict.fromkeys(each.klass for each in objectives)
    )


def probe(
    run: ProbedRun,
    wanted: Sequence[float],
    rate_per_s: float,
    repeat: int,
    folder: str,
    *,
    stopped: bool,
    turns: float = 1.0,
    classes: tuple[str | None, ...] = (),
) -> Probe:
    """What a run says of its rate, which is that of requests: `turns` of them on average in a session.

    Sessions begin at a rate of their own and the turns that follow wait for the answers before them, so that of what
    comes too much waits grow by 1 / turns alone.
    """
    ended = ~np.isnan(run.end_s)
    found = growth(run.due_s[ended], (run.end_s - run.due_s)[ended])
    seconds = float(np.ptp(run.due_s)) if len(run.due_s) else 0.0
    first_s = run.due_s if run.begins is None else run.due_s[run.begins]
    first_for_s = float(np.ptp(first_s)) if len(first_s) else 0.0
    binds = run.binds or (np.ones(len(run.due_s), np.bool_),) * len(run.keeps)
    own = [keeps[binds] for keeps, binds in zip(run.keeps, binds, strict=True)]
    # The share of the end is the one that lasts.
    ends = [keeps[steady_from(keeps) :] for keeps in own]
    completed = None
    if stopped and ended.any():
        completed = float(ended.sum() / (run.end_s[ended].max() - run.due_s[0]))
    elif seconds and found is not None:
        completed = float(ended.sum()) / seconds / (1 + max(found.slope, 0.0))
    return Probe(
        rate_per_s=rate_per_s,
        repeat=repeat,
        calls=len(run.due_s),
        kept=tuple(int(end.sum()) for end in ends),
        wanted=tuple(wanted),
        completed_per_s=completed,
        folder=folder,
        growth=None if found is None else turns * found.slope,
        growth_error=None if found is None else turns * max(found.error, found.drift),
        degrees=10 if found is None else found.degrees,
        service_s=float(np.nanmean(run.service_s)) if ended.any() else None,
        sent_per_s=turns * (len(first_s) - 1) / first_for_s if first_for_s else None,
        worth=tuple(map(_worth, ends)),
        stopped=stopped,
        bound=tuple(map(len, ends)),
        classes=classes,
        reserve=tuple(
            float(keeps.sum() - len(keeps) * end.mean()) if len(end) < len(keeps) else 0.0
            for keeps, end in zip(own, ends, strict=True)
        ),
    )


def read(requests: pa.Table, wanted: Sequence[Bound]) -> ProbedRun:
    calls = keep(measured(requests), pc.is_valid(measured(requests)["due_ns"]))
    order = np.argsort(column(calls, "due_ns"), kind="stable")
    good = np.asarray(is_successful(calls))
    done = successful(calls)

    def mask(keeps: Mask) -> Mask:
        whole = np.zeros(calls.num_rows, np.bool_)
        whole[good] = keeps
        return whole[order]

    def of_class(klass: str | None) -> Mask:
        own = is_text(calls["class"], klass) if klass is not None else pa.array(np.ones(calls.num_rows, np.bool_))
        return np.asarray(pc.fill_null(own, False))[order]

    kept = [slo.keeps_all(bound.objectives, done) for bound in wanted]
    begins = np.asarray(pc.equal(pc.fill_null(calls["turn"], 0), 0))[order]
    due_s, sent_s, end_s = (column(calls, name)[order] / NS_PER_S for name in ("due_ns", "sent_ns", "end_ns"))
    end_s = np.where(good[order], end_s, np.nan)
    binds = tuple(of_class(bound.klass) for bound in wanted)
    return ProbedRun(due_s, end_s, end_s - sent_s, tuple(map(mask, kept)), binds, begins)


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
    # Kish's design effect: how much more the shares of blocks vary than those of independent calls would.
    shares = np.array([block.mean() for block in np.array_split(keeps, BLOCKS)])
    inflation = float(shares.var(ddof=1)) * (n / BLOCKS) / (share * (1 - share))
    return n / max(1.0, inflation)


class LoadWatch:
    """Watches a load while it runs: is it sure already that the server falls behind?"""

    def __init__(self, service_s: float) -> None:
        self._from_s = max(_FROM_S, _FROM_SERVICES * service_s)
        self._at_s, self._due, self._done = [0.0], [0], [0]

    def falls_behind(self, elapsed_s: float, due: int, done: int) -> bool:
        """Take how many calls were due and how many had ended; true from when it is sure."""
        self._at_s.append(elapsed_s)
        self._due.append(due)
        self._done.append(done)
        if elapsed_s < self._from_s:
            return False
        at_s = np.linspace(elapsed_s / 2, elapsed_s, _PARTS + 1)
        came, went = (np.diff(np.interp(at_s, self._at_s, counts)) for counts in (self._due, self._done))
        if came.sum() < _PARTS * _LEAST_PER_PART:
            return False
        short = came - went
        if float(short.mean()) <= _LEAST_SHORTFALL * float(came.mean()):
            return False
        error = float(short.std(ddof=1)) / math.sqrt(_PARTS)
        return float(short.mean()) > t_quantile(_SURE, _PARTS) * error
