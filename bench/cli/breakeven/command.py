"""`bench.py breakeven`: at which volumes servers of one's own cost no more than an API."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bench.cli.base import Group, OneOf, with_options
from bench.cli.breakeven.calculators import batch, caching, fine_tune
from bench.cli.breakeven.servers import HOSTING, PEAK, TRAFFIC
from bench.cli.breakeven.versus import CACHING, REQUESTS
from bench.cli.numeric import PART, SEED, SHARE
from bench.cli.options import COSTS
from bench.exit_codes import EXIT_OBJECTIVE_MISSED

ROUTING = (
    click.option("--hybrid-share", type=PART, default="1", help="Share of the requests offered to yours.  [1]"),
    click.option("--pass-rate", type=SHARE, default="1", help="Share of their answers that need no API.  [1]"),
    click.option("--overflow", is_flag=True, help="Fill your servers first, and send the rest to the API."),
    click.option("--api-good-share", type=PART, default="1", help="Share of the API's answers that count.  [1]"),
)
"""Who serves what."""


@click.group(cls=Group, invoke_without_command=True)
@click.option(
    "--self", "--capacity-rps", "servers", multiple=True, metavar="RUN|CAPACITY|RATE",
    help="Your servers: a run, a folder of `capacity`, or requests/s such as 2 or 1.8..2.2; repeatable.",
)  # fmt: skip
@with_options(COSTS)
@click.option(
    "--versus", multiple=True, metavar="MODEL|RUN|USD",
    help="An API: MODEL, PROVIDER/MODEL, a run of it, or dollars a request; repeatable.",
)  # fmt: skip
@with_options((*REQUESTS, *CACHING))
@click.option("--batch", is_flag=True, help="At the API's prices for batches.")
@with_options((*TRAFFIC, *PEAK, *HOSTING, *ROUTING))
@click.option("--model", help="What you serve: refuse a capacity above its roofline on --gpu.")
@click.option("--different-plans", is_flag=True, help="Compare what was measured with different loads.")
@click.option(
    "--inconclusive", type=OneOf(["pass", "fail"]), default="pass", help="Whether undecided is exit 1.  [pass]"
)
@click.option("--seed", type=SEED, default=0, help="Of the resampling.  [0]")
@click.option("--out", type=click.Path(path_type=Path), help="A folder for breakeven.json, a page and its figures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def breakeven(ctx: click.Context, /, **options: Any) -> int:
    """Find the volumes at which your own servers cost no more.

    The answer is a set of volumes: a point, intervals, never, always, or undecided where measurements do not tell.

    \b
    bench.py breakeven --self 2 --gpu rtx-4090 --versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200
    bench.py breakeven --self results/capacity-… --gpu l4 --versus claude-haiku-5-5 --versus openrouter/qwen/qwen3-14b
    bench.py breakeven fine-tune --train-usd 120 --prompted-usd 0.0045 --tuned-usd 0.0030
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from analysis.present.of_breakeven import document
    from bench.cli.breakeven import answer as answers
    from bench.cli.breakeven.comparison import compare
    from bench.cli.output import Screen, deliver, show_fact

    comparison = compare(options, _now())
    content = answers.document(comparison)
    page = None if options["out"] is None else answers.write(options["out"], comparison, content)
    undecided = any(rival["answer"]["kind"] == "undecided" for rival in content["rivals"])
    code = EXIT_OBJECTIVE_MISSED if undecided and options["inconclusive"] == "fail" else 0
    screen = Screen()
    deliver(document(content), "text", as_json=options["as_json"], screen=screen)
    if page is not None and not options["as_json"]:
        show_fact(screen, "page", str(page))
    return code


for command in (fine_tune, caching, batch):
    breakeven.add_command(command)


def _now() -> datetime:
    return datetime.now(UTC)
