"""`bench.py backends`, `scenarios` and `models`: what is known, a line for each."""

import click

from bench import app
from bench.cli.base import Group, echo


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backends(as_json: bool) -> None:
    """List the server dialects.

    \b
    bench.py backends
    """
    from bench.cli.output import deliver

    deliver(app.lists.backends(), "text", as_json=as_json)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def scenarios(as_json: bool) -> None:
    """List the workloads.

    \b
    bench.py scenarios
    """
    from bench.cli.output import deliver

    deliver(app.lists.scenarios(), "text", as_json=as_json)


@click.group(cls=Group, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the shapes and the repositories.")
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that have a short name.

    A run takes NAME or NAME-QUANTIZATION, such as mistral-7b-awq. Quantization gguf, for llamacpp, stands for q4_k_m
    (what NAME alone means there), q5_k_m, q6_k and q8_0; the others are for vllm and tgi. Any other model is a path or
    a repository, OWNER/NAME. GB is what the weights take; --json says where they come from, and more.

    \b
    bench.py models
    bench.py models build tiny
    """
    from bench.cli.output import deliver

    if ctx.invoked_subcommand is None:
        deliver(app.lists.models(), "text", as_json=as_json)


@models.command()
@click.argument("name")
def build(name: str) -> None:
    """Build a tiny model now (a run does it on first use) and print where it lies.

    \b
    bench.py models build tiny
    """
    for path in app.lists.build_model(name):
        echo(str(path))
