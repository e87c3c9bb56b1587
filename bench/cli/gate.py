"""`bench.py gate`: did an engine or our own client get slower?"""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import app
from bench.cli import groups
from bench.cli.base import OneOf, echo
from bench.cli.groups import grouped
from bench.cli.numeric import WHOLE
from bench.cli.options import json_option
from bench.cli.settings import ConfigurableCommand

if TYPE_CHECKING:
    from bench.app.gate.judging import GateTask
    from bench.cli.output import Screen

PARTS = ("llamacpp", "vllm", "client")


@click.command(cls=ConfigurableCommand)
@grouped(
    groups.SIDES,
    click.option("--baseline", "folder", type=click.Path(path_type=Path), help="A folder."),
    click.option("--against", type=click.Path(path_type=Path), help="Measure this checkout now, and compare with it."),
    click.option("--update", is_flag=True, help="Measure, and write it as the baseline."),
    click.option("--add", is_flag=True, help="Measure, and add it to the baseline as one more session."),
)
@grouped(
    groups.HOW_OFTEN,
    click.option("--part", "parts", type=OneOf(PARTS), multiple=True, help="Only this; repeatable.  [all]"),
    click.option("--rounds", type=WHOLE, default=5, help="How often each part is measured.  [5]"),
)
@grouped(
    groups.RESULT,
    click.option("--format", "form", type=OneOf(["text", "markdown"]), default="text", help="[text]"),
    json_option(),
    click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file."),
    click.option("--out", type=click.Path(path_type=Path), help="Keep the runs here.  [kept in results if it fails]"),
    click.option("--quiet", is_flag=True, help="Say nothing on standard error but what goes wrong."),
)
def gate(folder: Path | None, parts: tuple[str, ...], **options: Any) -> int:
    """Say whether an engine or our own client got slower.

    Runs a tiny model on the embedded llama.cpp, and on vLLM where it is installed, and our own client against the
    ground-truth server. Compares CPU time and latencies in units of reference work, counts exactly.

    \b
    bench.py gate --baseline results/baselines/tiny
    bench.py gate --baseline results/baselines/tiny --add
    bench.py gate --against ../base
    Exit codes: 0 passed, 1 worse or different, 2 wrong use, 3 too much other load to tell, or a run stopped early,
    130 interrupted.
    """
    from bench.app.gate import judging, rounds
    from bench.cli import output, view

    task = judging.task_of(
        options["out"],
        options["rounds"],
        parts,
        folder,
        options["against"],
        update=options["update"],
        add=options["add"],
    )
    if options["junit"]:
        app.compare.check_folder_of("--junit", options["junit"])
    screen = view.progress_screen(quiet=options["quiet"])
    try:
        code = _made(task, screen, options)
    except rounds.RoundEnded as ended:
        echo(f"{ended.outcome.name} {ended.outcome.problem}", err=True)
        code = ended.outcome.code
    except BaseException as problem:
        if not options["out"]:
            judging.leave(task, str(problem))
        raise
    if code or options["out"]:
        is_plain = options["form"] == "text" and not options["as_json"]
        output.show_fact(output.Screen() if is_plain else screen, "folder", str(task.out))
    else:
        judging.leave(task)
    return code


def _made(task: "GateTask", screen: "Screen", options: dict[str, Any]) -> int:
    """Measure and write a session, or compare and show what was found; the exit code."""
    from bench.app.gate import judging
    from bench.cli import output

    say = partial(output.say, screen)
    if options["update"] or options["add"]:
        path = judging.update(task, say)
        for note in task.notes:
            output.show_fact(screen, "note", note)
        output.show_fact(output.Screen(), "baseline", str(path))
        return 0
    found = judging.compare(task, say)
    shown = judging.shown(found, options["junit"])
    output.deliver(shown, options["form"], as_json=options["as_json"])
    return judging.CODES[found.verdict]
