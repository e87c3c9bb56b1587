"""`bench.py breakeven`: the volumes at which self-hosting costs no more than an API, and smaller choices."""

from typing import TYPE_CHECKING, Any

import click

from bench.app.breakeven.options import (
    BatchChoice,
    BreakEvenOptions,
    CachingChoice,
    CachingOptions,
    FineTuneChoice,
    HostingOptions,
    RequestOptions,
    RoutingOptions,
    TrafficOptions,
)
from bench.app.options import JudgeOptions
from bench.cli import groups
from bench.cli.base import now
from bench.cli.completion import names_of
from bench.cli.options import COSTS, json_option, options_of, out_option, printed
from bench.cli.settings import ConfiguredGroup
from bench.exit_codes import EXIT_OBJECTIVE_MISSED

if TYPE_CHECKING:
    from analysis.present.document import Document

REQUESTS = options_of(RequestOptions, groups.REQUEST, {
    "prompt_tokens": "Tokens of its prompt, prefix included.  [as measured]",
    "output_tokens": "Tokens of its answer.  [as measured]",
    "prefix_tokens": "Prompt tokens that requests share.  [as measured]",
})  # fmt: skip
TRAFFIC = options_of(TrafficOptions, groups.VOLUME, {
    "requests_per_month": "Requests per month.  [that of --traffic]",
    "traffic_profile": "File of 168 weights, one an hour of a week, or 24 of a day.",
    "traffic": "File of arrival times, one a line or in CSV.",
})  # fmt: skip
CACHING = options_of(CachingOptions, groups.API, {
    "cache_ttl": "How long the API caches a prefix.",
    "prefix_weights": "How often each of several prefixes is used: 3,1,1.  [one]",
    "cache_delay": "Seconds until a prefix can be read.",
})  # fmt: skip


@click.group(cls=ConfiguredGroup, invoke_without_command=True)
@groups.with_options(
    groups.under(groups.SIDES, {
        "servers": click.option(
            "--self",
            "--capacity-rps",
            "servers",
            multiple=True,
            metavar="RUN|CAPACITY|RATE",
            shell_complete=names_of("runs"),
            help="Your servers: a run, a folder of `capacity`, or requests/s such as 2 or 1.8..2.2, @GPU; repeatable.",
        ),
        "versus": click.option(
            "--versus",
            multiple=True,
            metavar="MODEL|RUN|USD",
            help="An API: MODEL, PROVIDER/MODEL, a run of it, or dollars a request; repeatable.",
        ),
    }),
    COSTS,
    REQUESTS,
    TRAFFIC,
    options_of(TrafficOptions, groups.VOLUME, {"peak_to_mean": "Ratio of the busiest hour to the mean hour.  [1]"}),
    CACHING,
    options_of(BreakEvenOptions, groups.API, {"batch": "Use the API's batch prices."}),
    options_of(HostingOptions, groups.OPERATION, {
        "ops_usd_per_month": "Staff, storage and all other costs of running them.",
        "utilization": "Use at most this share of the capacity.",
        "min_replicas": "Servers that always run.",
        "spare_replicas": "Servers kept in reserve.",
        "autoscale": "Scale servers with each hour's traffic instead of paying for the peak.",
        "commit_replicas": "Servers paid for all month, used or not …",
        "commit_usd_per_hour": "… at this price.",
        "spot_interruptions_per_hour": "How often a spot server is taken away …",
        "spot_reload_s": "… and how long its replacement loads, while the API serves.",
        "self_good_share": "Share of their answers that are good enough.",
    }),
    options_of(RoutingOptions, groups.ROUTING, {
        "hybrid_share": "Share of requests offered to your servers first.",
        "pass_rate": "Share of their answers that are accepted; the API redoes the rest.",
        "overflow": "Fill your servers first, and send the rest to the API.",
        "api_good_share": "Share of the API's answers that are good enough.",
    }),
    options_of(BreakEvenOptions, groups.OBJECTIVES, {
        "model": "What you serve: refuse a capacity above its roofline on --gpu.",
        "different_plans": "Compare runs of different loads.",
    }),
    options_of(JudgeOptions, groups.OBJECTIVES, {"inconclusive": "Whether an undecided result exits with 1."}),
    options_of(BreakEvenOptions, groups.OBJECTIVES, {"seed": "Seed of the resampling."}),
    out_option("Folder for breakeven.json, a page and its figures."),
    json_option(),
)  # fmt: skip
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
        # Imported only here, because charts take a while to import.
        from bench.app.breakeven.folder import write

        page = write(out, comparison)
    screen = Screen()
    deliver(document(comparison), "text", as_json=as_json, screen=screen)
    if page is not None and not as_json:
        show_fact(screen, "page", str(page))
    return EXIT_OBJECTIVE_MISSED if comparison.undecided and inconclusive == "fail" else 0


# --- small choices beside it ------------------------------------------------------------------------------------------


@click.command("fine-tune")
@groups.with_options(
    options_of(FineTuneChoice, groups.COST, {
        "train_usd": "Cost of training, once.",
        "prompted_usd": "Cost of a request with the long prompt.",
        "tuned_usd": "Cost of a request to the tuned model.",
    }),
)  # fmt: skip
@printed()
def fine_tune(**options: Any) -> "Document":
    """Find after how many requests fine-tuning pays off.

    Self-hosted servers that cache prefixes make long prompts cheap, so give measured costs.

    \b
    bench.py breakeven fine-tune --train-usd 120 --prompted-usd 0.0045 --tuned-usd 0.0030
    """
    from bench.app.breakeven import choices

    return choices.fine_tune(FineTuneChoice(**options))


@click.command()
@groups.with_options(
    options_of(CachingChoice, groups.SIDES, {"versus": "MODEL or PROVIDER/MODEL."}), REQUESTS, CACHING, TRAFFIC
)
@printed()
def caching(**options: Any) -> "Document":
    """Find the volume from which an API's prompt cache pays off.

    \b
    bench.py breakeven caching --versus claude-haiku-5-5 --prompt-tokens 3000 --prefix-tokens 2500 --output-tokens 200
    """
    from bench.app.breakeven import choices

    return choices.caching(CachingChoice(**options), now())


@click.command()
@groups.with_options(
    options_of(BatchChoice, groups.SIDES, {"versus": "MODEL or PROVIDER/MODEL; or give both costs."}),
    REQUESTS,
    options_of(BatchChoice, groups.COST, {
        "live_usd": "Cost of a request that is answered at once.",
        "batch_usd": "Cost of a request in a batch.",
        "deadline_h": "Hours within which an answer is needed.",
        "window_h": "Hours that a batch may take.  [the API's, else 24]",
    }),
)  # fmt: skip
@printed()
def batch(**options: Any) -> "Document":
    """Decide whether to batch requests that can wait.

    \b
    bench.py breakeven batch --versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200 --deadline-h 48
    """
    from bench.app.breakeven import choices

    return choices.batch(BatchChoice(**options), now())


for command in (fine_tune, caching, batch):
    breakeven.add_command(command)
