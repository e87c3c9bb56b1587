"""`bench.py run`: one load, one backend, one folder."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from bench import app
from bench.app.options import RunOptions, check_repeat
from bench.cli import groups
from bench.cli.base import keep_secret, print_dry, tell
from bench.cli.numeric import WHOLE
from bench.cli.options import ASKED, COSTS, OFFERED, SHOWN, options_of
from bench.cli.settings import Measuring, settings
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED, worst_of
from bench.types import UserError

if TYPE_CHECKING:
    from bench.app.request import RunRequest


@click.command(cls=Measuring)
@groups.with_options(
    ASKED, COSTS, OFFERED,
    options_of(RunOptions, groups.OBJECTIVES, {
        "window": "steady: leave out the initial transient.",
        "inconclusive": "Whether uncertain objectives pass.  [by the value seen]",
    }),
    groups.under(groups.HOW_OFTEN, {
        "repeat": click.option("--repeat", type=WHOLE, default=1, help="Make this many runs, 50 at most.  [1]"),
        "keep_server": click.option(
            "--keep-server", is_flag=True, help="With --repeat: launch the server once for all runs."
        ),
        "dry_run": click.option("--dry-run", is_flag=True, help="Print the plan and what it may cost; send nothing."),
        "batch": click.option("--batch", is_flag=True, help="With --dry-run: use the API's batch prices."),
    }),
    options_of(RunOptions, groups.RESULT, {
        "out": "Run folder.  [results/<run-id>]",
        "locust_web": "Serve Locust's page on this loopback port.",
    }),
    SHOWN,
)  # fmt: skip
def run(repeat: int, keep_server: bool, dry_run: bool, batch: bool, as_json: bool, quiet: bool, **options: Any) -> int:
    """Offer one load to one backend, observe it, judge it and report.

    \b
    bench.py run --backend llamacpp --model model.gguf --scenario chat --concurrency 8
    bench.py run --backend openai --url http://127.0.0.1:8000 --model my-model --rate 4 --duration 60s
    bench.py run --backend vllm --model mistral-7b-awq
    bench.py run --backend claude --model claude-haiku-4-5 --requests 50 --max-usd 0.50
    bench.py run --repeat 5
    A key for the server is taken from OPENAI_API_KEY, for claude from ANTHROPIC_API_KEY.
    Exit codes: 0 fine, 1 an objective missed, 2 wrong use, 3 not to be trusted, 4 out of budget, 130 interrupted.
    """
    if batch and not dry_run:
        raise UserError("--batch: batches are only priced, not load-tested; give --dry-run as well, or leave it out")
    request = request_of(options)
    runs = check_repeat(repeat, request.url, keep_server=keep_server)
    if dry_run:
        found = app.dry_run(request, runs=runs, batch=batch)
        print_dry(app.dry.document(found), app.dry.lines(found), as_json=as_json)
        return 0
    # Imported late: --help does not draw.
    from bench.cli import repeat as repeats
    from bench.cli import view

    if runs > 1:
        return repeats.repeat(request, runs, options, keep_server=keep_server, as_json=as_json, quiet=quiet)
    stopped = app.observe(request, view.TerminalView(view.progress_screen(quiet=quiet)))
    try:
        with app.captured_is_kept(request.out):
            summary = app.summarise(request.out)
            places = {"report": app.results.report_of(request.out)}
            view.show_result(app.results.describe(request.out), places, as_json=as_json, quiet=quiet)
    except (UserError, MemoryError) as problem:
        # Something was measured, which exit code 2 (wrong use) would deny.
        return tell(problem, worst_of((app.code_of_stop(stopped), EXIT_NOT_TO_BE_TRUSTED)))
    return app.exit_code(stopped, summary)


def request_of(options: Mapping[str, Any]) -> "RunRequest":
    """The request of a run from its flags; its secrets are hidden from everything printed from now on."""
    request = app.run_request(RunOptions.of(options), sys.argv)
    keep_secret(request.access.secrets)
    return replace(request, settings=settings())
