"""`bench.py run`: one load, one backend, one folder; and the options that every command with a load has."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.app.options import RunOptions
from bench.cli.base import OUT_OF_MEMORY, OneOf, echo, keep_secret, shown, with_options
from bench.cli.numeric import USD, Within
from bench.cli.results import WINDOWS, conclude, exit_code_of
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED
from bench.types import UserError

if TYPE_CHECKING:
    from bench.app.request import RunRequest
    from bench.cli.output import Screen
    from bench.load.controller import Progress
    from bench.server.launch import Server

MAX_REPEATS = 50
ON_OFF = ("on", "off")

ASKED = (
    click.option("--backend", default="llamacpp", metavar="NAME", help="See `backends`.  [llamacpp]"),
    click.option("--model", default="tiny", help="A name of `models`, a path, or what the server calls it.  [tiny]"),
    click.option("--scenario", default="chat", help="A name of `scenarios`, or a YAML file.  [chat]"),
    click.option("--url", help="Use a running server, by its API's base URL, instead of launching one."),
    click.option("--seed", type=int, default=0, help="Of prompts, lengths and arrivals.  [0]"),
    click.option("--prompt-tokens", type=int, help="Every prompt this long instead of the scenario's lengths."),
    click.option("--output-tokens", type=int, help="Every answer this long instead of the scenario's lengths."),
    click.option(
        "--cache", type=OneOf(["cold", "warm"]), default="cold", help="New prompts, or warm runs' own.  [cold]"
    ),
    click.option("--tokenizer", type=click.Path(path_type=Path), help="Folder or tokenizer.json.  [the server counts]"),
    click.option("--workers", type=int, default=1, help="Load processes.  [1]"),
    click.option("--slo", multiple=True, help="An objective such as 'ttft_ms:p99<500'; repeatable."),
    click.option("--timeout", default="120s", help="Ends one request.  [120s]"),
    click.option("--stall-timeout", default="30s", help="Ends one request when no byte comes for this long.  [30s]"),
    click.option("--max-body", default="64MiB", help="Ends one request whose answer is larger.  [64MiB]"),
    click.option("--ready-timeout", help="For a server to get ready.  [launched: 120s; with --url: at once]"),
    click.option("--server", help="llamacpp: xllamacpp, llama-cpp-python, or a llama-server binary.  [xllamacpp]"),
    click.option("--server-python", help="Python in which the server to launch is installed.  [see docs/backends.md]"),
    click.option("--server-cmd", help="Words to launch it by instead; its flags are added."),
    click.option("--server-arg", multiple=True, help="Passed to the launched server; repeatable."),
    click.option("--port", type=int, help="Of the launched server.  [a free one]"),
    click.option("--dialect", help="tgi: native or chat.  [native]"),
    click.option("--adapter", help="vllm, tgi: the LoRA adapter to ask for."),
    click.option("--thinking", help="claude, vllm: on, off; claude: so many tokens.  [the scenario's]"),
    click.option("--cache-ttl", help="claude: 5m, 1h or off, for a prefix that the scenario shares.  [5m]"),
    click.option("--service-tier", help="claude: auto or standard_only.  [the API's]"),
    click.option("--max-usd", help="Never spend more than this; 'none' lifts the limit.  [1.00 for an API that bills]"),
    click.option(
        "--backoff", type=OneOf(ON_OFF), default="on", help="A closed loop's slot waits when it was refused.  [on]"
    ),
    click.option(
        "--quick-ack", type=OneOf(ON_OFF), default="off", help="Acknowledge at once, as users' clients do not.  [off]"
    ),
    click.option("--header", multiple=True, help="'NAME: VALUE' of every request; $VAR is a secret; repeatable."),
    click.option("--ca-file", help="PEM file to verify the server's certificate with.  [the system's]"),
    click.option("--client-cert", help="PEM file with the certificate that this client shows."),
    click.option("--client-key", help="PEM file with its key.  [in --client-cert]"),
)
"""What is asked of whom: all options of a run but how much load there is."""

COSTS = (
    click.option("--gpu", metavar="NAME[@PROVIDER][:KIND]", help="What it runs on, at the price of `prices --gpu`."),
    click.option("--gpus", type=Within(1, 4096, whole=True), help="How many of them.  [1]"),
    click.option("--usd-per-hour", type=USD, help="What an hour of it costs, instead."),
    click.option("--owned", help="Hardware of your own: price_usd=…,months=…,watts=…,usd_per_kwh=…"),
    click.option("--prices", type=click.Path(path_type=Path, exists=True), help="A file with GPU prices of your own."),
)
"""What servers of one's own cost."""

OFFERED = (
    click.option("--concurrency", type=int, help="Closed loop: this many requests in flight."),
    click.option("--rate", type=float, help="Open loop: this many requests per second, come what may."),
    click.option("--arrivals", type=OneOf(["poisson", "constant"]), help="Of the open loop.  [poisson]"),
    click.option("--max-in-flight", type=int, help="Limit of the open loop.  [1024]"),
    click.option("--overload", type=OneOf(["wait", "drop"]), help="What happens beyond it.  [wait]"),
    click.option("--requests", type=int, help="Measure this many requests …"),
    click.option("--duration", help="… or for this long: 60s, 2m."),
    click.option("--warmup", help="Before it, not measured: a number of requests, or a time with --duration."),
)
"""How much load there is."""


@click.command()
@with_options((*ASKED, *COSTS, *OFFERED))
@click.option("--window", type=OneOf(WINDOWS), default="planned", help="steady: without the transient.  [planned]")
@click.option("--repeat", type=int, default=1, help="Make this many runs of it, 50 at most.  [1]")
@click.option("--keep-server", is_flag=True, help="With --repeat: launch the server once for all runs.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [results/<run-id>]")
@click.option("--dry-run", is_flag=True, help="Print the plan and what it may cost; send nothing.")
@click.option("--batch", is_flag=True, help="With --dry-run: at the API's prices for batches.")
@click.option("--locust-web", type=int, help="Serve Locust's page on this loopback port.")
def run(repeat: int, keep_server: bool, dry_run: bool, batch: bool, **options: Any) -> int:
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
        raise UserError("--batch: batches are priced and not load-tested; give --dry-run as well, or leave it out")
    request = request_of(options)
    runs = _runs(repeat, request.url, keep_server=keep_server)
    if dry_run:
        _dry_run(request, runs, batch=batch)
        return 0

    from bench.cli.output import Screen

    screen = Screen()
    if runs > 1:
        from bench.cli import repeat as repeats

        return repeats.repeat(request, runs, screen, keep_server=keep_server)
    stopped = observe(request, screen)
    try:
        with captured_is_kept(request.out):
            code = conclude(request.out, screen)
    except (UserError, MemoryError) as problem:
        # Something was measured, which an exit code of wrong use would deny.
        echo(f"error: {OUT_OF_MEMORY if isinstance(problem, MemoryError) else problem}", err=True)
        code = EXIT_NOT_TO_BE_TRUSTED
    return exit_code_of(stopped, code)


def request_of(options: Mapping[str, Any]) -> "RunRequest":
    """The request of a run from its flags; what of it is secret is not printed from now on."""
    from bench.app.request import run_request

    request = run_request(RunOptions.of(options), sys.argv)
    keep_secret(request.access.secrets)
    return request


def _runs(asked: int, url: str | None, *, keep_server: bool) -> int:
    """How many runs are asked for; UserError for flags that do not fit that."""
    from bench.plan.resolve import within

    runs: int = within("--repeat", asked, 1, MAX_REPEATS)
    if keep_server and (runs == 1 or url is not None):
        raise UserError("--keep-server is for --repeat with a server this command launches; leave it out")
    return runs


def observe(
    request: "RunRequest",
    screen: "Screen",
    server: "Server | None" = None,
    stop: "Callable[[Progress], str | None]" = lambda _: None,
) -> str | None:
    """Offer the load and leave what was observed in the run's folder; returns why it stopped early, if it did.

    `stop` ends it early by giving a reason.
    """
    from dataclasses import asdict

    from analysis import wording
    from bench.app import run as running
    from bench.cli.screen import ProgressView
    from bench.runs.live import LiveFigures

    say = sayer(screen)

    @contextmanager
    def watch() -> "Iterator[Callable[[Progress], None]]":
        say(f"scenario {request.workload.scenario.name}: {wording.load(asdict(request.workload.load))}")
        with (
            captured_is_kept(request.out),
            ProgressView(screen, request.workload.load, LiveFigures(request.out, request.backend.decode)) as view,
        ):
            yield view.update

    stopped = running.run(request, say, watch, server, stop)
    if stopped is not None:
        say(f"stopped early: {stopped}")
    return stopped


def sayer(screen: "Screen") -> Callable[[str], None]:
    """Give what takes lines for the user and prints them as they are."""
    return lambda line: screen.print(shown(line), highlight=False, soft_wrap=not screen.is_terminal, markup=False)


@contextmanager
def captured_is_kept(folder: Path) -> Iterator[None]:
    """Say where what was captured lies when the block fails."""
    try:
        yield
    except BaseException:
        if folder.exists():
            echo(f"what was captured is kept, to report it: bench.py decode {folder}", err=True)
        raise


def _dry_run(request: "RunRequest", runs: int, *, batch: bool) -> None:
    """Print what each run would offer and what it may cost. Nobody is asked anything, so prompts may not be counted."""
    from dataclasses import asdict

    from analysis import wording
    from bench.app.pricing import estimate
    from bench.app.run import dry_plan
    from bench.plan.calls import lengths, plan_hash, total

    plan = dry_plan(request)
    echo(f"scenario {request.workload.scenario.name}: {wording.load(asdict(request.workload.load))}")
    count = total(plan)
    if count is not None:
        prompt, output = (sum(tokens) for tokens in zip(*(lengths(plan, seq) for seq in range(count)), strict=True))
        counted = "by the tokenizer" if plan.vocabulary.exact else "one token a word assumed"
        echo(f"plan: {count:,} requests, {prompt:,} prompt tokens ({counted}), {output:,} output tokens at most")
    echo(f"plan hash: {plan_hash(plan)}")
    if request.costs.budget is not None:
        echo(estimate(plan, request.costs.budget, batch=batch))
    if runs > 1:
        echo(f"{runs} runs of this, each with all of it; --max-usd is for all together")
    echo("nothing was sent")
