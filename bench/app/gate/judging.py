"""Run a gate: what is measured and compared, what is measured again, and what is kept."""

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
    """What is compared with what: the sessions of `baseline`, or the checkout `against`, which is measured too."""

    out: Path
    count: int
    parts: tuple[str, ...]
    notes: tuple[str, ...]
    baseline: Path | None = None
    sessions: tuple[Session, ...] = ()
    against: Path | None = None


def task_of(asked: GateOptions) -> GateTask:
    """Make the task: which parts can be measured here, and which sessions there are.

    Raises UserError for options that exclude each other, and if nothing is left to measure.
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
        raise UserError("expected one of --baseline FOLDER and --against CHECKOUT, to compare with")
    if against is not None and (asked.update or asked.add):
        raise UserError("--update and --add need --baseline; --against measures what it compares with")
    if asked.update and asked.add:
        raise UserError("--update starts a new baseline and --add adds to one; give one of them")
    if against is not None and not (against / "bench.py").is_file():
        raise UserError(f"--against {against}: no bench.py in it; expected a checkout of another revision of this tool")


def _chosen(wanted: Sequence[str], known: set[str] | None) -> tuple[list[str], list[str]]:
    """The parts that can be measured and compared, and why the others cannot."""
    reasons = {}
    for part in wanted:
        if not measuring.is_installed(part):
            reasons[part] = "is not installed; skipped"
        elif known is not None and part not in known:
            reasons[part] = "is not in the baseline; skipped"
    chosen = [part for part in PARTS if part in wanted and part not in reasons]
    notes = [f"{part} {reason}" for part, reason in reasons.items()]
    if not chosen:
        raise UserError(f"nothing left to measure: {'; '.join(notes)}")
    return chosen, notes


@contextmanager
def _measuring(task: GateTask) -> Iterator[MeasureRound]:
    """Lock the folder and start the servers; rounds of an earlier gate in it are not of this session."""
    with held(task.out, "gate", {}), measuring.ready(task.parts, task.out) as measure_round:
        yield measure_round


def update(task: GateTask, say: Say) -> Path:
    """Measure, and write the result as one more session of the baseline; returns its file."""
    assert task.baseline is not None
    with _measuring(task) as measure_round:
        found = _measure(task, measure_round, say, task.parts)
        baselines.write(task.baseline, found.rounds, found.servers, task.sessions)
    return task.baseline / baselines.FILE


def compare(task: GateTask, say: Say) -> Gate:
    """Measure and compare, into gate.json; what looks worse is measured again, and fails only if all rounds agree."""
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
    """The sessions to compare with; with `against`, they are measured now."""
    if task.against is None:
        return task.sessions
    say(f"base        {', '.join(parts)} of {task.against}, {task.count} rounds")
    return _measure_base(task, task.against, parts)


def _measure_base(task: GateTask, checkout: Path, parts: Sequence[str]) -> Sequence[Session]:
    """Measure another revision with its own code, by its own `gate --update`, in its own environment if it has one."""
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
        raise UserError(f"--against {checkout}: its gate --update exited with {done.returncode}: {last}")
    return [replace(session, measured_now=True) for session in baselines.read(folder)[-1:]]


def _together(first: Sequence[Session], again: Sequence[Session]) -> Sequence[Session]:
    """The sessions to compare with, extended by what was measured meanwhile; unchanged if nothing was."""
    if again is first:
        return first
    (before,), (more,) = first, again
    rounds = {part: [*found, *more.rounds.get(part, ())] for part, found in before.rounds.items()}
    return [replace(before, rounds=rounds)]


def _measure(
    task: GateTask, measure_round: MeasureRound, say: Say, parts: Sequence[str], *, is_second: bool = False
) -> RoundsObserved:
    """Measure parts for as many rounds as asked; `again` is the second time."""
    found = RoundsObserved({part: [] for part in parts}, {})
    names = ", ".join(parts)
    what = f"again       {names}: looks worse" if is_second else f"measuring   {names}"
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
    """Remove the folder of a gate that nobody asked for, except for what the problem names."""
    if task.out.exists():
        files.discard(task.out, but_named_in=problem)
