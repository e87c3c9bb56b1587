"""`bench.py compare`: is the candidate slower or dearer than the base? The gate of a CI job."""

from pathlib import Path
from typing import Any

import click

from analysis.present import to_html, to_junit
from analysis.present.comparison_figures import sections
from analysis.present.of_field import document_of, labels
from bench.app.compare import compare_runs, runs_of_sides, write
from bench.app.results import requests_of
from bench.cli.base import OneOf, with_options
from bench.cli.output import deliver
from bench.exit_codes import EXIT_OBJECTIVE_MISSED

JUDGED = (
    click.option("--threshold", multiple=True, help="Least change that matters: ttft_ms:p99=5%. Repeatable."),
    click.option("--inconclusive", type=OneOf(["pass", "fail"]), default="pass", help="What it is to a gate.  [pass]"),
    click.option("--different-plans", is_flag=True, help="Compare although other requests were measured."),
    click.option("--untrusted", is_flag=True, help="Compare runs although their verdict is invalid."),
    click.option("--format", "form", type=OneOf(["text", "markdown", "csv"]), default="text", help="[text]"),
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file."),
)
"""How two sides are judged and how that is told: options of every command that compares."""


@click.command()
@click.argument("base")
@click.argument("candidates", metavar="CANDIDATE...", nargs=-1, required=True)
@with_options(JUDGED)
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with all distributions to this file.")
def compare(base: str, candidates: tuple[str, ...], **options: Any) -> int:
    """Say whether CANDIDATE is slower or dearer than BASE; of several candidates also which may be best.

    Each is a run folder, a folder of runs, or several of these with commas between. One run on each side is compared
    by its requests; with three and more on each side the run is the unit, which is surer. Exits with 1 where any
    measure is worse than that of BASE.

    \b
    bench.py compare results/before results/after
    bench.py compare results/a1,results/a2,results/a3 results/b1,results/b2,results/b3 --threshold ttft_ms:p99=5%
    bench.py compare results/vllm results/tgi results/llamacpp --html compare.html
    """
    sides = runs_of_sides((base, *candidates))
    found = compare_runs(
        sides,
        options["threshold"],
        different_plans=options["different_plans"],
        untrusted=options["untrusted"],
    )
    shown = document_of(found, inconclusive=options["inconclusive"])
    if options["junit"]:
        write("--junit", options["junit"], to_junit.render(shown))
    if options["html"]:
        tables = ([requests_of(folder) for folder in side] for side in sides)
        figures = sections(dict(zip(labels(found), tables, strict=True)))
        write("--html", options["html"], to_html.render(document_of(found, figures)).encode())
    deliver(shown, options["form"], as_json=options["as_json"])
    return EXIT_OBJECTIVE_MISSED if found.failing(options["inconclusive"]) else 0
