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

from analysis.run.metrics import NS_PER_S, OF_OUTPUT_TIMES, column, measured, output_times_ns, successful
from analysis.run.window import LONGER, Window
from analysis.stats.distributions import Floats, Ints, t_quantile
from bench.runs.manifest import RunManifest
from bench.runs.table import blocks

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
    """At each of `t_ns` the share `weight` of the call number `call` came."""

    t_ns: Floats
    call: Ints
    weight: Floats

    def inside(self, span: Window) -> "Part":
        """What came in a window; its first call begins the time that the others fill."""
        inside = (self.t_ns > span.start_ns) & (self.t_ns <= span.end_ns)
        return Part(self.t_ns[inside], self.call[inside], self.weight[inside])


class Flow(NamedTuple):
    """What was served by time: of each successful call the `share` that came in the window.

    `parts` gives it by instant, for some calls at a time: at each of `t_ns` a share of a call number came.
    """

    share: Floats
    parts: Callable[[], Iterator[Part]]
    span: Window
    why: str | None

    def units(self, of_call: Floats) -> float:
        """How many units came in the window where a whole call brings `of_call` of them."""
        return float((self.share * of_call)[self.share > 0].sum())

    def units_in(self, cells: int, of_calls: Sequence[Floats]) -> list[Floats]:
        """The same in each of so many equal parts of the window, for several kinds of units."""
        found = [np.zeros(cells) for _ in of_calls]
        between = self.span.start_ns, self.span.end_ns
        for part in self.parts():
            t_ns, call, weight = part.inside(self.span)
            for sums, of_call in zip(found, of_calls, strict=True):
                sums += np.histogram(t_ns, cells, between, weights=weight * of_call[call])[0]
        return found

    def of(self, which: npt.NDArray[np.bool_]) -> "Flow":
        """The flow of some of the calls alone."""
        number = np.cumsum(which) - 1

        def parts() -> Iterator[Part]:
            for part in self.parts():
                kept = which[part.call]
                yield Part(part.t_ns[kept], number[part.call[kept]], part.weight[kept])

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
    found = _flow(partial(_as_it_came, calls), calls, span, span.why)
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
    return _flow(lambda: iter([Part(sent_ns, np.arange(len(sent_ns)), np.full(len(sent_ns), pace))]), calls, span, why)


def _flow(parts: Callable[[], Iterator[Part]], calls: pa.Table, span: Window, why: str | None) -> Flow:
    share = np.zeros(calls.num_rows)
    for part in parts():
        _, call, weight = part.inside(span)
        share += np.bincount(call, weight, calls.num_rows)
    return Flow(share, parts, span, why)


def _as_it_came(calls: pa.Table) -> Iterator[Part]:
    for rows, some in blocks(calls, OF_OUTPUT_TIMES):
        t_ns, call, tokens = output_times_ns(some)
        whole = np.bincount(call, tokens, some.num_rows)
        silent = np.flatnonzero(whole == 0)  # what brought no token counts when it ends
        if not (counts := tokens > 0).all():
            t_ns, call, tokens = t_ns[counts], call[counts], tokens[counts]
        # As shares of their call: requests, tokens and costs then follow from the same weights.
        weight = np.concatenate([tokens / whole[call], np.ones(len(silent))])
        t_ns = np.concatenate([t_ns, column(some, "end_ns")[silent]])
        yield Part(t_ns, rows[np.concatenate([call, silent])], weight)


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
