"""Several contenders under several loads: what every cell says, which load matters, and the answer in a sentence.

A cell is one contender under one load, measured once or several times; its figures are the medians over its runs, so
that of a single run they are those of its summary.json. None is unknown.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, Literal, NamedTuple

from analysis.run.summary import RunSummary
from analysis.wording import SEVERITY, number

CellStatus = Literal["valid", "suspect", "not verifiable", "invalid", "failed", "missing"]

MOST_NAMED: Final = 3
"""Contenders that a line names one by one."""


class StudyRun(NamedTuple):
    """One run of a cell: its folder within the study's, its seed, and its summary."""

    folder: str
    seed: int | None
    summary: RunSummary


def _of_gpus(value: float | None, summary: RunSummary) -> float | None:
    gpus = len(summary.gpu) if summary.energy is None else summary.energy.gpus
    return value / gpus if value is not None and gpus else None


def _usd_per_1000_requests(summary: RunSummary) -> float | None:
    each = summary.cost.usd_per_request if summary.cost else None
    return None if each is None else 1000 * each


FIGURES: Final[Mapping[str, Callable[[RunSummary], float | None]]] = {
    **{
        f"{metric}_{statistic}": lambda found, metric=metric, statistic=statistic: getattr(  # type: ignore[misc]
            found.metric(metric), statistic
        )
        for metric in ("ttft_ms", "tpot_ms", "response_ms")
        for statistic in ("p50", "p99")
    },
    "requests_per_s": lambda found: found.throughput.requests_per_s,
    "output_tokens_per_s": lambda found: found.throughput.output_tokens_per_s,
    "tokens_per_s_per_user": lambda found: found.tokens_per_s_per_user,
    "tokens_per_s_per_gpu": lambda found: _of_gpus(found.throughput.output_tokens_per_s, found),
    "joules_per_token": lambda found: found.energy.joules_per_output_token if found.energy else None,
    "usd_per_1000_requests": _usd_per_1000_requests,
    "usd_per_million_output_tokens": lambda found: found.cost.usd_per_million_output_tokens if found.cost else None,
    "good_share": lambda found: found.throughput.slo_attainment,
}
"""What a cell is described by, from the summary of one of its runs."""


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One contender under one load; `problem` is why there is nothing of it, or not all."""

    load: str
    runs: tuple[StudyRun, ...] = ()
    problem: str | None = None

    @property
    def status(self) -> CellStatus:
        """The worst of its runs' verdicts; failed where there is none and it is known why."""
        if not self.runs:
            return "missing" if self.problem is None else "failed"
        found: list[CellStatus] = [run.summary.verdict.status for run in self.runs]
        return max(found, key=SEVERITY.index)

    @property
    def is_usable(self) -> bool:
        """Whether its figures can be believed."""
        return self.status in ("valid", "suspect", "not verifiable")

    def figure(self, name: str) -> float | None:
        """The median over the runs that know it."""
        known = [value for run in self.runs if (value := FIGURES[name](run.summary)) is not None]
        return median(known) if known else None

    @property
    def meets_objectives(self) -> bool | None:
        """Whether all its runs met all objectives; None where there are none, or it is not known of one."""
        met = [result.met for run in self.runs for result in run.summary.slo]
        return None if not met or None in met else all(met)


class CellCapacity(NamedTuple):
    """The highest rate that meets the objectives, in requests/s, with its interval, and where it is told."""

    rate_per_s: float
    low_per_s: float
    high_per_s: float | None
    page: str


@dataclass(frozen=True, slots=True)
class ContenderResult:
    """All that was measured of one contender; `problem` is why its capacity is not known, `server` name and version."""

    name: str
    backend: str
    model: str
    cells: tuple[StudyCell, ...]
    capacity: CellCapacity | None = None
    problem: str | None = None
    server: str | None = None
    usd_per_hour: float | None = None

    def cell(self, load: str) -> StudyCell:
        """The cell under this load, empty where there is none."""
        return next((cell for cell in self.cells if cell.load == load), StudyCell(load))


class CellPlace(NamedTuple):
    """A cell of a study: which contender's, under which load."""

    contender: str
    load: str


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study as far as it has come: its contenders and loads in their order, and which load its table is of."""

    contenders: tuple[ContenderResult, ...]
    loads: tuple[str, ...]
    main_load: str | None


def main_load(contenders: Sequence[ContenderResult], loads: Sequence[str]) -> str | None:
    """The load at which most contenders meet their objectives, then at which most can be believed; the last of such."""

    def rank(load: str) -> tuple[int, int, int]:
        cells = [contender.cell(load) for contender in contenders]
        kept = sum(cell.is_usable and cell.meets_objectives is not False for cell in cells)
        return kept, sum(cell.is_usable for cell in cells), list(loads).index(load)

    return max(loads, key=rank, default=None)


def per_gpu(study: StudyResult) -> str:
    """The figure of how much is served: for each GPU where every usable cell knows it, else in all."""
    cells = [cell for contender in study.contenders for cell in contender.cells if cell.is_usable]
    known = cells and all(cell.figure("tokens_per_s_per_gpu") is not None for cell in cells)
    return "tokens_per_s_per_gpu" if known else "output_tokens_per_s"


def pareto(study: StudyResult, figure: str, better: Literal["lower", "higher"]) -> frozenset[CellPlace]:
    """The usable cells that no other one beats both in tokens/s for each user and in this figure."""
    sign = 1 if better == "higher" else -1  # so that more is better of both
    points = {}
    for contender in study.contenders:
        for cell in contender.cells:
            at = cell.figure("tokens_per_s_per_user"), cell.figure(figure)
            if cell.is_usable and at[0] is not None and at[1] is not None:
                points[CellPlace(contender.name, cell.load)] = (at[0], sign * at[1])
    return frozenset(
        place
        for place, (user, other) in points.items()
        if not any(one[0] >= user and one[1] >= other and one != (user, other) for one in points.values())
    )


def _ranked(study: StudyResult, figure: str, better: Literal["lower", "higher"]) -> list[tuple[float, str, StudyCell]]:
    """The figures at the load that matters, the best first; of those that meet their objectives where any does."""
    cells = [(contender.name, contender.cell(study.main_load or "")) for contender in study.contenders]
    known = [
        (value, name, cell) for name, cell in cells if cell.is_usable and (value := cell.figure(figure)) is not None
    ]
    good = [found for found in known if found[2].meets_objectives is not False] or known
    return sorted(good, key=lambda found: found[0], reverse=better == "higher")


def best(study: StudyResult, figure: str, better: Literal["lower", "higher"]) -> tuple[str, float] | None:
    """Whose figure is the best at the load that matters, and that figure; of those that meet their objectives."""
    return next(((name, value) for value, name, _ in _ranked(study, figure, better)), None)


class StudyAnswer(NamedTuple):
    """What a study says, in a sentence, and its number: a label, a value in words, and who it is of."""

    text: str
    label: str = ""
    value: str = ""
    of: str = ""


def fastest(study: StudyResult) -> StudyAnswer:
    """Who serves most at the load that matters, of those that meet their objectives where any does.

    Where there is no load but a search, whose highest rate within the objectives is the highest.
    """
    if study.main_load is None:
        return _of_capacity(study)
    ordered = _ranked(study, "output_tokens_per_s", "higher")
    if not ordered:
        return StudyAnswer(f"No contender has a result that can be believed at {study.main_load}.")
    rate, name, cell = ordered[0]
    missed = "" if cell.meets_objectives is not False else ", though it misses an objective"
    text = f"At {study.main_load} {name} serves most, {number(rate)} tokens/s{missed}{_others(ordered)}."
    return StudyAnswer(text, "most output tokens/s", number(rate), name)


def _of_capacity(study: StudyResult) -> StudyAnswer:
    known = [(found.rate_per_s, each.name) for each in study.contenders if (found := each.capacity) is not None]
    if not known:
        return StudyAnswer("Nothing was measured.")
    ordered = sorted(known, key=lambda found: found[0], reverse=True)
    rate, name = ordered[0]
    text = f"{name} serves the highest rate within the objectives, {number(rate)} requests/s{_others(ordered)}."
    return StudyAnswer(text, "most requests/s", number(rate), name)


def _others(ordered: Sequence[tuple[Any, ...]]) -> str:
    """The next ones with their rates, in brackets; of many the first few."""
    named = [f"{name} {number(rate)}" for rate, name, *_ in ordered[1 : 1 + MOST_NAMED]]
    more = len(ordered) - 1 - len(named)
    return f" ({', '.join(named)}{f' and {more} more' if more > 0 else ''})" if named else ""
