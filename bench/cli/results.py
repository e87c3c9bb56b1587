"""`bench.py decode` and `report`: what a run folder says, made or shown again."""

from pathlib import Path
from typing import Literal

import click

from bench import app
from bench.cli.base import OneOf, echo
from bench.cli.options import WINDOWS


@click.command()
@click.argument("folder")
@click.option("--window", type=OneOf(WINDOWS), help="Make them of another window.  [the run's own]")
def decode(folder: str, window: Literal["planned", "steady"] | None) -> int:
    """Read a run's captures again, also after a crash.

    Makes its tables, summary and report anew; in a folder of repeats those of each run, and of all together.

    \b
    bench.py decode results/20261121-031502-llamacpp-tiny-chat-3f2a
    """
    from bench.cli import repeat, view

    path = Path(app.listing.folder_of(folder, "run", "repeats", is_concluded=False)).absolute()
    if app.results.has_repeats(path):
        return repeat.decode_all(path, window)
    summary = app.summarise(path, window)
    view.show_results(path)
    return app.exit_code(app.results.recorded_stop(path), summary)


@click.command()
@click.argument("folder")
@click.option("--format", "form", type=OneOf(["html", "markdown", "json", "csv"]), default="html", help="[html]")
def report(folder: str, form: Literal["html", "markdown", "json", "csv"]) -> None:
    """Write a run's report again, or print it (markdown, JSON), or its requests (CSV).

    Of a folder of repeats it is what the runs say together.

    \b
    bench.py report results/20261121-031502-llamacpp-tiny-chat-3f2a --format markdown
    bench.py report results/20261121-031502-llamacpp-tiny-chat-3f2a --format csv > requests.csv
    """
    from bench.cli import output, repeat

    path = Path(app.listing.folder_of(folder, "run", "repeats"))
    if form == "csv":
        output.print_rows(app.results.csv_rows(path))
        return
    if app.results.has_repeats(path):
        repeat.report_all(path, form)
        return
    if form == "html":
        echo(str(app.results.write_report(path)))
    else:
        output.deliver(app.results.describe(path), "markdown", as_json=form == "json")
