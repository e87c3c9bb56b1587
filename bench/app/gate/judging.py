"""A gate: what is measured and compared, what is measured again, and what is left of it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from analysis.compare.gate import Gate, judge
from analysis.present.of_gate import document
from bench.app.campaign import held
from bench.app.gate import baseline as baselines
from bench.app.gate import rounds as measuring
from bench.app.gate.baseline import Session, base_of, differences
from bench.app.gate.rounds import PARTS, RoundsObserved
from bench.app.machine import hardware
from bench.app.options import GateOptions
from bench.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_TO_BE_TRUSTED, EXIT_OBJECTIVE_MISSED
from bench.plan.resolve import within
from bench.runs import folder as files
from bench.types import UserError

CODES: Final = {"passed": 0, "failed": EXIT_OBJECTIVE_MISSED, "undecided": EXIT_NOT_TO_BE_TRUSTED}
"""The exit code of each verdict."""

FEWEST_ROUNDS: Final = 3
MOST_ROUNDS: Final = 50

Say = Callable[[str], None]
MeasureRound = Callable[[int, Sequence[str]], RoundsObserved]


@dataclass(frozen=True, slots=True)
class GateTask:
    """What is compared with what: the sessions of `baseline`, or the checkout `against`, measured now as well."""

    out: Path
    count: int
    parts: tuple[str, ...]
    notes: tuple[str, ...]
    baseline: Path | None = None
    sessions: tuple[Session, ...] = ()
    against: Path | None = None


def task_of(asked: GateOptions) -> GateTask:
    """Make the task: which parts can be measured here, and which sessions there are.

    Raises UserError for what does not go together, and where nothing is left to be measured.
    """
    count = within("--rounds", asked.rounds, FEWEST_ROUNDS, MOST_ROUNDS)
    _check(asked)
    baseline, against = asked.baseline, asked.against
    sessions = [] if baseline is None or asked.update else baselines.read(baseline)
    is_compared = not (asked.update or asked.add or against)
    known = {part for session in sessions for part in session.rounds} if is_compared else None
    chosen, notes = _chosen(asked.part or PARTS, known)
    out = asked.out
    if out is None:
        out = Path("results") / files.new_run_id("gate", (baseline or against or Path()).absolute().name, "smoke")
    return GateTask(out.absolute(), count, tuple(chosen), tuple(notes), baseline, tuple(sessions), against)


def _check(asked: GateOptions) -> None:
    against = asked.against
    if (asked.baseline is None) == (against is None):
        raise UserError("give one of --baseline FOLDER and --against CHECKOUT: what to compare with")
    if against is not None and (asked.update or asked.add):
        raise UserError("--against measures what it compares with: --update and --add want --baseline")
    if asked.update and asked.add:
        raise UserError("--update starts a baseline anew and --add adds to it: give one of them")
    if against is not None and not (against / "bench.py").is_file():
        raise UserError(f"--against {against}: no bench.py in it; expected a checkout of another revision of this tool")


def _chosen(wanted: Sequence[str], known: set[str] | None) -> tuple[list[str], list[str]]:
    """The parts that can be measured and compared, and why the others are not."""
    reasons = {}
    for part in wanted:
        if not measuring.is_installed(part):
            reasons[part] = "is not installed: left out"
        elif known is not None and part not in known:
            reasons[part] = "is not in the baseline: left out"
    chosen = [part for part in PARTS if part in wanted and part not in reasons]
    notes = [f"{part} {reason}" for part, reason in reasons.items()]
    if not chosen:
        raise UserError(f"nothing is left to be measured: {'; '.join(notes)}")
    return chosen, notes


@contextmanager
def _measuring(task: GateTask) -> Iterator[MeasureRound]:
    """Hold the folder and start the servers; the rounds of an earlier gate in it are not of one session with these."""
    with held(task.out, "gate", {}), measuring.ready(task.parts, task.out) as measure_round:
        yield measure_round


def update(task: GateTask, say: Say) -> Path:
    """Measure, and write it as one more session of the baseline; returns its file."""
    assert task.baseline is not None
    with _measuring(task) as measure_round:
        found = _measure(task, measure_round, say, task.parts)
        baselines.write(task.baseline, found.rounds, found.servers, task.sessions)
    return task.baseline / baselines.FILE


def compare(task: GateTask, say: Say) -> Gate:
    """Measure and compare, into gate.json; what seems worse is measured again, and fails if all rounds say so too."""
    with _measuring(task) as measure_round:
        here, sessions = hardware(), _sessions(task, say, task.parts)
        found = _measure(task, measure_round, say, task.parts)
        findings = judge(base_of(sessions, here), found.rounds)
        again = [part for part in task.parts if any(each.part == part and each.verdict == "worse" for each in findings)]
        if again:
            more = _measure(task, measure_round, say, again, is_second=True)
            sessions = _together(sessions, _sessions(task, say, again))
            found.rounds.update({part: [*found.rounds[part], *more.rounds[part]] for part in again})
            findings = judge(base_of(sessions, here), found.rounds)
    notes = (*task.notes, *differences(sessions, here, found.servers))
    gate = Gate(str(task.against or task.baseline), tuple(findings), notes, tuple(again), found.rounds)
    files.write_json(task.out / files.GATE, document(gate).data)
    return gate


def _sessions(task: GateTask, say: Say, parts: Sequence[str]) -> Sequence[Session]:
    """The sessions to compare with, measured now where that is what the task asks for."""
    if task.against is None:
        return task.sessions
    say(f"base        {', '.join(parts)} of {task.against}, {task.count} rounds")
    return _measure_base(task, task.against, parts)


def _measure_base(task: GateTask, checkout: Path, parts: Sequence[str]) -> Sequence[Session]:
    """Measure another revision with its own code, by its own `gate --update`, in its environment if it has one."""
    folder = task.out / f"base-{len(list(task.out.glob('base-*'))) + 1}"
    own = checkout.absolute() / ".venv/bin/python"
    python = str(own) if own.exists() else sys.executable
    command = [python, "bench.py", "gate", "--baseline", str(folder), "--update", "--rounds", str(task.count)]
    for part in parts:
        command += ["--part", part]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise UserError(f"--against {checkout}: its gate --update ended with {done.returncode}: {last}")
    return [replace(session, measured_now=True) for session in baselines.read(folder)[-1:]]


def _together(first: Sequence[Session], again: Sequence[Session]) -> Sequence[Session]:
    """The sessions to compare with, with what was measured of them since: the same ones where nothing was."""
    if again is first:
        return first
    (before,), (more,) = first, again
    rounds = {part: [*found, *more.rounds.get(part, ())] for part, found in before.rounds.items()}
    return [replace(before, rounds=rounds)]


def _measure(
    task: GateTask, measure_round: MeasureRound, say: Say, parts: Sequence[str], *, is_second: bool = False
) -> RoundsObserved:
    """Measure parts in as many rounds as asked, for the first or the second time."""
    found = RoundsObserved({part: [] for part in parts}, {})
    names = ", ".join(parts)
    what = f"again       {names}: worse so far" if is_second else f"measuring   {names}"
    say(f"{what}, {task.count} rounds")
    first = 1 + task.count * is_second
    for number in range(first, first + task.count):
        start_s = time.monotonic()
        one = measure_round(number, parts)
        for part, rounds in one.rounds.items():
            found.rounds[part] += rounds
        found.servers.update(one.servers)
        say(f"round {number:2}    {time.monotonic() - start_s:.1f} s")
    return found


def leave(task: GateTask, problem: str = "") -> None:
    """Remove the folder of a gate that nobody wants to look at, but for what the problem names."""
    if task.out.exists():
        files.discard(task.out, but_named_in=problem)
