"""`bench.py runs`: what is in results/."""

from pathlib import Path

import click

from bench import app
from bench.cli.base import echo
from bench.cli.groups import with_options
from bench.cli.options import json_option


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--all", "shows_all", is_flag=True, help="Show all of them.  [the newest 40]")
@with_options(json_option(", of all of them"))
def runs(folder: Path | None, shows_all: bool, as_json: bool) -> None:
    """List what is in results, and bring its page up to date.

    1` the one before it.~Runs, searches and sweeps, newest first. The page, index.html, filters and sorts them, and
    shows the command that compares those that you select. FOLDER defaults to results. Wherever a command takes a run's
    folder, `latest` is the newest and `latest~1` the one before it.~1` the one before it.

    \b
    bench.py runs
    bench.py compare latest~1 latest
    """
    from bench.cli.output import Screen, deliver, show_fact

    screen = Screen()
    found = app.listing.listing(folder or app.listing.ROOT)
    deliver(app.listing.document(found, folder, shows_all=shows_all), "text", as_json=as_json, screen=screen)
    if found.problem is not None:
        echo(f"note: {found.problem}", err=True)
    elif found.page is not None and not as_json:
        show_fact(screen, "page", str(found.page))


def refresh() -> None:
    """Update the page of results after a command that may have left a run; report it if that fails."""
    try:
        problem = app.listing.listing().problem
    except Exception as failed:  # whatever the fault, it must not change what the command reports about its run
        problem = f"the page of {app.listing.ROOT} is out of date: {failed}"
    if problem is not None:
        echo(f"note: {problem}", err=True)
