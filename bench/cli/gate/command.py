"""`bench.py gate`: the command."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.app.compare import check_folder_of, write
from bench.cli.base import OneOf
from bench.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_TO_BE_TRUSTED, EXIT_OBJECTIVE_MISSED

if TYPE_CHECKING:
    from analysis.compare.gate import Gate
    from analysis.present.document import Document
    from bench.cli.gate.baseline import Session
    from bench.cli.gate.rounds import Observed
    from bench.cli.output import Screen

PARTS = ("llamacpp", "vllm", "client")
FEWEST_ROUNDS, MOST_ROUNDS = 3, 50

Measure = Callable[[list[str], int], "Observed"]


@click.command()
@click.option("--baseline", "folder", type=click.Path(path_type=Path), help="A folder.")
@click.option("--against", type=click.Path(path_type=Path), help="Measure this checkout now, and compare with it.")
@click.option("--update", is_flag=True, help="Measure, and write it as the baseline.")
@click.option("--add", is_flag=True, help="Measure, and add it to the baseline as one more session.")
@click.option("--part", "parts", type=OneOf(PARTS), multiple=True, help="Only this; repeatable.  [all]")
@click.option("--rounds", type=int, default=5, help="How often each part is measured.  [5]")
@click.option("--format", "form", type=OneOf(["text", "markdown"]), default="text", help="[text]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the runs here.  [kept in results if it fails]")
def gate(folder: Path | None, parts: tuple[str, ...], **options: Any) -> int:
    """Say whether an engine or our own client got slower.

    Runs a tiny model on the embedded llama.cpp, and on vLLM where it is installed, and our own client against the
    ground-truth server. Compares CPU time and latencies in units of reference work, counts exactly.

    \b
    bench.py gate --baseline results/baselines/tiny
    bench.py gate --baseline results/baselines/tiny --add
    bench.py gate --against ../base
    Exit codes: 0 passed, 1 worse or different, 2 wrong use, 3 too much other load to tell, 130 interrupted.
    """
    from analysis.present.of_gate import document
    from bench.cli.gate import baseline as baselines
    from bench.cli.gate.rounds import ready
    from bench.cli.output import Screen, deliver
    from bench.plan.resolve import within
    from bench.runs import folder as files

    count = within("--rounds", options["rounds"], FEWEST_ROUNDS, MOST_ROUNDS)
    against, writes = options["against"], options["update"] or options["add"]
    _check(folder, against, update=options["update"], add=options["add"])
    sessions = [] if folder is None or options["update"] else baselines.read(folder)
    if options["junit"]:
        check_folder_of("--junit", options["junit"])
    plain = options["form"] == "text" and not options["as_json"]
    screen = Screen(stderr=not plain, highlight=False)
    name = (folder or against).absolute().name
    out = (options["out"] or Path("results") / files.new_run_id("gate", name, "smoke")).absolute()
    known = None if writes or against else {part for session in sessions for part in session.rounds}
    chosen, notes = _chosen(parts or PARTS, known)
    files.make(out)
    with ready(chosen, out) as measure_round:
        measure = partial(_measure, measure_round, count, screen)
        if folder is not None and writes:
            found = measure(chosen, 1)
            baselines.write(folder, found.rounds, found.servers, sessions)
            for line in (*(f"note        {note}" for note in notes), f"baseline    {folder / baselines.FILE}"):
                screen.print(line, soft_wrap=True)
            code = 0
        else:
            base = partial(_measure_base, against, count, out, screen) if against else lambda _: sessions
            judged = _judge(str(against or folder), base, chosen, measure, notes)
            shown = document(judged)
            _keep(shown, out, options["junit"])
            deliver(shown, options["form"], as_json=options["as_json"], screen=screen)
            code = {"passed": 0, "failed": EXIT_OBJECTIVE_MISSED, "undecided": EXIT_NOT_TO_BE_TRUSTED}[judged.verdict]
    if code or options["out"]:
        screen.print(f"folder      {out}", soft_wrap=True)
    else:
        files.discard(out)
    return code


def _check(folder: Path | None, against: Path | None, *, update: bool, add: bool) -> None:
    from bench.types import UserError

    if (folder is None) == (against is None):
        raise UserError("give one of --baseline FOLDER and --against CHECKOUT: what to compare with")
    if against is not None and (update or add):
        raise UserError("--against measures what it compares with: --update and --add want --baseline")
    if update and add:
        raise UserError("--update starts a baseline anew and --add adds to it: give one of them")
    if against is not None and not (against / "bench.py").is_file():
        raise UserError(f"--against {against}: no bench.py in it; expected a checkout of another revision of this tool")


def _chosen(wanted: tuple[str, ...], known: set[str] | None) -> tuple[list[str], list[str]]:
    """The parts that can be measured and compared, and why the others are not."""
    from bench.cli.gate.rounds import is_installed
    from bench.types import UserError

    reasons = {}
    for part in wanted:
        if not is_installed(part):
            reasons[part] = "is not installed: left out"
        elif known is not None and part not in known:
            reasons[part] = "is not in the baseline: left out"
    chosen = [part for part in PARTS if part in wanted and part not in reasons]
    notes = [f"{part} {reason}" for part, reason in reasons.items()]
    if not chosen:
        raise UserError(f"nothing is left to be measured: {'; '.join(notes)}")
    return chosen, notes


def _judge(
    name: str, base: "Callable[[list[str]], list[Session]]", parts: list[str], measure: "Measure", notes: list[str]
) -> "Gate":
    """Measure and compare; what seems worse is measured again, and fails if all rounds together say so too.

    `base` gives the sessions to compare with, measured again where that is what it does.
    """
    from analysis.compare.gate import Gate, judge
    from bench.cli.gate.baseline import base_of, differences
    from bench.telemetry.machine import hardware

    here, sessions = hardware(), base(parts)
    found = measure(parts, 1)
    findings = judge(base_of(sessions, here), found.rounds)
    again = [part for part in parts if any(each.part == part and each.verdict == "worse" for each in findings)]
    if again:
        more, sessions = measure(again, 2), _together(sessions, base(again))
        found.rounds.update({part: [*found.rounds[part], *more.rounds[part]] for part in again})
        findings = judge(base_of(sessions, here), found.rounds)
    notes = [*notes, *differences(sessions, here, found.servers)]
    return Gate(name, tuple(findings), tuple(notes), tuple(again), found.rounds)


def _together(first: "list[Session]", again: "list[Session]") -> "list[Session]":
    """The sessions to compare with, with what was measured of them since: the same ones where nothing was."""
    if again is first:
        return first
    (before,), (more,) = first, again
    rounds = {part: [*found, *more.rounds.get(part, ())] for part, found in before.rounds.items()}
    return [replace(before, rounds=rounds)]


def _measure_base(checkout: Path, count: int, out: Path, screen: "Screen", parts: list[str]) -> "list[Session]":
    """Measure another revision with its own code, by its own `gate --update`, in its environment if it has one."""
    from bench.cli.gate import baseline as baselines
    from bench.types import UserError

    screen.print(f"base        {', '.join(parts)} of {checkout}, {count} rounds", soft_wrap=True)
    folder = out / f"base-{len(list(out.glob('base-*'))) + 1}"
    own = checkout.absolute() / ".venv/bin/python"
    python = str(own) if own.exists() else sys.executable
    command = [python, "bench.py", "gate", "--baseline", str(folder), "--update", "--rounds", str(count)]
    for part in parts:
        command += ["--part", part]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if done.returncode:
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        raise UserError(f"--against {checkout}: its gate --update ended with {done.returncode}: {last}")
    return [replace(session, measured_now=True) for session in baselines.read(folder)[-1:]]


def _measure(
    measure_round: "Callable[[int, Sequence[str]], Observed]",
    count: int,
    screen: "Screen",
    parts: list[str],
    time_number: int,
) -> "Observed":
    """Measure parts in so many rounds, for the first or the second time."""
    from bench.cli.gate.rounds import Observed

    found = Observed({part: [] for part in parts}, {})
    what = f"measuring   {', '.join(parts)}" if time_number == 1 else f"again       {', '.join(parts)}: worse so far"
    screen.print(f"{what}, {count} rounds", soft_wrap=True)
    for number in range((time_number - 1) * count + 1, time_number * count + 1):
        start_s = time.monotonic()
        one = measure_round(number, parts)
        for part, rounds in one.rounds.items():
            found.rounds[part] += rounds
        found.servers.update(one.servers)
        screen.print(f"round {number:2}    {time.monotonic() - start_s:.1f} s", soft_wrap=True)
    return found


def _keep(judged: "Document", out: Path, junit: Path | None) -> None:
    from analysis.present import to_junit
    from bench.runs import folder as files

    files.write_json(out / "gate.json", judged.data)
    if junit:
        write("--junit", junit, to_junit.render(judged))
