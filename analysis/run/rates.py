"""What was served per second, free of what the edges of a window do to a count.

Completions in a window are no rate by themselves: at 10 requests/s of 5 s, a window of 10 s from the start has half of
them, and the streams of a closed loop end in bursts, one more or less of which is a third of a short run.

    open loop     what was sent in the window, whenever it was answered: there is no ramp, and no drain. A server that
                  falls behind answers 1 / (1 + growth) of it, where a service takes `growth` seconds longer for each
                  second of load
    closed loop,  each call by the share of its output that arrived in the window: a stream that crosses an edge counts
    or a load     in part, so that it does not matter where in its round the edge cuts it
    that changes

Where the run is too short for either to be right there is no rate, and `why` says so. Tokens and prompts count with
their call, so that every figure (goodput, cost of a request, of a token) follows from the same shares.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.run.metrics import (
    NS_PER_S,
    OF_OUTPUT_TIMES,
    column,
    early_ns,
    measured,
    output_times_ns,
    successful,
    told_early,
)
from analysis.run.streams import OF_STREAMS, stream
from analysis.run.window import LONGER, Window
from analysis.stats.distributions import Floats, Ints, t_quantile
from bench.runs.manifest import RunManifest
from bench.runs.table import mapped, only

BLOCKS: Final = 12
LEAST_CALLS: Final = 8
# Growth is believed where it is clear (99%, two-sided) and more than this.
GROWTH_LEVEL: Final = 0.995
LEAST_GROWTH: Final = 0.02
# How far a rate may be off by what its run is too short to tell.
MOST_ERROR: Final = 0.05
# A closed loop's window holds at least so much of a mean service.
LEAST_ROUNDS: Final = 0.5


class Growth(NamedTuple):
    """By how many seconds a service takes longer for each second of load, and the standard error of that.

    `error` is that of a line through values that scatter around it; `drift` that of a queue, which wanders, and is by
    chance where it is for as long as the run lasts.
    """

    slope: float
    error: float
    drift: float
    degrees: int

    @property
    def margin(self) -> float:
        """The half-width of its 99% interval."""
        return self.error * t_quantile(GROWTH_LEVEL, self.degrees + 1)

    @property
    def is_clear(self) -> bool:
        """Whether the server surely falls behind."""
        return self.slope > max(LEAST_GROWTH, self.margin)


class Part(NamedTuple):
    """In the part `cell` of the window came a share `weight` of the call number `call`."""

    cell: Ints
    call: Ints
    weight: Floats


class Flow(NamedTuple):
    """What was served by time: of each successful call the `share` that came in the window.

    `parts` gives it by the parts of the window between successive edges, for some calls at a time.
    """

    share: Floats
    parts: Callable[[Floats], Iterator[Part]]
    span: Window
    why: str | None

    def units(self, of_call: Floats) -> float:
        """How many units came in the window where a whole call brings `of_call` of them."""
        return float((self.share * of_call)[self.share > 0].sum())

    def units_in(self, cells: int, of_calls: Sequence[Floats]) -> list[Floats]:
        """The same in each of so many equal parts of the window, for several kinds of units."""
        found = [np.zeros(cells) for _ in of_calls]
        for part in self.parts(np.linspace(self.span.start_ns, self.span.end_ns, cells + 1)):
            for sums, of_call in zip(found, of_calls, strict=True):
                sums += np.bincount(part.cell, part.weight * of_call[part.call], cells)
        return found

    def of(self, which: npt.NDArray[np.bool_]) -> "Flow":
        """The flow of some of the calls alone."""
        number = np.cumsum(which) - 1

        def parts(edges_ns: Floats) -> Iterator[Part]:
            for part in self.parts(edges_ns):
                kept = which[part.call]
                yield Part(part.cell[kept], number[part.call[kept]], part.weight[kept])

        return Flow(self.share[which], parts, self.span, self.why)

    def per_s(self, of_call: Floats) -> float | None:
        """Units per second over the window; None where no rate can be told, or a call's units are unknown."""
        if self.why or not self.span.seconds:
            return None
        total = self.units(of_call)
        return None if math.isnan(total) else total / self.span.seconds


def flow(run: RunManifest, requests: pa.Table, span: Window) -> Flow:
    """The flow of a run's successful calls, of any phase, in the order of `successful(requests)`."""
    calls = successful(requests)
    if run.load.is_open and run.is_stationary:
        return _of_open_loop(requests, calls, span)
    calls = only(calls, [*OF_OUTPUT_TIMES, *OF_STREAMS, "sent_ns", "error"])
    share = _share(calls, span)
    some = np.flatnonzero(share)
    found = Flow(share, partial(_as_it_came, calls, some), span, span.why)
    if run.load.is_open or span.why or not span.seconds:
        return found
    return found._replace(why=_edges_decide(found, measured(requests), calls, span))


def _of_open_loop(requests: pa.Table, calls: pa.Table, span: Window) -> Flow:
    growth, why, pace = growth_of(requests), span.why, 1.0
    if growth is not None and growth.is_clear:
        # Calls that come 1 + g times faster than they end are answered at 1 / (1 + g) of the rate they come at.
        pace = 1 / (1 + growth.slope)
    if not why and calls.num_rows:
        if growth is None:
            why = f"fewer than {LEAST_CALLS} requests succeeded, too few to tell whether the server kept up: {LONGER}"
        elif growth.error > MOST_ERROR / pace:
            why = f"answers are too long for so short a load to tell whether the server kept up: {LONGER}"
    sent_ns = column(calls, "sent_ns")

    def parts(edges_ns: Floats) -> Iterator[Part]:
        call, cell = _placed(sent_ns, edges_ns)
        yield Part(cell, call, np.full(len(call), pace))

    return Flow(np.where(_inside(sent_ns, span.start_ns, span.end_ns), pace, 0.0), parts, span, why)


def _inside(t_ns: Floats, start_ns: float, end_ns: float) -> npt.NDArray[np.bool_]:
    """What came in a window; its first call begins the time that the others fill."""
    return (t_ns > start_ns) & (t_ns <= end_ns)


def _placed(t_ns: Floats, edges_ns: Floats) -> tuple[Ints, Ints]:
    """Which instants lie between the first edge and the last, and between which two each of those."""
    which = np.flatnonzero(_inside(t_ns, edges_ns[0], edges_ns[-1]))
    return which, np.minimum(np.searchsorted(edges_ns, t_ns[which], "right") - 1, len(edges_ns) - 2)


def _share(calls: pa.Table, span: Window) -> Floats:
    """The share of each call's output that came in the window: only streams that cross an edge of it are looked at."""
    early, at_ns, end_ns = told_early(calls), early_ns(calls), column(calls, "end_ns")
    from_ns = np.minimum(stream(calls, "from_ns"), np.where(early > 0, at_ns, np.inf))
    to_ns = np.maximum(stream(calls, "to_ns"), np.where(early > 0, at_ns, -np.inf))
    silent = stream(calls, "tokens") + early == 0
    from_ns[silent] = to_ns[silent] = end_ns[silent]
    whole = (from_ns > span.start_ns) & (to_ns <= span.end_ns)
    share = whole.astype(np.float64)
    crossing = np.flatnonzero(~whole & ~(to_ns <= span.start_ns) & ~(from_ns > span.end_ns))
    for part in _as_it_came(calls, crossing, np.array([span.start_ns, span.end_ns], np.float64)):
        share = share + np.bincount(part.call, part.weight, len(share))
    return np.asarray(share)


def _as_it_came(calls: pa.Table, which: Ints, edges_ns: Floats) -> Iterator[Part]:
    """Some of the calls by when their output came, as shares of their call.

    Requests, tokens and costs then follow from the same weights.
    """
    for rows, part in mapped(partial(_of_some, edges_ns), calls.take(which), OF_OUTPUT_TIMES):
        yield part._replace(call=which[rows[part.call]])


def _of_some(edges_ns: Floats, calls: pa.Table) -> Part:
    t_ns, call, tokens = output_times_ns(calls)
    whole = np.bincount(call, tokens, calls.num_rows)
    if len(silent := np.flatnonzero(whole == 0)):  # what brought no token counts when it ends
        t_ns = np.concatenate([t_ns, column(calls, "end_ns")[silent]])
        call = np.concatenate([call, silent])
        tokens = np.concatenate([tokens, np.ones(len(silent))])
        whole[silent] = 1
    which, cell = _placed(t_ns, edges_ns)
    call, tokens = call[which], tokens[which]
    # What a call brings in one part of the window one after the other is taken together.
    starts = np.flatnonzero((np.diff(call, prepend=-1) != 0) | (np.diff(cell, prepend=-1) != 0))
    tokens = np.add.reduceat(tokens, starts) if len(starts) else tokens
    return Part(cell[starts], call[starts], tokens / whole[call[starts]])


def _edges_decide(found: Flow, own: pa.Table, calls: pa.Table, span: Window) -> str | None:
    """Little's law: a rate that does not fit the calls in flight and their service is one of the window's edges."""
    service_s = mean_service_s(own)
    rate = found.per_s(np.ones(calls.num_rows))
    if service_s is None or rate is None:
        return None
    seen = in_flight(calls, span)
    if span.seconds >= LEAST_ROUNDS * service_s and abs(rate * service_s - seen) <= MOST_ERROR * seen:
        return None
    return f"{span.seconds:.3g} s of full load are too short for answers of {service_s:.3g} s: {LONGER}"


def mean_service_s(requests: pa.Table) -> float | None:
    """The mean service of those that succeeded; None without one."""
    calls = successful(requests)
    return float((column(calls, "end_ns") - column(calls, "sent_ns")).mean()) / NS_PER_S if calls.num_rows else None


def in_flight(calls: pa.Table, span: Window) -> float:
    """The mean number of these calls in flight over the window."""
    inside_ns = np.minimum(column(calls, "end_ns"), span.end_ns) - np.maximum(column(calls, "sent_ns"), span.start_ns)
    return float(np.nansum(np.maximum(inside_ns, 0)) / (span.end_ns - span.start_ns))


def growth_of(requests: pa.Table) -> Growth | None:
    """How the service of the measured calls grows as the load goes on; None with fewer than eight that succeeded.

    Work that piles up in a server is waited for: where calls come `g` times faster than they are answered, each takes
    that much longer than the one before. A straight line through the medians of twelve blocks, in which long answers
    among short ones count as no more than they are.
    """
    calls = successful(measured(requests.select(["phase", "sent_ns", "end_ns", "error"])))
    sent_s, end_s = column(calls, "sent_ns") / NS_PER_S, column(calls, "end_ns") / NS_PER_S
    return growth(sent_s, end_s - sent_s)


def growth(sent_s: Floats, service_s: Floats) -> Growth | None:
    """The same from two columns, in any order."""
    n = len(sent_s)
    if n < LEAST_CALLS or np.ptp(sent_s) == 0:
        return None
    order = np.argsort(sent_s, kind="stable")
    blocks = BLOCKS if n >= 2 * BLOCKS else n
    at_s = np.array([block.mean() for block in np.array_split(sent_s[order], blocks)])
    took_s = np.array([np.median(block) for block in np.array_split(service_s[order], blocks)])
    at_s, took_s = at_s - at_s.mean(), took_s - took_s.mean()
    if not (spread := float(at_s @ at_s)):
        return None
    # Least squares through the blocks' medians, by which one long answer moves no more than its block's middle.
    slope = float(at_s @ took_s) / spread
    residuals = took_s - slope * at_s
    error = math.sqrt(float(residuals @ residuals) / (blocks - 2) / spread)
    drift = float(np.diff(took_s).std(ddof=1)) * math.sqrt(blocks - 1) / float(np.ptp(at_s))
    return Growth(slope, error, drift, blocks - 2)
