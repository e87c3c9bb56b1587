"""The options of every command that makes runs, each under the name it has in bench.app.options."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from bench.cli import groups
from bench.cli.base import OneOf, owe_json
from bench.cli.completion import names_of
from bench.cli.numeric import USD, WHOLE, Within


def _owe_json(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> bool:
    if wanted:
        owe_json(wanted)
    return wanted


def printed(json_help: str = "Print JSON.") -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Print the Document that a command gives, if it gives one; `--json` prints its data."""

    def decorate(command: Callable[..., Any]) -> Callable[..., None]:
        @click.option("--json", "as_json", is_flag=True, help=json_help)
        @wraps(command)
        def run(*arguments: Any, as_json: bool, **options: Any) -> None:
            # What draws on a terminal is not for --help.
            from bench.cli.output import deliver

            if (document := command(*arguments, **options)) is not None:
                deliver(document, "text", as_json=as_json)

        return run

    return decorate


SHOWN = groups.group(
    groups.RESULT,
    click.option(
        "--json", "as_json", is_flag=True, is_eager=True, callback=_owe_json, help="Print JSON, also where it fails."
    ),
    click.option("--quiet", is_flag=True, help="Say nothing on standard error but what goes wrong."),
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
            help="See `backends`.  [llamacpp; with --url what answers there]",
        ),
        click.option(
            "--model",
            shell_complete=names_of("models"),
            help="A name of `models`, a path, or what the server calls it.  [tiny; with --url the only one it serves]",
        ),
        click.option("--url", help="Use a running server, by its API's base URL, instead of launching one."),
    ),
    *groups.group(
        groups.WHAT,
        click.option(
            "--scenario",
            default="chat",
            shell_complete=names_of("scenarios"),
            help="A name of `scenarios`, or a YAML file.  [chat]",
        ),
        click.option("--dataset", metavar="FILE", help="Prompts of your own: a file, a folder or a pattern."),
        click.option("--dataset-output", type=OneOf(["file", "scenario"]), help="Whose lengths answers have.  [file]"),
        click.option("--images", metavar="FOLDER", help="Send one of its images with each request, drawn by the seed."),
        click.option("--prompt-tokens", type=WHOLE, help="Every prompt this long instead of the scenario's lengths."),
        click.option("--output-tokens", type=WHOLE, help="Every answer this long instead of the scenario's lengths."),
        click.option("--turns", metavar="N|A..B", help="Sessions of so many turns.  [the scenario's]"),
        click.option("--think-time", metavar="TIME", help="Before a turn: 5s, exponential:5s, lognormal:5s:1."),
        click.option(
            "--history",
            type=OneOf(["actual", "planned"]),
            help="Remember the answers that came back, or planned ones.  [actual]",
        ),
        click.option(
            "--cache", type=OneOf(["cold", "warm"]), default="cold", help="New prompts, or warm runs' own.  [cold]"
        ),
        click.option("--seed", type=WHOLE, default=0, help="Of prompts, lengths and arrivals.  [0]"),
    ),
    *groups.group(
        groups.OBJECTIVES,
        click.option("--slo", multiple=True, help="An objective such as 'ttft_ms:p99<500'; repeatable."),
        click.option("--goodput", help="Bounds by which requests are counted as good: 'ttft:200 tpot:50 e2el:5000'."),
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
            "--server", help="llamacpp: xllamacpp, llama-cpp-python or a llama-server; exec: process or kept."
        ),
        click.option(
            "--server-python", help="Python in which the server to launch is installed.  [see docs/backends.md]"
        ),
        click.option("--server-cmd", help="Words to launch it by instead; its flags are added."),
        click.option("--server-arg", multiple=True, help="Passed to the launched server; repeatable."),
        click.option("--port", type=WHOLE, help="Of the launched server.  [a free one]"),
        click.option("--ready-timeout", help="For a server to get ready.  [launched: 120s; with --url: at once]"),
        click.option("--command", help="exec: the program, such as './run model.bin -n {output_tokens} -i {prompt}'."),
    ),
    *groups.group(
        groups.WORDING,
        click.option("--dialect", help="tgi: native or chat.  [native]"),
        click.option("--route", help="openai, vllm, llamacpp: chat, completions or responses.  [chat]"),
        click.option(
            "--no-stream", is_flag=True, help="Ask for answers in one piece: no time is known of their tokens."
        ),
        click.option(
            "--temperature", help="A number, or server for its own default.  [the scenario's, 0; claude: server]"
        ),
        click.option("--top-p", help="Draw from the likeliest tokens of this share.  [the server's]"),
        click.option(
            "--seed-requests", type=OneOf(ON_OFF), help="Send a seed with each request.  [on, where it is taken]"
        ),
        click.option("--thinking", help="claude, vllm: on, off; claude: so many tokens.  [the scenario's]"),
        click.option("--adapter", help="vllm, tgi: the LoRA adapter to ask for; llamacpp: its number."),
        click.option("--tools", metavar="JSON|FILE", help="Functions that the model may call."),
        click.option("--response-format", metavar="JSON|FILE", help="json_object, or the JSON schema of every answer."),
        click.option(
            "--extra-body", metavar="JSON|FILE", help="Fields for every request; '$VAR' as a value is a secret."
        ),
        click.option("--cache-ttl", help="claude: 5m, 1h or off, for a prefix that the scenario shares.  [5m]"),
        click.option("--service-tier", help="claude: auto or standard_only.  [the API's]"),
    ),
    *groups.group(
        groups.CONNECTION,
        click.option("--header", multiple=True, help="'NAME: VALUE' of every request; $VAR is a secret; repeatable."),
        click.option("--ca-file", help="PEM file to verify the server's certificate with.  [the system's]"),
        click.option("--client-cert", help="PEM file with the certificate that this client shows."),
        click.option("--client-key", help="PEM file with its key.  [in --client-cert]"),
        click.option("--timeout", default="120s", help="Ends one request.  [120s]"),
        click.option(
            "--stall-timeout", default="30s", help="Ends one request when no byte comes for this long.  [30s]"
        ),
        click.option("--max-body", default="64MiB", help="Ends one request whose answer is larger.  [64MiB]"),
        click.option(
            "--backoff", type=OneOf(ON_OFF), default="on", help="A closed loop's slot waits when it was refused.  [on]"
        ),
    ),
    *groups.group(
        groups.METRICS,
        click.option("--metrics-url", multiple=True, help="Of a GPU, node or engine exporter of its; repeatable."),
        click.option(
            "--metrics-gpu", multiple=True, help="GPUs there by number, UUID, LABEL=VALUE; repeatable.  [all]"
        ),
        click.option("--grid-gco2e-per-kwh", type=USD, metavar="GRAMS", help="What a kWh emits where the server is."),
    ),
    *groups.group(
        groups.CLIENT,
        click.option("--workers", type=WHOLE, default=1, help="Load processes.  [1]"),
        click.option(
            "--tokenizer", type=click.Path(path_type=Path), help="Folder or tokenizer.json.  [the server counts]"
        ),
        click.option(
            "--stamps",
            type=OneOf(STAMPS),
            default="auto",
            help="Of arrivals: by packets, kernel or user.  [auto]",
        ),
        click.option(
            "--late-reads", type=OneOf(ON_OFF), default="on", help="A busy client with packet stamps reads later.  [on]"
        ),
        click.option(
            "--quick-ack",
            type=OneOf(ON_OFF),
            default="off",
            help="Acknowledge at once, as users' clients do not.  [off]",
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
        help="What it runs on, at the price of `prices --gpu`.",
    ),
    click.option("--gpus", type=Within(1, 4096, whole=True), help="How many of them.  [1]"),
    click.option("--usd-per-hour", type=USD, help="What an hour of it costs, instead."),
    click.option("--owned", help="Hardware of your own: price_usd=…,months=…,watts=…,usd_per_kwh=…"),
    click.option("--prices", type=click.Path(path_type=Path, exists=True), help="A file with GPU prices of your own."),
)
"""What servers of one's own cost."""

OFFERED = groups.group(
    groups.LOAD,
    click.option("--concurrency", type=WHOLE, help="Closed loop: this many requests in flight (or sessions)."),
    click.option("--rate", help="Open loop: so many requests/s (or sessions/s); 1..10:5m ramps; inf: all at once."),
    click.option("--requests", type=WHOLE, help="Measure this many requests …"),
    click.option("--duration", help="… or for this long: 60s, 2m …"),
    click.option("--sessions", type=WHOLE, help="… or this many sessions of a scenario with turns."),
    click.option("--warmup", help="Before it, not measured: a number of requests, or a time with --duration."),
    click.option("--arrivals", help="Of it: poisson, constant, gamma:CV for bursts, profile:FILE.  [poisson]"),
    click.option("--max-in-flight", type=WHOLE, help="Limit of the open loop.  [1024]"),
    click.option("--overload", type=OneOf(["wait", "drop"]), help="What happens beyond it.  [wait]"),
    click.option("--trace", metavar="FILE", help="Recorded traffic, replayed at the times it came."),
    click.option("--speed", metavar="X", help="Of the trace: so many times faster than it came.  [1]"),
    click.option("--from", "from_", metavar="TIME", help="Of the trace: leave out what came before, such as 10m."),
    click.option("--for", "for_", metavar="TIME", help="Of the trace: send so much of it, such as 1h."),
)
"""How much load there is."""

JUDGED = (
    *groups.group(
        groups.OBJECTIVES,
        click.option("--threshold", multiple=True, help="Least change that matters: ttft_ms:p99=5%. Repeatable."),
        click.option(
            "--inconclusive", type=OneOf(["pass", "fail"]), default="pass", help="What it is to a gate.  [pass]"
        ),
        click.option("--different-plans", is_flag=True, help="Compare although other requests were measured."),
        click.option("--untrusted", is_flag=True, help="Compare runs although their verdict is invalid."),
    ),
    *groups.group(
        groups.RESULT,
        click.option("--format", "form", type=OneOf(["text", "markdown", "csv"]), default="text", help="[text]"),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file."),
    ),
)
"""How two sides are judged and how that is told: options of every command that compares."""
