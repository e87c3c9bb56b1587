"""`bench.py size`: which GPUs can serve a model under a load, and what that costs."""

from typing import TYPE_CHECKING, Any

import click

from bench.app.size.options import SizeOptions
from bench.cli import groups
from bench.cli.completion import names_of
from bench.cli.options import options_of, printed
from bench.cli.settings import ConfigurableCommand

if TYPE_CHECKING:
    from analysis.present.document import Document


@click.command(cls=ConfigurableCommand)
@click.argument("model", shell_complete=names_of("models"))
@groups.with_options(
    options_of(SizeOptions, groups.WHOM, {
        "quantization": "Quantization of the weights: bf16, fp8, awq, q4_k_m, …  [the file's, else bf16]",
        "kv_cache": "Number format of the cache.",
        "gpu_memory_utilization": "Share of GPU memory to use.",
        "overhead_gib": "Memory for activations and graphs, per GPU.",
        "measured": "A run made on the first --gpu and --tensor-parallel.",
        "claimed": "Output tokens/s claimed for these; refused if above the roofline.",
    }),
    options_of(SizeOptions, groups.LOAD, {
        "context": "Tokens per sequence, prompt and answer together.  [the load's, else 4096]",
        "concurrency": "Sequences of that length that a replica must hold.  [1]",
        "rate": "The load: this many requests per second …",
        "prompt_tokens": "… with prompts of this length …",
        "output_tokens": "… and answers of this one.",
        "prefix_tokens": "Length of the prefix that all prompts share, cached.  [0]",
        "traffic": "… or the busiest minute of recorded traffic.",
    }),
    options_of(SizeOptions, groups.OBJECTIVES, {
        "slo": "An objective such as 'ttft_ms:p99<500'; repeatable.",
        "utilization": "Use at most this share of a replica's capacity.",
    }),
    options_of(SizeOptions, groups.COST, {
        "gpu": "Consider only this GPU; repeatable.  [all]",
        "tensor_parallel": "GPUs per replica; repeatable.  [1 2 4 8]",
        "prices": "File with your own GPU prices.",
    }),
)  # fmt: skip
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

    return sizing.shown(SizeOptions(**options))
