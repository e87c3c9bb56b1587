"""`bench.py size`: which GPUs can serve a model under a load, and what that costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import OneOf
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.sizing.memory import Model
    from analysis.sizing.plans import Claimed, Demand, Measured, Need

DEFAULT_CONTEXT_TOKENS = 4096
MAX_LENGTH_TOKENS = 2_000_000
MAX_TENSOR_PARALLEL = 64
MAX_TOKENS_PER_S = 1e9


@click.command()
@click.argument("model")
@click.option(
    "--quantization", metavar="NAME", help="Of the weights: bf16, fp8, awq, q4_k_m, …  [the file's, else bf16]"
)
@click.option("--context", type=int, help="Tokens of prompt and answer together.  [the load's, else 4096]")
@click.option("--concurrency", type=int, help="Sequences of that length a replica must hold.  [1]")
@click.option("--rate", type=float, help="The load: this many requests per second …")
@click.option("--prompt-tokens", type=int, help="… with prompts of this length …")
@click.option("--output-tokens", type=int, help="… and answers of this one.")
@click.option("--prefix-tokens", type=int, help="So many at the beginning all prompts share, cached.  [0]")
@click.option("--slo", multiple=True, help="An objective such as 'ttft_ms:p99<500'; repeatable.")
@click.option("--utilization", type=float, default=0.7, help="Highest share of a replica's capacity to use.  [0.7]")
@click.option(
    "--gpu", "gpu_specs", multiple=True, metavar="NAME[@PROVIDER][:KIND]", help="Only these; repeatable.  [all]"
)
@click.option("--tensor-parallel", type=int, multiple=True, help="GPUs to a replica; repeatable.  [1 2 4 8]")
@click.option("--kv-cache", type=OneOf(["fp16", "fp8"]), default="fp16", help="Numbers in the KV cache.  [fp16]")
@click.option("--gpu-memory-utilization", type=float, default=0.92, help="Share of the memory to take.  [0.92]")
@click.option("--overhead-gib", type=float, default=1.5, help="Activations and graphs on each GPU.  [1.5]")
@click.option("--measured", type=click.Path(path_type=Path), help="A run on the first --gpu and --tensor-parallel.")
@click.option("--claimed", type=float, help="Output tokens/s that are said of those; refused if impossible.")
@click.option("--prices", type=click.Path(path_type=Path), help="A file of GPU prices that go before the bundled ones.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def size(**options: Any) -> None:
    """Show which GPUs can serve a model, and what that costs.

    MODEL is a name of `models`, a config.json or its folder, or a GGUF file. Speeds are rooflines, not measurements.

    \b
    bench.py size mixtral-8x7b-awq
    bench.py size llama-3.1-8b --rate 4 --prompt-tokens 500 --output-tokens 200 --slo 'tpot_ms<50'
    bench.py size llama-3.1-8b --gpu l4 --measured results/20261121-031502-vllm-llama-chat-3f2a
    """
    from bench.cli.size.document import document
    from bench.cli.size.model import load

    model, notes = load(options["model"], options["quantization"])
    _check_lengths(options)
    need, demand = _need(options, model), _demand(options)
    measured, doubts = (None, ()) if options["measured"] is None else _measured(options)
    shown = document(
        model,
        (*notes, *doubts),
        need,
        demand,
        gpu_specs=options["gpu_specs"],
        tensor_parallel=_tensor_parallel(options["tensor_parallel"]),
        measured=measured,
        claimed=_claimed(options),
        prices=options["prices"],
    )
    from analysis.present import of_size
    from bench.cli.output import deliver

    deliver(of_size.document(shown), "text", as_json=options["as_json"])


def _check_lengths(options: dict[str, Any]) -> None:
    from bench.plan.resolve import within

    for name in ("prompt_tokens", "output_tokens"):
        flag = f"--{name.replace('_', '-')}"
        if options[name] is not None:
            within(flag, options[name], 1, MAX_LENGTH_TOKENS)
        elif options["rate"] is not None:
            raise UserError(f"--rate: a load has lengths too; give {flag}")
    prefix, prompt = options["prefix_tokens"], options["prompt_tokens"]
    if prefix is not None:
        if prompt is None:
            raise UserError("--prefix-tokens: a prefix is of prompts; give --prompt-tokens")
        within("--prefix-tokens", prefix, 0, prompt)


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _need(options: dict[str, Any], model: "Model") -> "Need":
    from analysis.sizing import memory
    from analysis.sizing.plans import Need
    from bench.plan.resolve import MAX_CONCURRENCY, within

    longest = model.architecture.context_tokens or 2**31
    prompt, output = options["prompt_tokens"] or 0, options["output_tokens"] or 0
    if prompt + output > longest:
        raise UserError(f"--prompt-tokens and --output-tokens: {prompt + output} tokens, {model.name} takes {longest}")
    usual = prompt + output or min(DEFAULT_CONTEXT_TOKENS, longest)
    context = within("--context", _or(options["context"], usual), 1, longest)
    if context < prompt + output:
        raise UserError(f"--context {context}: prompts and answers of the load take {prompt + output} tokens")
    return Need(
        context_tokens=context,
        concurrency=within("--concurrency", _or(options["concurrency"], 1), 1, MAX_CONCURRENCY),
        prefix_tokens=options["prefix_tokens"] or 0,
        kv_value_bytes=memory.KV_BYTES[options["kv_cache"]],
        gpu_memory_utilization=within("--gpu-memory-utilization", options["gpu_memory_utilization"], 0.1, 1.0),
        overhead_bytes=round(within("--overhead-gib", options["overhead_gib"], 0.0, 64.0) * memory.GIB),
    )


def _demand(options: dict[str, Any]) -> "Demand | None":
    """The load, when there is a rate; lengths alone only say what a sequence holds."""
    from bench.plan.resolve import MAX_RATE_PER_S, within

    if options["rate"] is None:
        if options["slo"]:
            raise UserError("--slo: objectives are of a load; give --rate, --prompt-tokens and --output-tokens")
        return None
    from analysis.run import slo
    from analysis.sizing import plans

    objectives = [slo.parse(text) for text in options["slo"]]
    limits_ms: dict[str, float] = {}
    for objective in objectives:
        if objective.metric == slo.ERROR_SHARE:
            raise UserError(f"--slo {objective.text!r}: sizing foresees no failures; give an objective on a latency")
        limits_ms[objective.metric] = min(objective.limit, limits_ms.get(objective.metric, objective.limit))
    return plans.Demand(
        rate_per_s=within("--rate", options["rate"], 0.001, MAX_RATE_PER_S),
        prompt_tokens=options["prompt_tokens"],
        output_tokens=options["output_tokens"],
        bounds_s=plans.bounds_s(limits_ms),
        utilization=within("--utilization", options["utilization"], 0.01, 1.0),
        prefix_tokens=options["prefix_tokens"] or 0,
    )


def _tensor_parallel(sizes: tuple[int, ...]) -> tuple[int, ...]:
    from analysis.sizing.memory import TENSOR_PARALLEL
    from bench.plan.resolve import within

    return tuple(within("--tensor-parallel", n, 1, MAX_TENSOR_PARALLEL) for n in sizes) or TENSOR_PARALLEL


def _claimed(options: dict[str, Any]) -> "Claimed | None":
    """A number that somebody quotes; what nobody says of its requests is taken to be as light as can be."""
    from analysis.sizing.plans import Claimed
    from bench.plan.resolve import within

    if options["claimed"] is None:
        return None
    if not options["gpu_specs"]:
        raise UserError("--claimed: give --gpu too, the hardware it is said of first")
    prompt, output = options["prompt_tokens"] or 0, options["output_tokens"] or 0
    return Claimed(
        output_tokens_per_s=within("--claimed", options["claimed"], 0.001, MAX_TOKENS_PER_S),
        batch=options["concurrency"],
        tokens=prompt + output // 2,
    )


def _measured(options: dict[str, Any]) -> "tuple[Measured, tuple[str, ...]]":
    """What a run has measured, and the doubts about it. Raises UserError for one that is invalid or lacks figures."""
    from analysis.run import summary as summaries
    from analysis.sizing.plans import Measured
    from bench.runs import manifest

    if not options["gpu_specs"]:
        raise UserError("--measured: give --gpu too, the hardware it ran on first")
    folder: Path = options["measured"]
    run, summary = manifest.read(folder), summaries.read(folder)
    reasons = "; ".join(reason.message for reason in summary.verdict.reasons)
    if summary.verdict.status == "invalid":
        raise UserError(f"--measured {folder}: the run is not to be trusted: {reasons}")
    prompt, output, service_ms = (
        summary.metric(name).mean for name in ("prompt_tokens", "output_tokens", "service_ms")
    )
    tokens_per_s, requests_per_s = summary.throughput.output_tokens_per_s, summary.throughput.requests_per_s
    if not (prompt and output and tokens_per_s and requests_per_s and service_ms):
        raise UserError(f"--measured {folder}: no request's tokens and times are known; give a run that has them")
    # An open loop has as many under way as Little's law says.
    batch = run.load.concurrency or requests_per_s * service_ms / 1000
    doubts = (f"the measured run is suspect: {reasons}",) if summary.verdict.status == "suspect" else ()
    return Measured(tokens_per_s, max(1.0, batch), prompt, output), doubts
