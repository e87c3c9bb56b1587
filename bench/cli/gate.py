"""`bench.py gate`: did an engine or our own client get slower?"""

from functools import partial
from pathlib import Path
from typing import Any

import click

from bench import app
from bench.app.options import GateOptions
from bench.cli import groups
from bench.cli.base import echo
from bench.cli.options import JUNIT, QUIET, Form, form_option, json_option, options_of
from bench.cli.settings import ConfigurableCommand


@click.command(cls=ConfigurableCommand)
@groups.with_options(
    options_of(GateOptions, groups.SIDES, {
        "baseline": "Folder with earlier measurements.",
        "against": "Measure this checkout now, and compare with it.",
        "update": "Measure, and write the result as the baseline.",
        "add": "Measure, and add the result to the baseline as a session.",
    }),
    options_of(GateOptions, groups.HOW_OFTEN, {
        "part": "Measure only this; repeatable.  [all]",
        "rounds": "Times each part is measured.",
    }),
    form_option("text", "markdown"),
    json_option(),
    JUNIT,
    options_of(GateOptions, groups.RESULT, {"out": "Keep the runs here.  [kept in results if it fails]"}),
    QUIET,
)  # fmt: skip
def gate(form: Form, junit: Path | None, *, as_json: bool, quiet: bool, **options: Any) -> int:
    """Say whether an engine or our own client got slower.

    Runs a tiny model on the embedded llama.cpp (and on vLLM, if installed), and our own client against the ground-truth
    server. Compares CPU time and latencies in units of reference work, and counts exactly.

    \b
    bench.py gate --baseline results/baselines/tiny
    bench.py gate --baseline results/baselines/tiny --add
    bench.py gate --against ../base
    Exit codes: 0 passed, 1 worse or different, 2 wrong use, 3 too much other load to tell, or a run stopped early,
    130 interrupted.
    """
    from analysis.present import of_gate
    from bench.app.gate import judging, rounds
    from bench.cli import output, view

    asked = GateOptions(**options)
    task = judging.task_of(asked)
    if junit:
        app.compare.check_folder_of("--junit", junit)
    screen = view.progress_screen(quiet=quiet)
    say = partial(output.say, screen)
    try:
        if asked.update or asked.add:
            path, code = judging.update(task, say), 0
            for note in task.notes:
                output.show_fact(screen, "note", note)
            output.show_fact(output.Screen(), "baseline", str(path))
        else:
            found = judging.compare(task, say)
            output.deliver(of_gate.document(found), form, as_json=as_json, junit=junit)
            code = judging.CODES[found.verdict]
    except rounds.RoundEnded as ended:
        echo(f"{ended.outcome.name} {ended.outcome.problem}", err=True)
        code = ended.outcome.code
    except BaseException as problem:
        if not asked.out:  # the user did not name this folder; files named in the message stay
            judging.leave(task, str(problem))
        raise
    if code or asked.out:
        output.show_fact(output.Screen() if form == "text" and not as_json else screen, "folder", str(task.out))
    else:
        judging.leave(task)
    return code
