"""`bench.py decode` and `report`: the results of a run folder, made or shown again."""

from pathlib import Path
from typing import Literal, get_args

import click

from bench import app
from bench.app.options import Window
from bench.cli.base import OneOf, echo
from bench.cli.completion import names_of
from bench.cli.groups import with_options
from bench.cli.options import form_option


@click.command()
@click.argument("folder", shell_complete=names_of("runs"))
@click.option("--window", type=OneOf(get_args(Window)), help="Summarise this window instead.  [the run's own]")
def decode(folder: str, window: Window | None) -> int:
    """Read a run's captures again, also after a crash.

    Makes its tables, summary and report again; for a folder of repeats, those of each run and the joint ones.

    \b
    bench.py decode results/20261121-031502-llamacpp-tiny-chat-3f2a
    """
    from bench.cli import view

    found = app.reports.decode(
        Path(app.listing.folder_of(folder, "run", "repeats", is_concluded=False)).absolute(), window
    )
    view.show_result(found.document, {"report": found.page})
    return found.code


@click.command()
@click.argument("folder", shell_complete=names_of("runs"))
@with_options(form_option("html", "markdown", "json", "csv"))
@click.option("--html", "alone", type=click.Path(path_type=Path), help="Write a self-contained page to this file.")
def report(folder: str, form: Literal["html", "markdown", "json", "csv"], alone: Path | None) -> None:
    """Write a run's report again, or print it (markdown, JSON), or its requests (CSV).

    For a folder of repeats or a sweep, it is their joint report.

    \b
    bench.py report results/20261121-031502-llamacpp-tiny-chat-3f2a --format markdown
    bench.py report results/20261121-031502-llamacpp-tiny-chat-3f2a --format csv > requests.csv
    """
    from bench.cli import output

    path = Path(app.listing.folder_of(folder, "run", "repeats", "sweep"))
    if alone is not None:
        app.compare.check_folder_of("--html", alone)
    if form == "csv" and not app.reports.has_study(path):
        output.print_rows(app.results.csv_rows(path))
    elif form == "html":
        echo(str(app.reports.write_page(path, alone)))
    else:
        output.deliver(app.reports.described(path), "csv" if form == "csv" else "markdown", as_json=form == "json")
