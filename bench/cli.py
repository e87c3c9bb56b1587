"""The command line: all commands, each a function of a `cli_` module that composes the other parts.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import click

from bench import __version__
from bench.cli_base import EXIT_USER_ERROR, Group, conduct
from bench.cli_breakeven import breakeven
from bench.cli_capacity import capacity
from bench.cli_compare_runs import compare
from bench.cli_lists import backends, models, scenarios
from bench.cli_prices import prices
from bench.cli_results import decode, report
from bench.cli_run import run
from bench.cli_size import size


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


for command in (run, capacity, decode, report, compare, prices, size, breakeven, backends, scenarios, models):
    cli.add_command(command)
