"""Run two configurations in turns, A B B A, until it is decided which is slower or costs more."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from analysis.compare.comparison import Comparison, Run
from analysis.compare.measures import MEASURES, thresholds, value
from analysis.compare.sequential import (
    ALWAYS_DECIDES,
    DECIDING,
    InterimAnalysis,
    analyse_interim,
    interim_analyses,
    is_decided,
)
from analysis.present.comparison_figures import sections
from analysis.present.of_comparison import document, interim_line, pair_line
from analysis.run.summary import RunSummary
from bench.app.around import write_page
from bench.app.campaign import Campaign, Maker, Outcome, begun, check_began, is_missing, make_run, put_aside
from bench.app.compare import checked, read
from bench.app.options import AbOptions
from bench.app.pace import RunPace
from bench.app.request import RunRequest
from bench.app.results import requests_of
from bench.app.sameness import ask_the_same
from bench.durations import expected
from bench.plan.resolve import within
from bench.runs import folder as files
from bench.suggest import did_you_mean
from bench.types import UserError

SIDES: Final = ("a", "b")
FEWEST_PAIRS: Final = 4
MOST_PAIRS: Final = 96


@dataclass(frozen=True, slots=True)
class Side:
    """The runs of one side; `asked` holds all its options, as in ab.json."""

    name: str
    request: RunRequest
    asked: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AbTask:
    """Two sides, the folder of their runs, and the criteria that decide between them; `options` are as given."""

    sides: tuple[Side, Side]
    folder: Path
    thresholds: dict[str, float]
    deciding: tuple[str, ...]
    options: AbOptions

    @property
    def campaign(self) -> Campaign:
        """The side's runs, including untrusted ones with `untrusted`."""
        return Campaign(self.folder, is_usable=_any_run if self.options.untrusted else _is_trusted)

    @property
    def page(self) -> Path:
        """The latest analysis as a page."""
        return self.folder / files.AB_PAGE

    def asked(self) -> dict[str, Any]:
        """The question as ab.json holds it; a command that continues must ask the same."""
        return {
            **{side.name: side.asked for side in self.sides},
            "thresholds": self.thresholds,
            "deciding": list(self.deciding),
            "max_pairs": self.options.max_pairs,
        }


def task_of(sides: tuple[Side, Side], options: AbOptions) -> AbTask:
    """Make the task. Raises UserError for options that cannot work."""
    within("--max-pairs", options.max_pairs, FEWEST_PAIRS, MOST_PAIRS)
    if options.max_pairs % 2:
        raise UserError(
            f"--max-pairs: expected an even number (A B and B A run equally often), got {options.max_pairs}"
        )
    folder = (options.out or Path("results") / f"ab-{sides[0].request.out.name}").absolute()
    limits, deciding = thresholds(options.threshold), _deciding(options.decide)
    if not options.equal_sides and ask_the_same(*(side.request for side in sides)):
        raise UserError(
            "--a and --b describe the same run; give the candidate's differences in --b, such as --b "
            "'--server-arg=n_batch=512', or use --equal-sides to see what difference this machine can detect"
        )
    return AbTask(sides, folder, limits, deciding, options)


def _deciding(named: Sequence[str]) -> tuple[str, ...]:
    """The measures that decide. `error_share` is always one: a server that fails faster is not better."""
    for name in named:
        if name not in MEASURES:
            raise UserError(f"--decide {name!r}: expected a measure that is compared{did_you_mean(name, MEASURES)}")
    return tuple(dict.fromkeys((*named, ALWAYS_DECIDES))) if named else DECIDING


class Decided(NamedTuple):
    """The latest analysis, None if there was none; and the run that ended the campaign before it was decided."""

    found: Comparison | None
    ended: Outcome | None = None


def decide(task: AbTask, maker: Maker, say: Callable[[str], None]) -> Decided:
    """Make pairs until an interim analysis decides, or continue with those that exist.

    Raises UserError if the first run cannot start, or the first pair cannot be compared.
    """
    with begun(task.folder, "ab", task.asked()):
        if not (task.folder / files.AB).exists():
            files.write_json(task.folder / files.AB, {"schema": files.SCHEMA, "asked": task.asked()})
        decided = _decide(task, maker, say)
        if decided.ended is not None:
            check_began(task.folder, decided.ended)
        return decided


def _decide(task: AbTask, maker: Maker, say: Callable[[str], None]) -> Decided:
    most = task.options.max_pairs
    plan, found, made, pace = interim_analyses(most), None, 0, RunPace()
    after = ", ".join(str(interim.pairs) for interim in plan)
    say(
        f"A B B A …: at most {most} pairs ({2 * most} runs), with interim analyses after {after}; stops at the first "
        "that decides"
    )
    for interim in plan:
        while made < interim.pairs:
            ended = _make_pair(task, made + 1, maker, pace)
            if ended is not None:
                return Decided(found, ended)
            made += 1
            if made == 1:
                _check_first(task)
            base, candidate = (side[-1] for side in runs_of(task, made))
            say(pair_line(made, base, candidate, task.deciding))
            if made < interim.pairs:
                say(_left(interim.pairs - made, most - made, pace))
        found = _analyse(task, interim)
        _keep(task, found)
        say(interim_line(found))
        if is_decided(found) or made == most:
            break
        say(_left(0, most - made, pace))
    return Decided(found)


def _left(to_next: int, to_end: int, pace: RunPace) -> str:
    """How many runs are left to the next analysis and to the end, and how long they take."""

    def pairs(left: int, what: str) -> str:
        seconds = pace.seconds(left)
        return f"{2 * left} {what}{f', about {expected(seconds)}' if seconds else ''}"

    soon = f"{pairs(to_next, 'to the next analysis')}; " if 0 < to_next < to_end else ""
    return f"          runs left: {soon}{pairs(to_end, 'at most')}"


def _make_pair(task: AbTask, number: int, maker: Maker, pace: RunPace) -> Outcome | None:
    """Make the two runs of a pair, unless both exist; returns the outcome that ended the campaign, if any.

    If only one of them exists, both are made again: a run before an interruption and one after it are not neighbours.
    """
    # A B, then B A: what drifts steadily cancels over two pairs.
    order = task.sides if number % 2 else task.sides[::-1]
    names = [_name(side.name, number) for side in order]
    is_there = not any(is_missing(task.campaign, name) for name in names)
    if not is_there:
        for name in names:
            put_aside(task.campaign, name)
    with nullcontext() if is_there else pace.one():
        for side, name in zip(order, names, strict=True):
            made = make_run(task.campaign, name, side.request, maker)
            if made.problem is not None:
                return made
    return None


def _name(side: str, number: int) -> str:
    return f"{side}/{number:02}"


def _any_run(_: RunSummary) -> bool:
    return True


def _is_trusted(summary: RunSummary) -> bool:
    return summary.verdict.status != "invalid"


# --- what the runs say --------------------------------------------------------------------------------------------


def runs_of(task: AbTask, pairs: int) -> tuple[list[Run], list[Run]]:
    """The runs of the first pairs, by side; names are relative to the task's folder."""
    base, candidate = ([_read(task, _name(side, n)) for n in range(1, pairs + 1)] for side in SIDES)
    return base, candidate


def _read(task: AbTask, name: str) -> Run:
    return read(task.folder / name)._replace(name=name)


def _check_first(task: AbTask) -> None:
    """Refuse after the first pair whatever would be refused after the last."""
    first = runs_of(task, 1)
    checked(first, task.options)
    for name in task.options.decide:  # measures that every run must have
        for (run,) in first:
            if value(MEASURES[name], run.summary) is None:
                raise UserError(
                    f"--decide {name}: {run.name} could not measure it; give more --requests, or leave it out"
                )


def _analyse(task: AbTask, interim: InterimAnalysis) -> Comparison:
    sides = runs_of(task, interim.pairs)
    warnings = checked(sides, task.options)
    return analyse_interim(interim, *sides, task.thresholds, warnings, task.deciding)


def _keep(task: AbTask, found: Comparison) -> None:
    """Write ab.json and ab.html from the runs so far."""
    sides = {"base": found.base, "candidate": found.candidate}
    tables = {side: [requests_of(task.folder / run.name) for run in runs] for side, runs in sides.items()}
    shown = document(found, sections(tables))
    content = {"schema": files.SCHEMA, "asked": task.asked(), "comparison": shown.data}
    files.write_json(task.folder / files.AB, content)
    write_page(task.page, shown)
