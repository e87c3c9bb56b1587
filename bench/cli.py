"""The command line: one function a command, which composes backends, scenarios, the run and the analysis.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bench import __version__
from bench.types import UserError

if TYPE_CHECKING:
    from bench.types import Backend

EXIT_OBJECTIVE_MISSED = 1
EXIT_USER_ERROR = 2
EXIT_NOT_TO_BE_TRUSTED = 3
EXIT_INTERRUPTED = 130
LOAD_OPTIONS = (
    "concurrency", "rate", "arrivals", "requests", "duration", "warmup", "max_in_flight", "overload",
)  # fmt: skip
MAX_TIMEOUT_S = 24 * 3600.0
MAX_WORKERS = 64


class _Group(click.Group):
    """Offers the nearest command for one that does not exist, and ends user errors with one line and exit code 2."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None:
            raise UserError(f"no command {args[0]!r}{_nearest(args[0], self.commands)}; see --help")
        return super().resolve_command(ctx, args)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except UserError as problem:
        _fail(str(problem))
    except click.ClickException as problem:
        _fail(problem.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has left; there is nobody to tell.
        os._exit(EXIT_USER_ERROR)


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)


def _nearest(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Benchmark LLM serving: one load for every engine, observed exactly.

    \b
    bench.py run                                      the embedded llama.cpp with a tiny model
    bench.py run --backend openai --url http://127.0.0.1:11434 --model llama3.2:3b
    """


# --- run --------------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--backend", "backend_name", default="llamacpp", metavar="NAME", help="See `backends`.  [llamacpp]")
@click.option("--model", default="tiny", help="A name of `models`, a path, or what the server calls it.  [tiny]")
@click.option("--scenario", "scenario_name", default="chat", help="A name of `scenarios`, or a YAML file.  [chat]")
@click.option("--url", help="Use a running server (with or without /v1) instead of launching one.")
@click.option("--concurrency", type=int, help="Closed loop: this many requests in flight.")
@click.option("--rate", type=float, help="Open loop: this many requests per second, come what may.")
@click.option("--arrivals", type=click.Choice(["poisson", "constant"]), help="Of the open loop.  [poisson]")
@click.option("--max-in-flight", type=int, help="Limit of the open loop.  [1024]")
@click.option("--overload", type=click.Choice(["wait", "drop"]), help="What happens beyond it.  [wait]")
@click.option("--requests", type=int, help="Measure this many requests …")
@click.option("--duration", help="… or for this long: 60s, 2m.")
@click.option("--warmup", help="Before it, not measured: a number of requests, or a time with --duration.")
@click.option("--seed", type=int, default=0, help="Of prompts, lengths and arrivals.  [0]")
@click.option("--prompt-tokens", type=int, help="Every prompt this long instead of the scenario's lengths.")
@click.option("--output-tokens", type=int, help="Every answer this long instead of the scenario's lengths.")
@click.option("--workers", type=int, default=1, help="Load processes.  [1]")
@click.option("--slo", multiple=True, help="An objective such as 'ttft_ms:p99<500'; repeatable.")
@click.option("--timeout", default="120s", help="Ends one request.  [120s]")
@click.option("--stall-timeout", default="30s", help="Ends one request when no byte comes for this long.  [30s]")
@click.option("--ready-timeout", default="120s", help="For a launched server to get ready.  [120s]")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [results/<run-id>]")
@click.option("--server", help="llamacpp: xllamacpp, llama-cpp-python, or a llama-server binary.  [xllamacpp]")
@click.option("--server-arg", "server_args", multiple=True, help="Passed to the launched server; repeatable.")
@click.option("--port", type=int, help="Of the launched server.  [a free one]")
@click.option("--ca-file", help="PEM file to verify the server's certificate with.  [the system's]")
@click.option("--locust-web", "web_port", type=int, help="Serve Locust's page on this loopback port.")
def run(**options: Any) -> None:
    """Offer one load to one backend, observe it, judge it and report.

    \b
    bench.py run --backend llamacpp --model model.gguf --scenario chat --concurrency 8
    bench.py run --backend openai --url http://127.0.0.1:8000 --model my-model --rate 4 --duration 60s
    A key for the server is taken from OPENAI_API_KEY.
    Exit codes: 0 fine, 1 an objective missed, 2 wrong use, 3 not to be trusted, 130 interrupted.
    """
    from rich.console import Console

    from bench import run as running
    from bench.live import LiveFigures
    from bench.offer import Progress
    from bench.screen import ProgressView

    settings = _settings(options)
    console = Console()

    @contextmanager
    def watch() -> Iterator[Callable[[Progress], None]]:
        with ProgressView(console, settings.load, LiveFigures(settings.out, settings.backend.decode)) as view:
            yield view.update

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    stopped = running.run(settings, say, watch)
    if stopped is not None:
        say(f"stopped early: {stopped}")
    sys.exit(_conclude(settings.out, console))


def _settings(options: dict[str, Any]) -> Any:
    """Everything about a run that can be known to be wrong before anything is started."""
    from analysis import slo
    from bench import folder, resolve
    from bench.run import Settings
    from scenarios import load_scenario, with_lengths

    backend = _backend(options["backend_name"])
    scenario = with_lengths(load_scenario(options["scenario_name"]), options["prompt_tokens"], options["output_tokens"])
    load = resolve.resolve_load(
        scenario,
        **{
            name: options[name]
            for name in (
                "concurrency",
                "rate",
                "arrivals",
                "requests",
                "duration",
                "warmup",
                "max_in_flight",
                "overload",
            )
        },
    )
    for objective in options["slo"]:
        slo.parse(objective)
    seats = load.concurrency or load.max_in_flight
    _check_range("--workers", options["workers"], 1, min(MAX_WORKERS, seats))
    _check_range("--seed", options["seed"], 0, 2**63 - 1)
    for flag in ("port", "web_port"):
        if options[flag] is not None:
            _check_range("--locust-web" if flag == "web_port" else "--port", options[flag], 1, 65535)
    _check_launch_flags(options)
    run_id = folder.new_run_id(backend.name, options["model"], scenario.name)
    return Settings(
        backend=backend,
        model=_model_to_serve(backend, options),
        model_name=options["model"],
        scenario=scenario,
        load=load,
        out=(options["out"] or Path("results") / run_id).absolute(),
        seed=options["seed"],
        workers=options["workers"],
        **{
            f"{name}_s": _timeout(f"--{name.replace('_', '-')}", options[name])
            for name in ("timeout", "stall_timeout", "ready_timeout")
        },
        slo=options["slo"],
        url=options["url"],
        api_key=os.environ.get("OPENAI_API_KEY") or None,
        ca_file=options["ca_file"],
        server=options["server"],
        server_args=options["server_args"],
        port=options["port"],
        web_port=options["web_port"],
        argv=tuple(sys.argv),
    )


def _backend(name: str) -> "Backend":
    from backends import BACKENDS

    if name not in BACKENDS:
        raise UserError(f"--backend {name!r}: known are {', '.join(BACKENDS)}{_nearest(name, BACKENDS)}")
    return BACKENDS[name]


def _model_to_serve(backend: "Backend", options: dict[str, Any]) -> str:
    """The path a launched server loads for a name of `models`; anything else is the server's to understand."""
    model: str = options["model"]
    if options["url"] is not None or backend.serve is None:
        return model
    from bench import tinymodel

    if model in tinymodel.SIZES:
        return str(tinymodel.model_path(model, "gguf"))
    if not Path(model).exists():
        raise UserError(
            f"--model {model!r}: expected the path of a .gguf file or one of {', '.join(tinymodel.SIZES)}"
            f"{_nearest(model, tinymodel.SIZES)}"
        )
    return model


def _check_launch_flags(options: dict[str, Any]) -> None:
    if options["url"] is None:
        return
    for flag, value in (
        ("--server", options["server"]),
        ("--server-arg", options["server_args"]),
        ("--port", options["port"]),
    ):
        if value:
            raise UserError(f"{flag} is for a server this command launches; leave it out, or leave out --url")


def _check_range(flag: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UserError(f"{flag} {value}: expected a number from {low} to {high}")


def _timeout(flag: str, text: str) -> float:
    from bench.resolve import parse_duration

    seconds = parse_duration(text, flag)
    if not 0.2 <= seconds <= MAX_TIMEOUT_S:
        raise UserError(f"{flag} {text}: expected a time from 200ms to 24h")
    return seconds


# --- after a run ------------------------------------------------------------------------------------------------


def _conclude(folder: Path, console: Any) -> int:
    """Decode, summarise and report a run folder; the exit code that its summary deserves."""
    from bench import folder as files
    from bench.screen import print_summary

    run, summary = _decode(folder)
    _report(folder, run, summary)
    print_summary(console, summary)
    console.print(f"report     {folder / files.REPORT}", highlight=False, soft_wrap=True)
    if run["interrupted"] and any("interrupted" in note for note in run["notes"]):
        return EXIT_INTERRUPTED
    if summary["verdict"]["status"] == "invalid":
        return EXIT_NOT_TO_BE_TRUSTED
    return EXIT_OBJECTIVE_MISSED if any(objective["met"] is False for objective in summary["slo"]) else 0


def _decode(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """From what was captured to requests.parquet, telemetry.parquet and summary.json."""
    import pyarrow.parquet as pq

    from analysis import summary as summaries
    from bench import folder as files
    from bench import records, telemetry
    from bench.plan import write_plan
    from bench.run import restore_plan

    run = files.read_json(folder, files.RUN)
    captured = records.scan_captures(folder)
    if not (folder / files.PLAN).exists():
        # A closed loop by time has no end in its plan: what was offered is its plan.
        write_plan(restore_plan(run), folder / files.PLAN, captured.seqs())
    records.decode_run(folder, captured, run["load"]["warmup_s"] or 0.0, _backend(run["backend"]).decode)
    run |= captured.facts()
    files.write_json(folder / files.RUN, run)
    if (folder / files.TELEMETRY_RAW).exists():
        table = telemetry.to_table(folder / files.TELEMETRY_RAW, captured.start_ns or 0)
        pq.write_table(table, folder / files.TELEMETRY)
    requests, samples = _tables(folder)
    summary = summaries.summarize(run, requests, samples)
    files.write_json(folder / files.SUMMARY, summary)
    return run, summary


def _report(folder: Path, run: dict[str, Any], summary: dict[str, Any]) -> None:
    from analysis import report
    from bench import folder as files

    files.write_text(folder / files.REPORT, report.render(run, summary, *_tables(folder)))


def _tables(folder: Path) -> tuple[Any, Any]:
    import pyarrow.parquet as pq

    from bench import folder as files
    from bench.records import read_requests

    telemetry = folder / files.TELEMETRY
    return read_requests(folder), pq.read_table(telemetry) if telemetry.exists() else None


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def decode(folder: Path) -> None:
    """Make a run's tables, summary and report again from its captures, also after a crash.

    \b
    bench.py decode results/20261121-031502-llamacpp-tiny-chat-3f2a
    """
    from rich.console import Console

    sys.exit(_conclude(folder, Console()))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["html", "markdown", "json"]), default="html", help="[html]")
def report(folder: Path, form: Literal["html", "markdown", "json"]) -> None:
    """Write a run's report.html again, or print its summary as markdown or JSON.

    \b
    bench.py report results/20261121-031502-llamacpp-tiny-chat-3f2a --format markdown
    """
    import orjson

    from analysis.markdown import markdown
    from bench import folder as files

    run, summary = files.read_json(folder, files.RUN), files.read_json(folder, files.SUMMARY)
    if form == "html":
        _report(folder, run, summary)
        click.echo(str(folder / files.REPORT))
    elif form == "markdown":
        click.echo(markdown(run, summary))
    else:
        click.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())


# --- what is known ----------------------------------------------------------------------------------------------


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backends(as_json: bool) -> None:
    """List the server dialects.

    \b
    bench.py backends
    """
    from backends import BACKENDS

    rows = [
        {"name": name, "launches": backend.serve is not None, "description": backend.description}
        for name, backend in BACKENDS.items()
    ]
    _list(rows, as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scenarios(as_json: bool) -> None:
    """List the workloads.

    \b
    bench.py scenarios
    """
    from dataclasses import asdict

    from scenarios import list_scenarios

    known = list_scenarios()
    rows = [asdict(s) if as_json else {"name": s.name, "description": s.description} for s in known]
    _list(rows, as_json)


@cli.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models this tool makes itself; any other is a path or the server's own name.

    \b
    bench.py models
    bench.py models build tiny
    """
    if ctx.invoked_subcommand is None:
        from bench import tinymodel

        rows = [
            {"name": name, "layers": layers, "parameters": tinymodel.parameters(layers)}
            for name, layers in tinymodel.SIZES.items()
        ]
        _list(rows, as_json)


@models.command()
@click.argument("name")
def build(name: str) -> None:
    """Build a tiny model now (a run does it on first use) and print where it lies.

    \b
    bench.py models build tiny
    """
    from bench import tinymodel

    click.echo(str(tinymodel.model_path(name, "gguf")))
    click.echo(str(tinymodel.model_path(name, "hf")))


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        import orjson

        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        return
    widths = {key: max(len(str(row[key])) for row in rows) for key in rows[0]}
    for row in rows:
        click.echo("  ".join(str(value).ljust(widths[key]) for key, value in row.items()).rstrip())
