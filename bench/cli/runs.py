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

    Runs, searches and sweeps, newest first. The page, index.html, filters and sorts them, and says the command that
    compares those that you select. FOLDER is another folder than results. Wherever a command takes a run's folder,
    `latest` is the newest and `latest~1` the one before it.

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
    """Bring the page of results up to date after a command that may have left a run; where that fails, say so."""
    try:
        problem = app.listing.listing().problem
    except Exception as failed:  # whatever it is, it must not change what the command says of its run
        problem = f"the page of {app.listing.ROOT} is not up to date: {failed}"
    if problem is not None:
        echo(f"note: {problem}", err=True)
