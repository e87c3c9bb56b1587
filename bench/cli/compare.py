"""`bench.py compare`: is the candidate slower or more expensive than the base? For use as a gate in CI."""

from pathlib import Path
from typing import Any

import click

from bench import app
from bench.app.options import JudgeOptions
from bench.cli import groups
from bench.cli.completion import names_of
from bench.cli.options import JUDGED, Form
from bench.cli.settings import ConfigurableCommand
from bench.exit_codes import EXIT_OBJECTIVE_MISSED


@click.command(cls=ConfigurableCommand)
@click.argument("base", shell_complete=names_of("runs"))
@click.argument("candidates", metavar="[CANDIDATE...]", nargs=-1, shell_complete=names_of("runs"))
@groups.with_options(
    JUDGED,
    groups.under(groups.RESULT, {
        "html": click.option(
            "--html", type=click.Path(path_type=Path), help="Write a page with all distributions to this file."
        ),
    }),
)  # fmt: skip
def compare(
    base: str,
    candidates: tuple[str, ...],
    html: Path | None,
    form: Form,
    junit: Path | None,
    *,
    as_json: bool,
    **options: Any,
) -> int:
    """Say whether CANDIDATE is slower or costs more than BASE; of several, also which may be best.

    Each side is a run folder, a folder of runs, or several of these separated by commas; a sweep's folder gives a side
    per contender, at the load of its table. With one run per side, requests are compared; with three or more, runs are,
    which is more reliable. Exits with 1 if any measure is worse than BASE's.

    \b
    bench.py compare results/before results/after
    bench.py compare results/a1,results/a2,results/a3 results/b1,results/b2,results/b3 --threshold ttft_ms:p99=5%
    bench.py compare results/vllm results/tgi results/llamacpp --html compare.html
    bench.py compare results/sweep-study
    """
    from analysis.present.of_field import document_of
    from bench.cli.output import deliver

    sides, judged = app.compare.runs_of_sides((base, *candidates)), JudgeOptions(**options)
    found = app.compare.compare_runs(sides, judged)
    if html:
        app.compare.write_page(html, found, sides)
    deliver(document_of(found, inconclusive=judged.inconclusive), form, as_json=as_json, junit=junit)
    return EXIT_OBJECTIVE_MISSED if found.failing(judged.inconclusive) else 0
