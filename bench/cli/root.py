"""All commands of the command line, each a function of a module that composes the other parts.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import click

from bench import __version__
from bench.cli.ab.command import ab
from bench.cli.base import Group, echo
from bench.cli.breakeven.command import breakeven
from bench.cli.capacity import capacity
from bench.cli.compare import compare
from bench.cli.gate.command import gate
from bench.cli.lists import backends, models, scenarios
from bench.cli.prices import prices
from bench.cli.results import decode, report
from bench.cli.run import run
from bench.cli.selftest import selftest
from bench.cli.size.command import size
from bench.exit_codes import EXIT_USER_ERROR


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
        echo(ctx.get_help())
        ctx.exit(EXIT_USER_ERROR)


for command in (
    run,
    capacity,
    decode,
    report,
    compare,
    ab,
    gate,
    selftest,
    prices,
    size,
    breakeven,
    backends,
    scenarios,
    models,
):
    cli.add_command(command)
