"""The options of every command that makes runs, each under the name it has in bench.app.options."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bench.cli import groups
from bench.cli.base import OneOf, owe_json
from bench.cli.completion import files, names_of
from bench.cli.numeric import USD, WHOLE, NumberWithin


def _owe_json(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> bool:
    if wanted:
        owe_json(wanted)
    return wanted


def json_option(of_what: str = "") -> groups.Decorator:
    """`--json`, which every command that answers takes."""
    help = f"Print JSON{of_what}, also where it fails."
    option = click.option("--json", "as_json", is_flag=True, is_eager=True, callback=_owe_json, help=help)
    return groups.grouped(groups.RESULT, option)


def printed(of_what: str = "") -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Print the Document that a command gives, if it gives one; `--json` prints its data."""

    def decorate(command: Callable[..., Any]) -> Callable[..., None]:
        @wraps(command)
        def run(*arguments: Any, as_json: bool, **options: Any) -> None:
            # What draws on a terminal is not for --help.
            from bench.cli.output import deliver

            if (document := command(*arguments, **options)) is not None:
                deliver(document, "text", as_json=as_json)

        decorated: Callable[..., None] = json_option(of_what)(run)
        return decorated

    return decorate


SLO = click.option(
    "--slo",
    multiple=True,
    shell_complete=names_of("objectives"),
    help="An objective such as 'ttft_ms:p99<500'; repeatable.",
)
SHOWN = groups.group(
    groups.RESULT,
    json_option(),
    click.option("--quiet", is_flag=True, help="Print nothing to standard error except errors."),
)
"""What a command prints: its result on standard output, its progress on standard error."""

ON_OFF = ("on", "off")
STAMPS = ("auto", "packets", "kernel", "user")
WINDOWS = ("planned", "steady")

ASKED = (
    *groups.group(
        groups.WHOM,
        click.option(
            "--backend",
            metavar="NAME",
            shell_complete=names_of("backends"),
            help="See `backends`.  [llamacpp; with --url whatever answers there]",
        ),
        click.option(
            "--model",
            shell_complete=names_of("models"),
            help="A name from `models`, a path, or the server's name for it.  [tiny; with --url the only one served]",
        ),
        click.option("--url", help="Use a running server at this base URL instead of launching one."),
    ),
    *groups.group(
        groups.WHAT,
        click.option(
            "--scenario",
            default="chat",
            shell_complete=names_of("scenarios"),
            help="A name from `scenarios`, or a YAML file.  [chat]",
        ),
        click.option(
            "--dataset", metavar="FILE", shell_complete=files, help="Your own prompts: a file, a folder or a pattern."
        ),
        click.option(
            "--dataset-output", type=OneOf(["file", "scenario"]), help="Where answer lengths come from.  [file]"
        ),
        click.option(
            "--images",
            metavar="FOLDER",
            shell_complete=files,
            help="Send an image from it with each request, chosen by the seed.",
        ),
        click.option(
            "--prompt-tokens", type=WHOLE, help="Make every prompt this long, instead of the scenario's lengths."
        ),
        click.option(
            "--output-tokens", type=WHOLE, help="Make every answer this long, instead of the scenario's lengths."
        ),
        click.option("--turns", metavar="N|A..B", help="Turns per session.  [the scenario's]"),
        click.option("--think-time", metavar="TIME", help="Pause before a turn: 5s, exponential:5s, lognormal:5s:1."),
        click.option(
            "--history",
            type=OneOf(["actual", "planned"]),
            help="Build the next turn on actual answers or on planned ones.  [actual]",
        ),
        click.option(
            "--cache",
            type=OneOf(["cold", "warm"]),
            default="cold",
            help="cold: prompts new to any cache; warm: those of other warm runs.  [cold]",
        ),
        click.option("--seed", type=WHOLE, default=0, help="Seed for prompts, lengths and arrivals.  [0]"),
    ),
    *groups.group(
        groups.OBJECTIVES,
        SLO,
        click.option("--goodput", help="Limits that make a request count as good: 'ttft:200 tpot:50 e2el:5000'."),
    ),
    *groups.group(
        groups.COST,
        click.option(
            "--max-usd", help="Never spend more than this; 'none' lifts the limit.  [1.00 for an API that bills]"
        ),
    ),
    *groups.group(
        groups.LAUNCH,
        click.option(
            "--server",
            shell_complete=files,
            help="llamacpp: xllamacpp, llama-cpp-python or a llama-server; exec: process or kept.",
        ),
        click.option(
            "--server-python",
            shell_complete=files,
            help="Python that has the server installed.  [see docs/backends.md]",
        ),
        click.option("--server-cmd", help="Command that launches it instead; flags are appended."),
        click.option("--server-arg", multiple=True, help="Passed on to the launched server; repeatable."),
        click.option("--port", type=WHOLE, help="Port of the launched server.  [a free one]"),
        click.option(
            "--ready-timeout", help="Time a server may take to get ready.  [launched: 120s; with --url: none]"
        ),
        click.option(
            "--command", help="exec: the program to run, such as './run model.bin -n {output_tokens} -i {prompt}'."
        ),
    ),
    *groups.group(
        groups.WORDING,
        click.option("--dialect", help="tgi: native or chat.  [native]"),
        click.option("--route", help="openai, vllm, llamacpp: chat, completions or responses.  [chat]"),
        click.option("--no-stream", is_flag=True, help="Ask for whole answers, which leaves token times unknown."),
        click.option("--temperature", help="A number, or server for its default.  [the scenario's, 0; claude: server]"),
        click.option("--top-p", help="Sample from the likeliest tokens with this total probability.  [the server's]"),
        click.option(
            "--seed-requests", type=OneOf(ON_OFF), help="Send a seed with each request.  [on, where supported]"
        ),
        click.option("--thinking", help="claude, vllm: on or off; claude: a token budget.  [the scenario's]"),
        click.option("--adapter", help="vllm, tgi: name of the LoRA adapter; llamacpp: its number."),
        click.option("--tools", metavar="JSON|FILE", shell_complete=files, help="Functions the model may call."),
        click.option(
            "--response-format",
            metavar="JSON|FILE",
            shell_complete=files,
            help="json_object, or a JSON schema for the answers.",
        ),
        click.option(
            "--extra-body",
            metavar="JSON|FILE",
            shell_complete=files,
            help="Extra fields for every request; a value '$VAR' is a secret.",
        ),
        click.option("--cache-ttl", help="claude: 5m, 1h or off, for a shared prefix.  [5m]"),
        click.option("--service-tier", help="claude: auto or standard_only.  [the API's]"),
    ),
    *groups.group(
        groups.CONNECTION,
        click.option("--header", multiple=True, help="'NAME: VALUE' for every request; $VAR is a secret; repeatable."),
        click.option(
            "--ca-file", shell_complete=files, help="PEM file that verifies the server's certificate.  [the system's]"
        ),
        click.option("--client-cert", shell_complete=files, help="PEM file with this client's certificate."),
        click.option(
            "--client-key", shell_complete=files, help="PEM file with the certificate's key.  [in --client-cert]"
        ),
        click.option("--timeout", default="120s", help="End a request that takes longer than this.  [120s]"),
        click.option(
            "--stall-timeout", default="30s", help="End a request that receives nothing for this long.  [30s]"
        ),
        click.option("--max-body", default="64MiB", help="End a request whose answer is larger than this.  [64MiB]"),
        click.option(
            "--backoff", type=OneOf(ON_OFF), default="on", help="Closed loop: wait after a refused request.  [on]"
        ),
    ),
    *groups.group(
        groups.METRICS,
        click.option(
            "--metrics-url", multiple=True, help="Metrics of the server's GPU, node or engine exporter; repeatable."
        ),
        click.option(
            "--metrics-gpu", multiple=True, help="Its GPUs among those: number, UUID, LABEL=VALUE; repeatable.  [all]"
        ),
        click.option(
            "--grid-gco2e-per-kwh", type=USD, metavar="GRAMS", help="Emissions per kWh where the server runs."
        ),
    ),
    *groups.group(
        groups.CLIENT,
        click.option("--workers", type=WHOLE, default=1, help="Load processes.  [1]"),
        click.option(
            "--tokenizer",
            type=click.Path(path_type=Path),
            help="tokenizer.json or its folder, to count tokens.  [the server counts]",
        ),
        click.option(
            "--stamps",
            type=OneOf(STAMPS),
            default="auto",
            help="Who timestamps arrivals.  [auto: the best permitted]",
        ),
        click.option(
            "--late-reads",
            type=OneOf(ON_OFF),
            default="on",
            help="With packet stamps, let a busy client read later.  [on]",
        ),
        click.option(
            "--quick-ack",
            type=OneOf(ON_OFF),
            default="off",
            help="Acknowledge packets at once, unlike ordinary clients.  [off]",
        ),
    ),
)
"""What is asked of whom: all options of a run but how much load there is."""

COSTS = groups.group(
    groups.COST,
    click.option(
        "--gpu",
        metavar="NAME[@PROVIDER][:KIND]",
        shell_complete=names_of("gpus"),
        help="The GPU it runs on, at the price from `prices --gpu`.",
    ),
    click.option("--gpus", type=NumberWithin(1, 4096, whole=True), help="Number of GPUs.  [1]"),
    click.option("--usd-per-hour", type=USD, help="Price of an hour of it, instead of --gpu."),
    click.option("--owned", help="Hardware you own: price_usd=…,months=…,watts=…,usd_per_kwh=…"),
    click.option("--prices", type=click.Path(path_type=Path, exists=True), help="File with your own GPU prices."),
)
"""What servers of one's own cost."""

OFFERED = groups.group(
    groups.LOAD,
    click.option("--concurrency", type=WHOLE, help="Closed loop: requests (or sessions) in flight."),
    click.option("--rate", help="Open loop: requests/s (or sessions/s); 1..10:5m is a ramp, inf is all at once."),
    click.option("--requests", type=WHOLE, help="Measure this many requests …"),
    click.option("--duration", help="… or for this long: 60s, 2m …"),
    click.option("--sessions", type=WHOLE, help="… or this many sessions, in scenarios with turns."),
    click.option("--warmup", help="Not measured, before that: a number of requests; with --duration a time."),
    click.option("--arrivals", help="Open loop: poisson, constant, gamma:CV for bursts, profile:FILE.  [poisson]"),
    click.option("--max-in-flight", type=WHOLE, help="Open loop: most requests in flight.  [1024]"),
    click.option(
        "--overload", type=OneOf(["wait", "drop"]), help="What happens to requests beyond that limit.  [wait]"
    ),
    click.option(
        "--trace", metavar="FILE", shell_complete=files, help="Recorded traffic, replayed at its recorded times."
    ),
    click.option("--speed", metavar="X", help="Replay the trace this many times faster.  [1]"),
    click.option("--from", "from_", metavar="TIME", help="Skip this much of the trace, such as 10m."),
    click.option("--for", "for_", metavar="TIME", help="Replay this much of the trace, such as 1h."),
)
"""How much load there is."""

JUDGED = (
    *groups.group(
        groups.OBJECTIVES,
        click.option(
            "--threshold",
            multiple=True,
            shell_complete=names_of("measures"),
            help="Smallest change that matters: ttft_ms:p99=5%; repeatable.",
        ),
        click.option(
            "--inconclusive",
            type=OneOf(["pass", "fail"]),
            default="pass",
            help="Whether an inconclusive result passes.  [pass]",
        ),
        click.option("--different-plans", is_flag=True, help="Compare runs of different requests."),
        click.option("--untrusted", is_flag=True, help="Compare runs whose verdict is invalid."),
    ),
    *groups.group(
        groups.RESULT,
        click.option("--format", "form", type=OneOf(["text", "markdown", "csv"]), default="text", help="[text]"),
        json_option(),
        click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file."),
    ),
)
"""How two sides are judged and how that is told: options of every command that compares."""
