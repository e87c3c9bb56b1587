"""The options of commands: help texts for the fields of an options class of bench.app, which has types and defaults."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import click

from bench.app.options import (
    FileOptions,
    HourOptions,
    JsonText,
    JudgeOptions,
    LoadOptions,
    RunOptions,
    ServerOptions,
    WatchOptions,
    flag_of,
    kinds_of,
)
from bench.cli import groups
from bench.cli.base import OneOf, owe_json
from bench.cli.completion import Complete, files, names_of
from bench.cli.groups import Decorator, Options
from bench.cli.numeric import NUMBER, WHOLE, NumberWithin

Form = Literal["text", "markdown", "csv"]

_PLACEHOLDERS: Final[Mapping[str, str]] = {
    "arrivals": "PROCESS", "backend": "NAME", "ca_file": "FILE", "client_cert": "FILE", "client_key": "FILE",
    "command": "COMMAND", "dataset": "FILE", "decide": "MEASURE", "duration": "TIME", "for_": "TIME", "from_": "TIME",
    "gpu": "NAME[@PROVIDER][:KIND]", "grid_gco2e_per_kwh": "GRAMS", "header": "'NAME: VALUE'", "images": "FOLDER",
    "max_body": "SIZE", "max_time": "TIME", "max_usd": "USD", "metrics_gpu": "GPU", "metrics_url": "URL",
    "model": "NAME|PATH", "quantization": "NAME", "rate": "RATE", "ready_timeout": "TIME", "scenario": "NAME|FILE",
    "server_cmd": "COMMAND", "slo": "OBJECTIVE", "speed": "X", "stall_timeout": "TIME", "temperature": "T",
    "think_time": "TIME", "timeout": "TIME", "top_p": "P", "trace": "FILE", "traffic": "FILE", "turns": "N|A..B",
    "url": "URL", "warmup": "N|TIME",
}  # fmt: skip
"""What help shows in place of a value, by the option's name, where its type does not say it."""

_COMPLETED: Final[Mapping[str, Complete]] = {
    "backend": names_of("backends"),
    "decide": names_of("measures"),
    "gpu": names_of("gpus"),
    "measured": names_of("runs"),
    "model": names_of("models"),
    "scenario": names_of("scenarios"),
    "slo": names_of("objectives"),
    "threshold": names_of("measures"),
    **dict.fromkeys(("server", "server_python"), files),
}


def options_of(group: type[Any], title: str, helps: Mapping[str, str]) -> Options:
    """Options of a command under a title of its help: fields of an options class, with a help text for each."""
    kinds = kinds_of(group)
    defaults = {field.name: field.default for field in fields(group)}
    return groups.under(title, {name: _option(name, kinds[name], defaults[name], text) for name, text in helps.items()})


def _option(name: str, kind: Any, default: Any, text: str) -> Decorator:
    placeholder = _PLACEHOLDERS.get(name, "JSON|FILE" if kind is JsonText else None)
    takes_file = kind is JsonText or placeholder in ("FILE", "FOLDER")
    as_click = _as_click_has_it(kind)
    if not (default is MISSING or default is None or isinstance(default, bool | tuple)):
        as_click["default"] = default
        text = text if text.endswith("]") else f"{text}  [{default}]"
    return click.option(
        flag_of(name),
        name,
        required=default is MISSING,
        metavar=placeholder,
        shell_complete=_COMPLETED.get(name, files if takes_file else None),
        help=text,
        **as_click,
    )


def _as_click_has_it(kind: Any) -> dict[str, Any]:
    """Click's type for a field; what is validated only as part of a request is text here."""
    of = get_args(kind)
    if kind is bool:
        return {"is_flag": True}
    if get_origin(kind) is tuple:
        return {**_as_click_has_it(of[0]), "multiple": True}
    if get_origin(kind) is Literal:
        return {"type": OneOf(of)}
    if get_origin(kind) is Annotated:
        return {"type": NumberWithin(of[1])}
    return {"type": {int: WHOLE, float: NUMBER, Path: click.Path(path_type=Path)}.get(kind, click.STRING)}


def _owe_json(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> bool:
    if wanted:
        owe_json(wanted)
    return wanted


def json_option(of_what: str = "") -> Options:
    """`--json`, for every command that answers."""
    help = f"Print JSON{of_what}, also on failure."
    option = click.option("--json", "as_json", is_flag=True, is_eager=True, callback=_owe_json, help=help)
    return groups.under(groups.RESULT, {"as_json": option})


def form_option(*forms: str) -> Options:
    """`--format`: the first of these by default."""
    option = click.option("--format", "form", type=OneOf(forms), default=forms[0], help=f"Output format.  [{forms[0]}]")
    return groups.under(groups.RESULT, {"form": option})


def out_option(help: str) -> Options:
    """`--out`: the folder of a command's results."""
    option = click.option("--out", type=click.Path(path_type=Path), help=help)
    return groups.under(groups.RESULT, {"out": option})


def printed(of_what: str = "") -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Print the Document that a command returns, if any; `--json` prints its data."""

    def decorate(command: Callable[..., Any]) -> Callable[..., None]:
        @wraps(command)
        def run(*arguments: Any, as_json: bool, **options: Any) -> None:
            # Imported late: --help does not draw.
            from bench.cli.output import deliver

            if (document := command(*arguments, **options)) is not None:
                deliver(document, "text", as_json=as_json)

        decorated: Callable[..., None] = groups.with_options(json_option(of_what))(run)
        return decorated

    return decorate


QUIET: Final = groups.under(
    groups.RESULT,
    {"quiet": click.option("--quiet", is_flag=True, help="Print nothing to standard error except errors.")},
)
SHOWN: Final = {**json_option(), **QUIET}
"""What a command prints: results on standard output, progress on standard error."""

ASKED: Final = {
    **options_of(ServerOptions, groups.WHOM, {
        "backend": "The server's dialect, see `backends`.  [llamacpp; with --url whatever answers there]",
        "model": "A name from `models`, a path, or the server's name for it.  [tiny; with --url the only one served]",
        "url": "Use a running server at this base URL instead of launching one.",
    }),
    **options_of(RunOptions, groups.WHAT, {
        "scenario": "A name from `scenarios`, or a YAML file.",
        "dataset": "Your own prompts: a file, a folder or a pattern.",
        "dataset_output": "Where answer lengths come from.  [file]",
        "images": "Send one of these images with each request, chosen by the seed.",
        "prompt_tokens": "Make every prompt this long, instead of the scenario's lengths.",
        "output_tokens": "Make every answer this long, instead of the scenario's lengths.",
        "turns": "Turns per session.  [the scenario's]",
        "think_time": "Pause before a turn: 5s, exponential:5s, lognormal:5s:1.",
        "history": "Build the next turn on actual or on planned answers.  [actual]",
        "cache": "cold: prompts that no cache has seen; warm: the same prompts as in other warm runs.",
        "seed": "Seed for prompts, lengths and arrivals.",
    }),
    **options_of(RunOptions, groups.OBJECTIVES, {
        "slo": "An objective such as 'ttft_ms:p99<500'; repeatable.",
        "goodput": "Limits that make a request count as good: 'ttft:200 tpot:50 e2el:5000'.",
    }),
    **options_of(RunOptions, groups.COST, {
        "max_usd": "Never spend more than this; 'none' lifts the limit.  [1.00 for an API that bills]",
    }),
    **options_of(ServerOptions, groups.LAUNCH, {
        "server": "llamacpp: xllamacpp, llama-cpp-python or a llama-server; exec: process or kept.",
        "server_python": "Python that has the server installed.  [see docs/backends.md]",
        "server_cmd": "Command that launches the server instead; the tool's flags are appended.",
        "server_arg": "Argument for the launched server; repeatable.",
        "port": "Port of the launched server.  [a free one]",
        "ready_timeout": "How long a server may take to become ready.  [launched: 120s; with --url: none]",
        "command": "exec: the program to run, such as './run model.bin -n {output_tokens} -i {prompt}'.",
    }),
    **options_of(ServerOptions, groups.WORDING, {
        "dialect": "tgi: native or chat.  [native]",
        "route": "openai, vllm, llamacpp: chat, completions or responses.  [chat]",
        "no_stream": "Request whole answers; token times are then unknown.",
        "temperature": "A number, or server for its default.  [the scenario's, 0; claude: server]",
        "top_p": "Sample from the likeliest tokens with this total probability.  [the server's]",
        "seed_requests": "Send a seed with each request.  [on, where supported]",
        "thinking": "claude, vllm: on or off; claude: a token budget.  [the scenario's]",
        "adapter": "vllm, tgi: name of the LoRA adapter; llamacpp: its number.",
        "tools": "Functions the model may call.",
        "response_format": "json_object, or a JSON schema for the answers.",
        "extra_body": "Extra fields for every request; a value '$VAR' is a secret.",
        "cache_ttl": "claude: 5m, 1h or off, for a shared prefix.  [5m]",
        "service_tier": "claude: auto or standard_only.  [the API's]",
    }),
    **options_of(RunOptions, groups.CONNECTION, {
        "header": "Header for every request; $VAR is read from the environment and kept secret; repeatable.",
        "ca_file": "PEM file that verifies the server's certificate.  [the system's]",
        "client_cert": "PEM file with this client's certificate.",
        "client_key": "PEM file with the certificate's key.  [in --client-cert]",
        "timeout": "End a request that takes longer than this.",
        "stall_timeout": "End a request that receives nothing for this long.",
        "max_body": "End a request whose answer is larger than this.",
        "backoff": "Closed loop: wait after a refused request.",
    }),
    **options_of(WatchOptions, groups.METRICS, {
        "metrics_url": "Metrics of the server's GPU, node or engine exporter; repeatable.",
        "metrics_gpu": "Which of those GPUs are the server's: number, UUID, LABEL=VALUE; repeatable.  [all]",
        "grid_gco2e_per_kwh": "Emissions per kWh where the server runs.",
    }),
    **options_of(RunOptions, groups.CLIENT, {
        "workers": "Load processes.",
        "tokenizer": "tokenizer.json or its folder, to count tokens.  [the server counts]",
        "stamps": "Who timestamps arrivals.  [auto: the best permitted]",
        "late_reads": "With packet stamps, let a busy client read later.",
        "quick_ack": "Acknowledge packets at once, unlike ordinary clients.",
    }),
}  # fmt: skip
"""What is asked of whom: all options of a run but how much load there is."""

COSTS: Final = {
    **options_of(HourOptions, groups.COST, {
        "gpu": "The GPU it runs on, at the price from `prices --gpu`.",
        "gpus": "Number of GPUs.  [1]",
        "usd_per_hour": "Price of an hour of all of it, instead of --gpu.",
        "owned": "Hardware you own: price_usd=…,months=…,watts=…,usd_per_kwh=…",
    }),
    **groups.under(groups.COST, {
        # Needed even if no GPU is named whose price would be looked up in it.
        "prices": click.option(
            "--prices", type=click.Path(path_type=Path, exists=True), help="File with your own GPU prices."
        ),
    }),
}  # fmt: skip
"""What servers of one's own cost."""

OFFERED: Final = {
    **options_of(LoadOptions, groups.LOAD, {
        "concurrency": "Closed loop: requests (or sessions) in flight.",
        "rate": "Open loop: requests/s (or sessions/s); 1..10:5m is a ramp, inf is all at once.",
        "requests": "Measure this many requests …",
        "duration": "… or for this long: 60s, 2m …",
        "sessions": "… or this many sessions, in scenarios with turns.",
        "warmup": "Warm-up before what is measured: a number of requests, or with --duration a time.",
        "arrivals": "Open loop: poisson, constant, gamma:CV for bursts, profile:FILE.  [poisson]",
        "max_in_flight": "Open loop: at most this many requests in flight.  [1024]",
        "overload": "What requests beyond --max-in-flight do.  [wait]",
    }),
    **options_of(FileOptions, groups.LOAD, {
        "trace": "Recorded traffic, replayed at its recorded times.",
        "speed": "Replay the trace this many times faster.  [1]",
        "from_": "Skip this much of the trace, such as 10m.",
        "for_": "Replay this much of the trace, such as 1h.",
    }),
}  # fmt: skip
"""How much load there is."""

JUNIT: Final = groups.under(
    groups.RESULT,
    {"junit": click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")},
)

JUDGED: Final = {
    **options_of(JudgeOptions, groups.OBJECTIVES, {
        "threshold": "Smallest change that matters: ttft_ms:p99=5%; repeatable.",
        "inconclusive": "Whether an inconclusive result passes.",
        "different_plans": "Compare runs of different requests.",
        "untrusted": "Compare runs whose verdict is invalid.",
    }),
    **form_option(*get_args(Form)),
    **json_option(),
    **JUNIT,
}  # fmt: skip
"""How two sides are judged and how that is reported: for every command that compares."""
