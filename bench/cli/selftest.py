"""`bench.py selftest`: how exact this machine's client is, at which load."""

from functools import partial

import click

from bench.app.options import ClientOptions, Stamps
from bench.cli import groups
from bench.cli.base import echo
from bench.cli.options import QUIET, json_option, options_of
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED


@click.command()
@groups.with_options(
    options_of(ClientOptions, groups.CLIENT, {
        "workers": "Load processes, as in the runs that it is for.",
        "stamps": "Who timestamps arrivals, as in those runs.",
    }),
    {"quick": click.option("--quick", is_flag=True, help="Fewer and shorter loads: a coarser answer within a minute.")},
    json_option(", with everything that was measured"),
    QUIET,
)  # fmt: skip
def selftest(workers: int, stamps: Stamps, quick: bool, as_json: bool, quiet: bool) -> int:
    """Measure how exact this machine's client is, at which load.

    A server that logs when it sent each token gets a core of its own, the client another, and loads rise until the
    client's error passes 2 ms, its core is full, or the server can send no more. If packet timestamps are permitted,
    the kernel's are measured as well. Later runs on this machine are checked against the result. Needs Linux, a C
    compiler and an idle machine, for two or three minutes.

    \b
    bench.py selftest
    bench.py selftest --workers 2 --quick
    """
    from bench.app.selftest import climb, document
    from bench.cli.output import deliver
    from bench.cli.view import progress_screen

    screen = progress_screen(quiet=quiet)
    with screen.status("starts") as status:
        # Without a live display, each load gets a line.
        say = status.update if quiet or screen.is_terminal else partial(echo, err=True)
        found = climb.selftest(workers, say, stamps=stamps, quick=quick)
    deliver(document.document(found), "text", as_json=as_json)
    if found.not_kept:
        echo(f"not kept for later runs on this machine: {found.not_kept}", err=True)
    return 0 if found.is_exact else EXIT_NOT_TO_BE_TRUSTED
