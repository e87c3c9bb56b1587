"""The runs of an `ab` in their folder: made pair by pair, found again by a command that goes on with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.app.compare import read
from bench.app.results import code_of_stop, summarise
from bench.app.run import observe
from bench.cli.ab.sides import SIDES, Side
from bench.cli.view import TerminalView
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.compare.comparison import Run
    from bench.cli.output import Screen

AB = "ab.json"
PAGE = "ab.html"
UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Task:
    """Two sides, the folder of their runs, and how it is decided between them."""

    sides: tuple[Side, Side]
    folder: Path
    thresholds: dict[str, float]
    deciding: tuple[str, ...]
    max_pairs: int
    different_plans: bool
    untrusted: bool

    def asked(self) -> dict[str, Any]:
        """What ab.json says was asked for; a command that goes on must ask for the same."""
        return {
            **{side.name: side.asked for side in self.sides},
            "thresholds": self.thresholds,
            "deciding": list(self.deciding),
            "max_pairs": self.max_pairs,
        }


def begin(task: Task) -> None:
    """Make the folder, or find that of the same task."""
    from bench.runs import folder as files

    if not (task.folder / AB).exists():
        files.make(task.folder)
        files.write_json(task.folder / AB, {"schema": files.SCHEMA, "asked": task.asked()})
        return
    before, asked = files.read_json(task.folder, AB)["asked"], task.asked()
    if differing := [name for name in asked if before.get(name) != asked[name]]:
        raise UserError(f"--out {task.folder}: holds an ab with other {', '.join(differing)}; choose another")


def runs_of(task: Task, pairs: int) -> "tuple[list[Run], list[Run]]":
    """The runs of the first pairs, by side; their names are those of their folders within the task's."""
    base, candidate = ([_read(task, _folder(task, name, n)) for n in range(1, pairs + 1)] for name in SIDES)
    return base, candidate


def _read(task: Task, folder: Path) -> "Run":
    return read(folder)._replace(name=str(folder.relative_to(task.folder)))


def make_pair(task: Task, number: int, screen: "Screen") -> int:
    """Make the two runs of a pair, unless they are there; returns the exit code where they did not come to their end.

    Runs of which one was made before an interruption and the other after it are no neighbours.
    """
    # A B, then B A: what drifts steadily cancels over two pairs.
    order = task.sides if number % 2 else task.sides[::-1]
    folders = [_folder(task, side.name, number) for side in order]
    if all(_is_made(folder, untrusted=task.untrusted) for folder in folders):
        return 0
    _put_aside(task, filter(Path.exists, folders))
    codes = (_make(task, side, folder, screen) for side, folder in zip(order, folders, strict=True))
    return next(filter(None, codes), 0)


def _folder(task: Task, side: str, number: int) -> Path:
    return task.folder / side / f"{number:02}"


def _is_made(folder: Path, *, untrusted: bool) -> bool:
    from bench.runs import folder as files

    if not (folder / files.SUMMARY).exists():
        return False
    return untrusted or files.read_json(folder, files.SUMMARY)["verdict"]["status"] != "invalid"


def _put_aside(task: Task, folders: Iterable[Path]) -> None:
    """Keep runs that are of no use: what they have spent counts."""
    for folder in folders:
        place = task.folder / UNFINISHED
        place.mkdir(exist_ok=True)
        folder.rename(place / f"{folder.parent.name}-{folder.name}-{len(list(place.iterdir()))}")


def _make(task: Task, side: Side, folder: Path, screen: "Screen") -> int:
    """Make one run; returns the exit code where it did not come to its end or is not to be trusted."""
    from bench.cli.output import Screen

    name = str(folder.relative_to(task.folder))
    # A line for each pair is enough; nothing is drawn over it.
    quiet = Screen(quiet=True, force_terminal=False)
    try:
        stopped = observe(side.request.one_of(task.folder, name), TerminalView(quiet))
    except UserError as problem:
        raise UserError(f"{name}: {problem}") from None
    if stopped is None:
        summarise(folder, with_report=False)
        if not _is_made(folder, untrusted=task.untrusted):
            from analysis.compare.comparison import reasons

            screen.print(f"{name} is not to be trusted: {reasons(read(folder))}", markup=False, soft_wrap=True)
            return EXIT_NOT_TO_BE_TRUSTED
        return 0
    screen.print(f"{name} stopped early: {stopped}", markup=False, soft_wrap=True)
    return code_of_stop(stopped)
