"""`bench.py breakeven`: at which volumes servers of one's own cost no more than an API, and small choices beside it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.app.breakeven.options import BatchChoice, BreakEvenOptions, CachingChoice
from bench.cli import groups
from bench.cli.base import OneOf, now, with_options
from bench.cli.completion import names_of
from bench.cli.groups import grouped
from bench.cli.numeric import (
    HOURS,
    MONTHLY_USD,
    PART,
    PER_HOUR,
    PROMPT_TOKENS,
    RATIO,
    REPLICAS,
    REQUESTS_PER_MONTH,
    SECONDS,
    SEED,
    SHARE,
    TOKENS,
    USD,
)  # fmt: skip
from bench.cli.options import COSTS, json_option, printed
from bench.cli.settings import ConfiguredGroup
from bench.exit_codes import EXIT_OBJECTIVE_MISSED

if TYPE_CHECKING:
    from analysis.present.document import Document

HOSTING = groups.group(
    groups.OPERATION,
    click.option("--ops-usd-per-month", type=MONTHLY_USD, default="0", help="Work, storage and all else.  [0]"),
    click.option("--utilization", type=PART, default="0.7", help="Use at most this share of the capacity.  [0.7]"),
    click.option("--min-replicas", type=REPLICAS, default=1, help="Servers that always run.  [1]"),
    click.option("--spare-replicas", type=REPLICAS, default=0, help="Servers kept in reserve.  [0]"),
    click.option(
        "--autoscale", is_flag=True, help="Scale servers with each hour's traffic instead of paying for the peak."
    ),
    click.option("--commit-replicas", type=REPLICAS, help="Servers paid for all month, used or not …"),
    click.option("--commit-usd-per-hour", type=USD, help="… at this price."),
    click.option("--spot-interruptions-per-hour", type=PER_HOUR, help="How often a spot server is taken away …"),
    click.option(
        "--spot-reload-s",
        type=SECONDS,
        help="… and how long its replacement loads, while the API serves.",
    ),
    click.option("--self-good-share", type=PART, default="1", help="Share of their answers that are good enough.  [1]"),
)
"""How servers of one's own are run."""

PEAK = groups.group(
    groups.VOLUME,
    click.option("--peak-to-mean", type=RATIO, help="The busiest hour over the mean one.  [1]"),
)

TRAFFIC = groups.group(
    groups.VOLUME,
    click.option("--requests-per-month", type=REQUESTS_PER_MONTH, help="Your volume.  [that of --traffic]"),
    click.option(
        "--traffic-profile",
        type=click.Path(path_type=Path),
        help="File of 168 weights, one an hour of a week, or 24 of a day.",
    ),
    click.option("--traffic", type=click.Path(path_type=Path), help="File of arrival times, one a line or in CSV."),
)
"""How much traffic, and when."""

REQUESTS = groups.group(
    groups.REQUEST,
    click.option("--prompt-tokens", type=PROMPT_TOKENS, help="Tokens of its prompt, prefix included.  [as measured]"),
    click.option("--output-tokens", type=TOKENS, help="Tokens of its answer.  [as measured]"),
    click.option("--prefix-tokens", type=TOKENS, help="Prompt tokens that requests share.  [as measured]"),
)
"""What a request is."""

CACHING = groups.group(
    groups.API,
    click.option(
        "--cache-ttl", type=OneOf(["5m", "1h", "off"]), default="5m", help="How long the API caches a prefix.  [5m]"
    ),
    click.option("--prefix-weights", help="How often each of several prefixes is used: 3,1,1.  [one]"),
    click.option(
        "--cache-delay",
        type=SECONDS,
        default="0",
        help="Seconds until a prefix can be read.  [0]",
    ),
)
"""How an API is to cache the prefix."""

ROUTING = groups.group(
    groups.ROUTING,
    click.option(
        "--hybrid-share", type=PART, default="1", help="Share of requests offered to your servers first.  [1]"
    ),
    click.option(
        "--pass-rate",
        type=SHARE,
        default="1",
        help="Share of their answers that are accepted; the API redoes the rest.  [1]",
    ),
    click.option("--overflow", is_flag=True, help="Fill your servers first, and send the rest to the API."),
    click.option(
        "--api-good-share", type=PART, default="1", help="Share of the API's answers that are good enough.  [1]"
    ),
)
"""Who serves what."""


@click.group(cls=ConfiguredGroup, invoke_without_command=True)
@grouped(
    groups.SIDES,
    click.option(
        "--self",
        "--capacity-rps",
        "servers",
        multiple=True,
        metavar="RUN|CAPACITY|RATE",
        shell_complete=names_of("runs"),
        help="Your servers: a run, a folder of `capacity`, or requests/s such as 2 or 1.8..2.2, @GPU; repeatable.",
    ),
    click.option(
        "--versus",
        multiple=True,
        metavar="MODEL|RUN|USD",
        help="An API: MODEL, PROVIDER/MODEL, a run of it, or dollars a request; repeatable.",
    ),
)
@with_options((*COSTS, *REQUESTS, *TRAFFIC, *PEAK, *CACHING))
@grouped(groups.API, click.option("--batch", is_flag=True, help="Use the API's batch prices."))
@with_options((*HOSTING, *ROUTING))
@grouped(
    groups.OBJECTIVES,
    click.option("--model", help="What you serve: refuse a capacity above its roofline on --gpu."),
    click.option("--different-plans", is_flag=True, help="Compare runs of different loads."),
    click.option(
        "--inconclusive",
        type=OneOf(["pass", "fail"]),
        default="pass",
        help="Whether an undecided result exits with 1.  [pass]",
    ),
    click.option("--seed", type=SEED, default=0, help="Seed of the resampling.  [0]"),
)
@grouped(
    groups.RESULT,
    click.option("--out", type=click.Path(path_type=Path), help="Folder for breakeven.json, a page and its figures."),
    json_option(),
)
@click.pass_context
def breakeven(ctx: click.Context, /, **options: Any) -> int:
    """Find the volumes at which your own servers cost no more.

    The answer is a set of volumes: a point, intervals, never, always, or undecided where measurements do not tell.

    \b
    bench.py breakeven --self 2 --gpu rtx-4090 --versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200
    bench.py breakeven --self results/capacity-… --gpu l4 --versus claude-haiku-5-5 --versus openrouter/qwen/qwen3-14b
    bench.py breakeven --self 2@l4 --self 9@h100-sxm --versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200
    bench.py breakeven fine-tune --train-usd 120 --prompted-usd 0.0045 --tuned-usd 0.0030
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from analysis.present.of_breakeven import document
    from bench.app.breakeven.comparison import compare
    from bench.cli.output import Screen, deliver, show_fact

    out, as_json, inconclusive = (options.pop(name) for name in ("out", "as_json", "inconclusive"))
    comparison = compare(BreakEvenOptions(**options), now())
    page = None
    if out is not None:
        # Only here, because the charts take a while to import.
        from bench.app.breakeven.folder import write

        page = write(out, comparison)
    screen = Screen()
    deliver(document(comparison), "text", as_json=as_json, screen=screen)
    if page is not None and not as_json:
        show_fact(screen, "page", str(page))
    return EXIT_OBJECTIVE_MISSED if comparison.undecided and inconclusive == "fail" else 0


# --- small choices beside it ------------------------------------------------------------------------------------------


@click.command("fine-tune")
@click.option("--train-usd", type=MONTHLY_USD, required=True, help="What training costs, once.")
@click.option("--prompted-usd", type=USD, required=True, help="A request with the long prompt.")
@click.option("--tuned-usd", type=USD, required=True, help="A request to the tuned model.")
@printed()
def fine_tune(train_usd: Any, prompted_usd: Any, tuned_usd: Any) -> "Document":
    """After how many requests a fine-tuned model is repaid.

    On servers of your own that cache prefixes a long prompt costs little: give measured amounts.

    \b
    bench.py breakeven fine-tune --train-usd 120 --prompted-usd 0.0045 --tuned-usd 0.0030
    """
    from bench.app.breakeven import choices

    return choices.fine_tune(train_usd, prompted_usd, tuned_usd)


@click.command()
@click.option("--versus", required=True, help="MODEL or PROVIDER/MODEL.")
@with_options((*REQUESTS, *CACHING, *TRAFFIC))
@printed()
def caching(**options: Any) -> "Document":
    """From which volume on an API's prompt cache pays.

    \b
    bench.py breakeven caching --versus claude-haiku-5-5 --prompt-tokens 3000 --prefix-tokens 2500 --output-tokens 200
    """
    from bench.app.breakeven import choices

    return choices.caching(CachingChoice(**options), now())


@click.command()
@click.option("--versus", help="MODEL or PROVIDER/MODEL; or give both amounts.")
@with_options(REQUESTS)
@click.option("--live-usd", type=USD, help="A request, answered at once.")
@click.option("--batch-usd", type=USD, help="A request in a batch.")
@click.option("--deadline-h", type=HOURS, required=True, help="Hours in which an answer is wanted.")
@click.option("--window-h", type=HOURS, help="Hours that a batch may take.  [the API's, else 24]")
@printed()
def batch(**options: Any) -> "Document":
    """Whether to send requests that can wait as a batch.

    \b
    bench.py breakeven batch --versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200 --deadline-h 48
    """
    from bench.app.breakeven import choices

    return choices.batch(BatchChoice(**options), now())


for command in (fine_tune, caching, batch):
    breakeven.add_command(command)
