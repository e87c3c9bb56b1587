"""All commands of the command line; each command's module is imported on use, so that help is fast."""

import sys
from collections.abc import Mapping
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from bench import __version__
from bench.cli.base import Group, echo
from bench.exit_codes import EXIT_USER_ERROR


class Place(NamedTuple):
    """Where a command is defined, under its own name, and the first sentence of its help."""

    module: str
    help: str


COMMANDS: Final[Mapping[str, Place]] = {
    "ab": Place("ab", "Say whether B is slower or costs more than A."),
    "backends": Place("lists", "List the server dialects."),
    "breakeven": Place("breakeven", "Find the volumes at which your own servers cost no more."),
    "capacity": Place("capacity", "Find the highest rate that meets the objectives."),
    "compare": Place(
        "compare", "Say whether CANDIDATE is slower or costs more than BASE; of several, also which may be best."
    ),
    "crosscheck": Place("others", "Compare a run of ours with another tool's result for the same server."),
    "decode": Place("results", "Read a run's captures again, also after a crash."),
    "export": Place("others", "Print a run of ours in another tool's format."),
    "gate": Place("gate", "Say whether an engine or our own client got slower."),
    "import": Place("others", "Make run folders of what other tools measured."),
    "init": Place("sweep", "Write a commented study to begin with."),
    "models": Place("lists", "List the models that have a short name."),
    "prices": Place("lists", "List what APIs and rented GPUs cost."),
    "report": Place("results", "Write a run's report again, or print it (markdown, JSON), or its requests (CSV)."),
    "run": Place("run", "Offer one load to one backend, observe it, judge it and report."),
    "runs": Place("runs", "List what is in results, and bring its page up to date."),
    "scenarios": Place("lists", "List the workloads."),
    "selftest": Place("selftest", "Measure how exact this machine's client is, at which load."),
    "size": Place("size", "Show which GPUs can serve a model, and what that costs."),
    "sweep": Place("sweep", "Measure several contenders under several loads, and compare them on one page."),
}

LEAVE_RUNS: Final = frozenset({"ab", "capacity", "decode", "gate", "import", "report", "run", "sweep"})
"""Commands after which the page of results is updated."""


def command(name: str) -> click.Command:
    """Import a command."""
    # Names that are Python keywords end in an underscore there.
    found = getattr(import_module(f"bench.cli.{COMMANDS[name].module}"), f"{name}_" if iskeyword(name) else name)
    assert isinstance(found, click.Command)
    return found


class Commands(Group):
    """The commands above, imported only when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return command(cmd_name) if cmd_name in COMMANDS else None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, then update the page of results however it ends, unless nothing was run."""
        try:
            return super().invoke(ctx)
        finally:
            # Help and wrong flags make no new run.
            nothing = isinstance(sys.exception(), click.exceptions.Exit | click.ClickException)
            if ctx.invoked_subcommand in LEAVE_RUNS and not nothing and Path("results").is_dir():
                from bench.cli.runs import refresh

                refresh()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in COMMANDS.items()])


@click.group(
    cls=Commands,
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
        echo(ctx.get_help())
        ctx.exit(EXIT_USER_ERROR)
