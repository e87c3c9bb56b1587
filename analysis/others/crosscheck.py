"""Two tools, one server: their figures and ours, and which of their definitions make the difference.

Nothing is guessed: our own run is read again by a definition, and explains what then is no difference any more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, NamedTuple

from analysis.others.imported import Imported
from analysis.others.readings import (
    AS_OURS,
    COUNTS,
    DEFINITIONS,
    KNOWN,
    RATES,
    Definition,
    OurCalls,
    Reading,
    TheirMean,
    bearing_on,
    rates_of,
)
from analysis.run.metrics import METRICS
from analysis.run.summary import RunSummary
from analysis.stats.distributions import UNKNOWN, Interval

Outcome = Literal["same", "by definition", "unexplained"]
STATISTICS: Final = ("mean", "p50", "p90", "p95", "p99")
MOST_TOGETHER: Final = 3
ROUNDING: Final = 0.005
"""Of theirs: what is nearer is the same, as printed figures are."""
MOST_LEFT: Final = 0.1
"""Of the difference: what is known of a tool explains it where no more is left."""
LEAST_TAKEN: Final = 0.1
"""Of the difference: a definition that takes less of it is not named where the rest is unexplained."""


class _TheirClient(NamedTuple):
    """The definitions that are known of the other tool's client, and those that its run had no occasion for."""

    known: frozenset[str]
    excluded: frozenset[str]


@dataclass(frozen=True, slots=True)
class CrossFigure:
    """One figure of both. `by` are the definitions that explain the difference, the sure ones first, and `recomputed`
    is ours by them; `left` is what they leave, and within `noise` nothing is left to explain.

    `noise` is what another run of ours may differ by, by its 95% interval, and our client's error where that is known;
    `why` says why ours has no interval, None where it has one: then noise may be all that is left.
    """

    metric: str
    statistic: str
    theirs: float
    ours: float
    recomputed: float
    by: tuple[Definition, ...]
    noise: float
    outcome: Outcome
    why: str | None = None

    @property
    def difference(self) -> float:
        """Theirs - ours."""
        return self.theirs - self.ours

    @property
    def left(self) -> float:
        """What the definitions leave of the difference."""
        return self.theirs - self.recomputed


@dataclass(frozen=True, slots=True)
class Crosscheck:
    """All figures that both have, and those that one of them lacks."""

    tool: str
    title: str
    figures: tuple[CrossFigure, ...]
    only_theirs: tuple[str, ...]
    only_ours: tuple[str, ...]

    def of(self, outcome: Outcome) -> tuple[CrossFigure, ...]:
        """The figures with this outcome."""
        return tuple(figure for figure in self.figures if figure.outcome == outcome)


def crosscheck(summary: RunSummary, ours: OurCalls, theirs: Imported, concurrency: int | None = None) -> Crosscheck:
    """Set another tool's figures beside those of a run of ours, of the same server under the same load.

    `concurrency` is what ours held in flight, None where calls came at a rate.
    """
    client = _client(theirs)
    times = tuple(_times(summary, ours, theirs, client))
    is_closed = concurrency is not None and concurrency == theirs.concurrency
    figures = (*times, *_rates(summary, ours, theirs, client, _mean_time(times) if is_closed else None))
    seen = {figure.metric for figure in figures}
    own = {name for name in METRICS if summary.metric(name).count}
    return Crosscheck(
        theirs.tool,
        theirs.title,
        figures,
        tuple(sorted(theirs.metrics.keys() - seen)),
        tuple(name for name in METRICS if name in own - seen),
    )


def _times(summary: RunSummary, ours: OurCalls, theirs: Imported, client: _TheirClient) -> Iterator[CrossFigure]:
    for name in METRICS:
        for statistic in STATISTICS:
            value = getattr(theirs.metrics[name], statistic) if name in theirs.metrics else None
            if value is not None:
                yield from _figure(summary, ours, name, statistic, value, client)


def _rates(
    summary: RunSummary, ours: OurCalls, theirs: Imported, client: _TheirClient, mean: TheirMean | None
) -> Iterator[CrossFigure]:
    if mean is not None:
        ours, client = ours.beside(mean), client._replace(known=client.known | {"as_slow"})
    for name, rate in rates_of(theirs.throughput).items():
        yield from _figure(summary, ours, name, "mean", rate, client)


def _client(theirs: Imported) -> _TheirClient:
    excluded = frozenset({"with_warmup"}) if theirs.warmed_up is False else frozenset[str]()
    return _TheirClient(KNOWN.get(theirs.tool, frozenset()), excluded)


def _mean_time(times: Sequence[CrossFigure]) -> TheirMean | None:
    means = (each for each in times if (each.metric, each.statistic) == ("service_ms", "mean") and each.theirs)
    return next((TheirMean(each.theirs, tuple(by.name for by in each.by)) for each in means), None)


def _figure(
    summary: RunSummary, ours: OurCalls, metric: str, statistic: str, theirs: float, client: _TheirClient
) -> Iterator[CrossFigure]:
    plain = ours.figure(metric, statistic, AS_OURS)
    if plain is None:
        return
    noise, difference = _noise(summary, metric, statistic), abs(theirs - plain)
    near = ROUNDING * abs(theirs)
    outcome: Outcome = "same"
    value, by = plain, tuple[str, ...]()
    if difference > near:
        read = _readings(ours, metric, statistic, client)
        # What is known of a tool explains also what might be noise; what it may do besides only what is none.
        limits = ((True, max(near, MOST_LEFT * difference)), (True, noise), (False, near))
        found = next(
            (
                (recomputed, names)
                for sure, limit in limits
                for names, recomputed in read.items()
                if (client.known.issuperset(names) if sure else difference > noise)
                and abs(theirs - recomputed) <= min(limit, difference / 2)
            ),
            None,
        )
        if found is not None:
            (value, by), outcome = found, "by definition"
        elif difference > noise:
            value, by = _as_known(read, theirs, plain, client.known)
            outcome = "unexplained"
    named = tuple(DEFINITIONS[name] for name in by)
    yield CrossFigure(metric, statistic, theirs, plain, value, named, noise, outcome, _why(summary, metric, statistic))


def _readings(ours: OurCalls, metric: str, statistic: str, client: _TheirClient) -> dict[tuple[str, ...], float]:
    """Ours by each few of the definitions that bear on it, the fewest first, of these what is known of the tool."""
    bearing = [name for name in bearing_on(metric) if name not in client.excluded]
    sets = [names for size in range(1, MOST_TOGETHER + 1) for names in combinations(bearing, size)]
    found = {}
    for names in sorted(sets, key=lambda names: (len(set(names) - client.known), len(names))):
        value = ours.figure(metric, statistic, Reading(names))
        if value is not None:
            found[names] = value
    return found


def _as_known(
    read: Mapping[tuple[str, ...], float], theirs: float, plain: float, known: frozenset[str]
) -> tuple[float, tuple[str, ...]]:
    """Ours by what is known of the tool and comes nearest to theirs, where nothing explains the difference.

    Of several definitions each takes its part of the difference: what the others leave is so much more.
    """
    left = {(): abs(theirs - plain)} | {names: abs(theirs - value) for names, value in read.items()}

    def takes_enough(names: tuple[str, ...]) -> bool:
        others = (tuple(each for each in names if each != name) for name in names)
        least = LEAST_TAKEN * left[()]
        return all(left.get(rest, left[()]) - left[names] >= least for rest in others)

    sure = [names for names in read if known.issuperset(names) and takes_enough(names)]
    by = min([(), *sure], key=left.__getitem__)
    return read.get(by, plain), by


def _interval(summary: RunSummary, metric: str, statistic: str) -> Interval:
    ci95 = summary.throughput.ci95.get(metric) if metric in RATES else summary.metric(metric).ci95.get(statistic)
    return ci95 or UNKNOWN


def _why(summary: RunSummary, metric: str, statistic: str) -> str | None:
    """Why ours has no interval."""
    if None not in _interval(summary, metric, statistic):
        return None
    return summary.throughput.why.get(metric) if metric in RATES else summary.metric(metric).why


def _noise(summary: RunSummary, metric: str, statistic: str) -> float:
    """What two runs of ours may differ by, and our client's error on a time."""
    low, high = _interval(summary, metric, statistic)
    spread = 0.0 if low is None or high is None else 2**0.5 * (high - low) / 2
    checked = summary.client.selftest
    error_ms = checked.error_ms if checked and checked.error_ms and metric not in (*RATES, *COUNTS) else 0.0
    return spread + error_ms
