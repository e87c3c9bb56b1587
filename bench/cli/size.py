"""`bench.py size`: which GPUs can serve a model under a load, and what that costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import groups
from bench.cli.base import OneOf
from bench.cli.completion import files, names_of
from bench.cli.groups import grouped
from bench.cli.numeric import NUMBER, WHOLE
from bench.cli.options import SLO, printed
from bench.cli.settings import ConfigurableCommand

if TYPE_CHECKING:
    from analysis.present.document import Document


@click.command(cls=ConfigurableCommand)
@click.argument("model", shell_complete=names_of("models"))
@grouped(
    groups.WHOM,
    click.option(
        "--quantization",
        metavar="NAME",
        help="Quantization of the weights: bf16, fp8, awq, q4_k_m, …  [the file's, else bf16]",
    ),
    click.option("--kv-cache", type=OneOf(["fp16", "fp8"]), default="fp16", help="Number format of the cache.  [fp16]"),
    click.option("--gpu-memory-utilization", type=NUMBER, default=0.92, help="Share of GPU memory to use.  [0.92]"),
    click.option("--overhead-gib", type=NUMBER, default=1.5, help="Activations and graphs, per GPU.  [1.5]"),
    click.option(
        "--measured",
        shell_complete=names_of("runs"),
        type=click.Path(path_type=Path),
        help="A run made on the first --gpu and --tensor-parallel.",
    ),
    click.option("--claimed", type=NUMBER, help="Output tokens/s claimed for those; refused if impossible."),
)
@grouped(
    groups.LOAD,
    click.option(
        "--context", type=WHOLE, help="Tokens per sequence, prompt and answer together.  [the load's, else 4096]"
    ),
    click.option("--concurrency", type=WHOLE, help="Sequences of that length that a replica must hold.  [1]"),
    click.option("--rate", type=NUMBER, help="The load: this many requests per second …"),
    click.option("--prompt-tokens", type=WHOLE, help="… with prompts of this length …"),
    click.option("--output-tokens", type=WHOLE, help="… and answers of this one."),
    click.option("--prefix-tokens", type=WHOLE, help="Length of the prefix that all prompts share, cached.  [0]"),
    click.option(
        "--traffic", metavar="FILE", shell_complete=files, help="… or the busiest minute of recorded traffic."
    ),
)
@grouped(
    groups.OBJECTIVES,
    SLO,
    click.option(
        "--utilization", type=NUMBER, default=0.7, help="Use at most this share of a replica's capacity.  [0.7]"
    ),
)
@grouped(
    groups.COST,
    click.option(
        "--gpu",
        "gpu_specs",
        multiple=True,
        shell_complete=names_of("gpus"),
        metavar="NAME[@PROVIDER][:KIND]",
        help="Only these; repeatable.  [all]",
    ),
    click.option("--tensor-parallel", type=WHOLE, multiple=True, help="GPUs per replica; repeatable.  [1 2 4 8]"),
    click.option("--prices", type=click.Path(path_type=Path), help="File with your own GPU prices."),
)
@printed()
def size(**options: Any) -> "Document":
    """Show which GPUs can serve a model, and what that costs.

    MODEL is a name of `models`, a config.json or its folder, or a GGUF file. Speeds are rooflines, not measurements.

    \b
    bench.py size mixtral-8x7b-awq
    bench.py size llama-3.1-8b --rate 4 --prompt-tokens 500 --output-tokens 200 --slo 'tpot_ms<50'
    bench.py size llama-3.1-8b --traffic requests.jsonl
    bench.py size llama-3.1-8b --gpu l4 --measured results/20261121-031502-vllm-llama-chat-3f2a
    """
    from bench.app.size import sizing

    return sizing.shown(sizing.SizeOptions(**options))
