"""The command line: one function a command, which composes backends, scenarios, the run and the analysis.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from bench import __version__
from bench.cli_base import (
    EXIT_INTERRUPTED,
    EXIT_NOT_TO_BE_TRUSTED,
    EXIT_OBJECTIVE_MISSED,
    EXIT_USER_ERROR,
    Group,
    OneOf,
    conduct,
)
from bench.cli_settings import backend_named
from bench.cli_settings import settings as settings_of
from bench.types import UserError


def main() -> None:
    """Run the command line and exit with its code."""
    conduct(cli)


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="bench")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Benchmark LLM serving: one load for every engine, observed exactly.

    \b
    bench.py run                                      the embedded llama.cpp with a tiny model
    bench.py run --backend openai --url http://127.0.0.1:11434 --model llama3.2:3b
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(EXIT_USER_ERROR)


# --- run --------------------------------------------------------------------------------------------------------


@cli.command()
@click.option("--backend", "backend_name", default="llamacpp", metavar="NAME", help="See `backends`.  [llamacpp]")
@click.option("--model", default="tiny", help="A name of `models`, a path, or what the server calls it.  [tiny]")
@click.option("--scenario", "scenario_name", default="chat", help="A name of `scenarios`, or a YAML file.  [chat]")
@click.option("--url", help="Use a running server (with or without /v1) instead of launching one.")
@click.option("--concurrency", type=int, help="Closed loop: this many requests in flight.")
@click.option("--rate", type=float, help="Open loop: this many requests per second, come what may.")
@click.option("--arrivals", type=OneOf(["poisson", "constant"]), help="Of the open loop.  [poisson]")
@click.option("--max-in-flight", type=int, help="Limit of the open loop.  [1024]")
@click.option("--overload", type=OneOf(["wait", "drop"]), help="What happens beyond it.  [wait]")
@click.option("--requests", type=int, help="Measure this many requests …")
@click.option("--duration", help="… or for this long: 60s, 2m.")
@click.option("--warmup", help="Before it, not measured: a number of requests, or a time with --duration.")
@click.option("--seed", type=int, default=0, help="Of prompts, lengths and arrivals.  [0]")
@click.option("--prompt-tokens", type=int, help="Every prompt this long instead of the scenario's lengths.")
@click.option("--output-tokens", type=int, help="Every answer this long instead of the scenario's lengths.")
@click.option("--tokenizer", type=click.Path(path_type=Path), help="Folder or tokenizer.json.  [the server counts]")
@click.option("--workers", type=int, default=1, help="Load processes.  [1]")
@click.option("--slo", multiple=True, help="An objective such as 'ttft_ms:p99<500'; repeatable.")
@click.option("--timeout", default="120s", help="Ends one request.  [120s]")
@click.option("--stall-timeout", default="30s", help="Ends one request when no byte comes for this long.  [30s]")
@click.option("--ready-timeout", help="For a launched server to get ready.  [120s]")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [results/<run-id>]")
@click.option("--server", help="llamacpp: xllamacpp, llama-cpp-python, or a llama-server binary.  [xllamacpp]")
@click.option("--server-arg", "server_args", multiple=True, help="Passed to the launched server; repeatable.")
@click.option("--port", type=int, help="Of the launched server.  [a free one]")
@click.option("--ca-file", help="PEM file to verify the server's certificate with.  [the system's]")
@click.option("--locust-web", "web_port", type=int, help="Serve Locust's page on this loopback port.")
def run(**options: Any) -> int:
    """Offer one load to one backend, observe it, judge it and report.

    \b
    bench.py run --backend llamacpp --model model.gguf --scenario chat --concurrency 8
    bench.py run --backend openai --url http://127.0.0.1:8000 --model my-model --rate 4 --duration 60s
    A key for the server is taken from OPENAI_API_KEY.
    Exit codes: 0 fine, 1 an objective missed, 2 wrong use, 3 not to be trusted, 130 interrupted.
    """
    settings = settings_of(options)

    from dataclasses import asdict

    from analysis import wording
    from bench import run as running
    from bench.offer import INTERRUPTED, Progress
    from bench.screen import Screen

    screen = Screen()
    begun = False

    @contextmanager
    def watch() -> Iterator[Callable[[Progress], None]]:
        from bench.live import LiveFigures
        from bench.screen import ProgressView

        nonlocal begun
        begun = True
        say(f"scenario {settings.scenario.name}: {wording.load(asdict(settings.load))}")
        with ProgressView(screen, settings.load, LiveFigures(settings.out, settings.backend.decode)) as view:
            yield view.update

    def say(line: str) -> None:
        screen.print(line, highlight=False, soft_wrap=not screen.is_terminal, markup=False)

    try:
        stopped = running.run(settings, say, watch)
        if stopped is not None:
            say(f"stopped early: {stopped}")
        code = _conclude(settings.out, screen)
    except BaseException:
        if begun and settings.out.exists():
            click.echo(f"what was captured is kept, to report it: bench.py decode {settings.out}", err=True)
        raise
    if stopped is None:
        return code
    return EXIT_INTERRUPTED if stopped.startswith(INTERRUPTED) else EXIT_NOT_TO_BE_TRUSTED


# --- after a run ------------------------------------------------------------------------------------------------


def _conclude(folder: Path, screen: Any) -> int:
    """Decode, summarise and report a run folder; the exit code that its summary deserves."""
    from bench import folder as files
    from bench.screen import print_fact, print_summary

    run = files.read_json(folder, files.RUN)
    try:
        summary, *tables = _decode(folder, run)
        _report(folder, run, summary, *tables)
    except OSError as problem:
        raise UserError(f"{folder}: {problem.strerror or problem}; make room, then: bench.py decode {folder}") from None
    print_summary(screen, summary)
    print_fact(screen, "report", str(folder / files.REPORT))
    if summary["verdict"]["status"] == "invalid":
        return EXIT_NOT_TO_BE_TRUSTED
    return EXIT_OBJECTIVE_MISSED if any(objective["met"] is False for objective in summary["slo"]) else 0


def _decode(folder: Path, run: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """From what was captured to plan.parquet, requests.parquet, telemetry.parquet and summary.json.

    Returns the summary and the tables of requests and telemetry. `run` gains what the captures say of the observation.
    """
    import pyarrow.parquet as pq

    from analysis import summary as summaries
    from bench import folder as files
    from bench import records, telemetry
    from bench.plan import total, write_plan
    from bench.run import restore_plan

    captured = records.scan_captures(folder)
    if not (folder / files.PLAN).exists():
        plan = restore_plan(run)
        count = total(plan)
        with files.whole(folder / files.PLAN) as partial:
            # A closed loop by time has no end in its plan: what was offered is its plan.
            write_plan(plan, partial, captured.seqs() if count is None else range(count))
    records.decode_run(folder, captured, run["load"]["warmup_s"] or 0.0, backend_named(run["backend"]).decode)
    run |= captured.facts()
    files.write_json(folder / files.RUN, run)
    if (folder / files.TELEMETRY_RAW).exists():
        with files.whole(folder / files.TELEMETRY) as partial:
            pq.write_table(telemetry.to_table(folder / files.TELEMETRY_RAW, captured.start_ns or 0), partial)
    tables = _tables(folder)
    summary = summaries.summarize(run, *tables)
    files.write_json(folder / files.SUMMARY, summary)
    return summary, *tables


def _report(folder: Path, run: dict[str, Any], summary: dict[str, Any], requests: Any, telemetry: Any) -> None:
    from analysis import report
    from bench import folder as files

    files.write_text(folder / files.REPORT, report.render(run, summary, requests, telemetry))


def _tables(folder: Path) -> tuple[Any, Any]:
    import pyarrow.parquet as pq

    from bench import folder as files
    from bench.records import read_requests

    telemetry = folder / files.TELEMETRY
    return read_requests(folder), pq.read_table(telemetry) if telemetry.exists() else None


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
def decode(folder: Path) -> int:
    """Read a run's captures again, also after a crash.

    Makes its tables, summary and report anew.

    \b
    bench.py decode results/20261121-031502-llamacpp-tiny-chat-3f2a
    """
    from bench.screen import Screen

    return _conclude(folder.absolute(), Screen())


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "form", type=OneOf(["html", "markdown", "json"]), default="html", help="[html]")
def report(folder: Path, form: Literal["html", "markdown", "json"]) -> None:
    """Write a run's report again, or print it as markdown or JSON.

    \b
    bench.py report results/20261121-031502-llamacpp-tiny-chat-3f2a --format markdown
    """
    import orjson

    from analysis.markdown import markdown
    from bench import folder as files

    run, summary = files.read_json(folder, files.RUN), files.read_json(folder, files.SUMMARY)
    if form == "html":
        _report(folder, run, summary, *_tables(folder))
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


@cli.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models this tool makes itself.

    Any other is a path or the server's own name.

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
