"""Two tools, one server: their figures and ours, and which differences in definition explain the rest.

Nothing is guessed: our own run is evaluated by the other tool's definition, which explains a difference if none
remains.
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
"""As a share of their figure: closer figures count as equal, since theirs are printed rounded."""
MOST_LEFT: Final = 0.1
"""As a share of the difference: a known definition explains it if no more than this remains."""
LEAST_TAKEN: Final = 0.1
"""As a share of the difference: a definition that accounts for less is not named while the rest is unexplained."""


class _TheirClient(NamedTuple):
    """The definitions known of the other tool's client, and those that could not matter in its run."""

    known: frozenset[str]
    excluded: frozenset[str]


@dataclass(frozen=True, slots=True)
class CrossFigure:
    """One figure from both tools. `by` are the definitions that explain the difference, the known ones first, and
    `recomputed` is our figure by them; `left` is what remains, and within `noise` nothing needs explaining.

    `noise` is how much another run of ours may differ, from its 95% interval, plus our client's error if known. `why`
    says why our figure has no interval, None if it has one: without it the remainder may be noise.
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
        """What remains of the difference under these definitions."""
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
    """Compare another tool's figures with those of our run of the same server under the same load.

    `concurrency` is what ours held in flight, None if calls came at a rate.
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
        # A known definition may explain even a difference within noise; a possible one only a difference beyond it.
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
    """Our figure under every small set of relevant definitions, smallest first, known definitions before others."""
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
    """Our figure under the known definitions that come closest to theirs, for a difference that nothing explains.

    Each named definition must account for its part of the difference: without it, noticeably more remains.
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
    """Why our figure has no interval."""
    if None not in _interval(summary, metric, statistic):
        return None
    return summary.throughput.why.get(metric) if metric in RATES else summary.metric(metric).why


def _noise(summary: RunSummary, metric: str, statistic: str) -> float:
    """How much two runs of ours may differ, plus our client's error for times."""
    low, high = _interval(summary, metric, statistic)
    # Half the interval is what one run may be off by; the difference of two runs scatters sqrt(2) times as much.
    spread = 0.0 if low is None or high is None else 2**0.5 * (high - low) / 2
    checked = summary.client.selftest
    error_ms = checked.error_ms if checked and checked.error_ms and metric not in (*RATES, *COUNTS) else 0.0
    return spread + error_ms
