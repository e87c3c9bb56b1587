"""`bench.py gate`: the command."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import EXIT_NOT_TO_BE_TRUSTED, EXIT_OBJECTIVE_MISSED, OneOf, echo
from bench.cli.compare import check_folder_of, print_findings, write

if TYPE_CHECKING:
    from analysis.gate_written import Gate
    from bench.cli.gate.baseline import Baseline
    from bench.cli.gate.rounds import Observed
    from bench.screen import Screen

PARTS = ("llamacpp", "vllm", "client")
FEWEST_ROUNDS, MOST_ROUNDS = 3, 50
_STYLES = {"worse": "red bold", "different": "red bold", "better": "green", "inconclusive": "yellow", "same": "dim"}
_VERDICT_STYLES = {"passed": "green", "failed": "red bold", "undecided": "yellow"}

Measure = Callable[[list[str], int], "Observed"]


@click.command()
@click.option("--baseline", "folder", type=click.Path(path_type=Path), required=True, help="A folder.")
@click.option("--update", is_flag=True, help="Measure, and write it as the baseline.")
@click.option("--part", "parts", type=OneOf(PARTS), multiple=True, help="Only this; repeatable.  [all]")
@click.option("--rounds", type=int, default=5, help="How often each part is measured.  [5]")
@click.option("--format", "form", type=OneOf(["text", "markdown"]), default="text", help="[text]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")
@click.option("--out", type=click.Path(path_type=Path), help="Keep the runs here.  [kept in results if it fails]")
def gate(folder: Path, parts: tuple[str, ...], **options: Any) -> int:
    """Say whether an engine or our own client got slower.

    Runs a tiny model on the embedded llama.cpp, and on vLLM where it is installed, and our own client against the
    ground-truth server. Compares CPU time and latencies in units of reference work, counts exactly.

    \b
    bench.py gate --baseline results/baselines/tiny
    bench.py gate --baseline results/baselines/tiny --rounds 10 --update
    Exit codes: 0 passed, 1 worse or different, 2 wrong use, 3 too much other load to tell, 130 interrupted.
    """
    from bench import folder as files
    from bench.cli.gate import baseline as baselines
    from bench.cli.gate.rounds import ready
    from bench.resolve import within
    from bench.screen import Screen

    count = within("--rounds", options["rounds"], FEWEST_ROUNDS, MOST_ROUNDS)
    baseline = None if options["update"] else baselines.read(folder)
    if options["junit"]:
        check_folder_of("--junit", options["junit"])
    plain = options["form"] == "text" and not options["as_json"]
    screen = Screen(stderr=not plain, highlight=False)
    out = (options["out"] or Path("results") / files.new_run_id("gate", folder.name, "smoke")).absolute()
    chosen, notes = _chosen(parts or PARTS, baseline)
    files.make(out)
    with ready(chosen, out) as measure_round:
        measure = partial(_measure, measure_round, count, screen)
        if baseline is None:
            found = measure(chosen, 1)
            baselines.write(folder, found.rounds, found.servers)
            for line in (*(f"note        {note}" for note in notes), f"baseline    {folder / baselines.FILE}"):
                screen.print(line, soft_wrap=True)
            code = 0
        else:
            judged = _judge(str(folder), baseline, chosen, measure, notes)
            _keep(judged, out, options["junit"])
            _show(judged, options["form"], as_json=options["as_json"], screen=screen)
            code = {"passed": 0, "failed": EXIT_OBJECTIVE_MISSED, "undecided": EXIT_NOT_TO_BE_TRUSTED}[judged.verdict]
    if code or options["out"]:
        screen.print(f"folder      {out}", soft_wrap=True)
    else:
        files.discard(out)
    return code


def _chosen(wanted: tuple[str, ...], baseline: "Baseline | None") -> tuple[list[str], list[str]]:
    """The parts that can be measured and compared, and why the others are not."""
    from bench.cli.gate.rounds import is_installed
    from bench.types import UserError

    reasons = {}
    for part in wanted:
        if not is_installed(part):
            reasons[part] = "is not installed: left out"
        elif baseline is not None and part not in baseline.rounds:
            reasons[part] = "is not in the baseline: left out"
    chosen = [part for part in PARTS if part in wanted and part not in reasons]
    notes = [f"{part} {reason}" for part, reason in reasons.items()]
    if not chosen:
        raise UserError(f"nothing is left to be measured: {'; '.join(notes)}")
    return chosen, notes


def _judge(name: str, baseline: "Baseline", parts: list[str], measure: "Measure", notes: list[str]) -> "Gate":
    """Measure and compare; what seems worse is measured again, and fails if all rounds together say so too."""
    from analysis.gate import judge
    from analysis.gate_written import Gate
    from bench.cli.gate.baseline import cpu_of, differences
    from bench.machine import hardware

    here = hardware()
    same_cpu = cpu_of(baseline.hardware) == cpu_of(here)
    found = measure(parts, 1)
    findings = judge(baseline.rounds, found.rounds, same_cpu=same_cpu)
    again = [part for part in parts if any(each.part == part and each.verdict == "worse" for each in findings)]
    if again:
        more = measure(again, 2)
        found.rounds.update({part: [*found.rounds[part], *more.rounds[part]] for part in again})
        findings = judge(baseline.rounds, found.rounds, same_cpu=same_cpu)
    notes = [*notes, *differences(baseline, here, found.servers)]
    return Gate(name, tuple(findings), tuple(notes), tuple(again), found.rounds)


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


def _keep(judged: "Gate", out: Path, junit: Path | None) -> None:
    from analysis import gate_written
    from bench import folder as files

    files.write_json(out / "gate.json", gate_written.document(judged))
    if junit:
        write("--junit", junit, gate_written.junit(judged))


def _show(judged: "Gate", form: str, *, as_json: bool, screen: "Screen") -> None:
    from analysis import gate_written

    if as_json:
        import orjson

        echo(orjson.dumps(gate_written.document(judged), option=orjson.OPT_INDENT_2).decode())
    elif form == "markdown":
        echo(gate_written.markdown(judged))
    else:
        _print(judged, screen)


def _print(judged: "Gate", screen: "Screen") -> None:
    from analysis.gate_written import HEAD, doubts, headline, row, shown
    from bench.screen import print_fact

    for note in judged.notes:
        print_fact(screen, "note", note, "yellow")
    print_findings(screen, HEAD, [row(finding) for finding in shown(judged)], _STYLES)
    for names, why in doubts(judged):
        print_fact(screen, "", f"{names}: {why}", "dim")
    print_fact(screen, "verdict", headline(judged), _VERDICT_STYLES[judged.verdict])
