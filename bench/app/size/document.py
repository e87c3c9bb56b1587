"""What `bench.py size` has to say, as one document of plain values: printed as JSON, or drawn by `screen_size`."""

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from analysis.money import gpu_prices
from analysis.money.gpu_prices import GpuPrice
from analysis.sizing import gpus, memory, plans, roofline
from analysis.sizing.gpus import Gpu
from analysis.sizing.memory import Model
from analysis.sizing.plans import Claimed, Demand, Estimate, Fit, Measured, Need, ReplicaPlan
from analysis.sizing.roofline import CAUTIOUS, HOPEFUL, Efficiency
from bench.types import UserError

Priced = tuple[Gpu, Callable[[int], GpuPrice | None]]
"""A GPU, and the price of so many of them together."""


def document(
    model: Model,
    notes: Sequence[str],
    need: Need,
    demand: Demand | None,
    *,
    gpu_specs: Sequence[str],
    tensor_parallel: Sequence[int],
    measured: Measured | None,
    claimed: Claimed | None,
    prices: Path | None,
) -> dict[str, Any]:
    """Everything that is known of serving the model: its memory, the GPUs it fits on, and the plans, cheapest first.

    Amounts in USD, times in ms, pairs from low to high. Raises UserError where no GPU is left to speak of.
    """
    chosen = _chosen(gpu_specs, prices)
    if not memory.splits(model.architecture, tensor_parallel):
        heads = f"{model.architecture.heads} heads and {model.architecture.kv_heads} of keys and values"
        raise UserError(f"--tensor-parallel: {model.name} has {heads}, which cannot be divided by that")
    efficiencies = CAUTIOUS, HOPEFUL
    on = plans.hardware(chosen[0][0], tensor_parallel[0], model.weights.quantization)
    if claimed is not None:
        plans.check(model, on, claimed, need.kv_value_bytes)
    if measured is not None:
        efficiencies = (plans.calibrate(model, on, measured, need.kv_value_bytes),) * 2
    laid_out = [
        (fit, price_of(fit.tensor_parallel))
        for gpu, price_of in chosen
        for fit in plans.fits(model, gpu, need, tensor_parallel)
    ]
    fitting = [(fit, price) for fit, price in laid_out if plans.shortage(fit, need) is None]
    made = [(fit, plans.plan(model, fit, need, demand, efficiencies, price)) for fit, price in fitting]
    ranked = plans.ranked(plan for _, plan in made if plan is not None)
    return {
        "model": _model(model),
        "memory": _memory(model, need),
        "load": None if demand is None else _load(demand),
        "efficiency": _efficiency(efficiencies, measured, chosen[0][0], tensor_parallel[0]),
        "gpus": [_fit(model, fit, need, efficiencies) for fit, _ in laid_out],
        "plans": [_plan(each, demand) for each in ranked],
        "refused": [
            {"gpu": fit.gpu.name, "tensor_parallel": fit.tensor_parallel,
             "reason": plans.unmet(model, fit, need, demand, efficiencies[1])}
            for fit, plan in made if plan is None and demand is not None
        ],
        "notes": [*notes, *_notes(model, demand, claimed, ranked)],
    }  # fmt: skip


def _chosen(gpu_specs: Sequence[str], prices: Path | None) -> list[Priced]:
    """The GPUs asked for, each with a price; without any, all that are known."""
    own = [path for path in (gpu_prices.user_file(),) if path.exists()]
    listed = gpu_prices.load([*own, *([prices] if prices else [])])
    if not gpu_specs:
        return [(gpu, partial(plans.cheapest, gpu, listed)) for gpu in gpus.gpus().values()]
    chosen: list[Priced] = []
    for spec in gpu_specs:
        gpu = gpus.find(spec.partition(":")[0].partition("@")[0])
        plain = spec.lower().replace(" ", "-")
        by_name = plain == gpu.name
        chosen.append(
            (gpu, partial(plans.cheapest, gpu, listed) if by_name else partial(gpu_prices.find, plain, listed))
        )
    return chosen


# --- parts of the document --------------------------------------------------------------------------------------


def _model(model: Model) -> dict[str, Any]:
    shape = model.architecture
    return {
        "name": model.name,
        "quantization": model.weights.quantization,
        "parameters": model.parameters.total,
        "active_parameters": round(model.active_parameters),
        "experts": shape.experts,
        "active_experts": shape.active_experts,
        "context_tokens": shape.context_tokens,
    }


def _memory(model: Model, need: Need) -> dict[str, Any]:
    prefix = memory.cached_tokens(min(need.prefix_tokens, need.context_tokens))
    shared, own = (
        memory.kv_bytes(model.architecture, tokens, need.kv_value_bytes)
        for tokens in (prefix, need.context_tokens - prefix)
    )
    return {
        "weights_bytes": model.weights.total_bytes,
        "kv_bytes_per_token": memory.kv_bytes_per_token(model.architecture, need.kv_value_bytes),
        "kv_bytes_per_sequence": shared + own,
        "kv_bytes": shared + own * need.concurrency,
        "overhead_bytes_per_gpu": need.overhead_bytes,
        "concurrency": need.concurrency,
        "context_tokens": need.context_tokens,
        "prefix_tokens": need.prefix_tokens,
        "gpu_memory_utilization": need.gpu_memory_utilization,
    }


def _load(demand: Demand) -> dict[str, Any]:
    return {
        "rate_per_s": demand.rate_per_s,
        "prompt_tokens": demand.prompt_tokens,
        "prefix_tokens": demand.prefix_tokens,
        "output_tokens": demand.output_tokens,
        "objectives_ms": {name: 1000 * limit_s for name, limit_s in demand.bounds_s.items()},
        "utilization": demand.utilization,
    }


def _efficiency(
    efficiencies: tuple[Efficiency, Efficiency], measured: Measured | None, gpu: Gpu, tensor_parallel: int
) -> dict[str, Any]:
    cautious, hopeful = efficiencies
    source = "assumed"
    if measured is not None:
        source = (
            f"measured: {measured.output_tokens_per_s:,.4g} output tokens/s "
            f"at {measured.batch:,.4g} requests under way, on {tensor_parallel} x {gpu.name}"
        )
    return {
        "decode": (cautious.decode, hopeful.decode), "prefill": (cautious.prefill, hopeful.prefill), "source": source
    }  # fmt: skip


def _fit(model: Model, fit: Fit, need: Need, efficiencies: tuple[Efficiency, Efficiency]) -> dict[str, Any]:
    """A layout, and how fast it decodes the sequences that it must hold."""
    on = plans.hardware(fit.gpu, fit.tensor_parallel, model.weights.quantization)
    batch = need.concurrency
    work = plans.work(model, batch, need.context_tokens, need.kv_value_bytes, need.prefix_tokens)
    shortage = plans.shortage(fit, need)
    speeds = tuple(roofline.decode_tokens_per_s(batch, work, on, efficiency) for efficiency in efficiencies)
    return {
        "gpu": fit.gpu.name,
        "tensor_parallel": fit.tensor_parallel,
        "memory_bytes": fit.gpu.memory_bytes,
        "kv_space_bytes": fit.memory.kv_bytes,
        "sequences": fit.sequences,
        "shortage": shortage,
        "decode_tokens_per_s": None if shortage else speeds,
        "decode_limit": None if shortage else roofline.decode_step(batch, work, on).limit,
        "speeds_estimated": fit.gpu.estimated,
    }


def _plan(plan: ReplicaPlan, demand: Demand | None) -> dict[str, Any]:
    price = plan.price
    usd = plan.usd_per_month or (None, None)
    return {
        "gpu": plan.fit.gpu.name,
        "tensor_parallel": plan.fit.tensor_parallel,
        "speeds_estimated": plan.fit.gpu.estimated,
        "sequences": plan.fit.sequences,
        "replicas": plan.replicas,
        "cautious": _estimate(plan.cautious, demand),
        "hopeful": _estimate(plan.hopeful, demand),
        "usd_per_month": tuple(None if amount is None else float(amount) for amount in usd),
        "price": None
        if price is None
        else {
            "name": str(price),
            "usd_per_gpu_hour": (float(price.usd_per_gpu_hour_low), float(price.usd_per_gpu_hour_high)),
            "includes_host": price.includes_host,
            "read_on": price.read_on.isoformat(),
            "source": price.source,
        },
    }


def _estimate(estimate: Estimate | None, demand: Demand | None) -> dict[str, Any] | None:
    if estimate is None or demand is None:
        return None
    pace = estimate.pace
    return {
        "concurrency": pace.batch,
        "requests_per_s": pace.requests_per_s,
        "output_tokens_per_s": pace.requests_per_s * demand.output_tokens,
        "ttft_ms": 1000 * pace.ttft_s,
        "tpot_ms": 1000 * pace.tpot_s,
        "service_ms": 1000 * pace.service_s(demand.output_tokens),
        "prefill_share": pace.prefill_share,
        "decode_limit": pace.limit,
        "limit": estimate.limit,
    }


def _notes(model: Model, demand: Demand | None, claimed: Claimed | None, ranked: Sequence[ReplicaPlan]) -> list[str]:
    notes = []
    if claimed is not None:
        notes.append(f"the claimed {claimed.output_tokens_per_s:,.4g} output tokens/s are not above the roofline")
    if demand is not None and demand.bounds_s:
        notes.append("objectives are held against the mean: a roofline knows no percentiles")
    if model.architecture.experts:
        notes.append("a batch is taken to need experts evenly, each token for itself: the larger, the more are read")
    if any(plan.fit.gpu.estimated for plan in ranked):
        notes.append("~ marks GPUs whose operations per second nobody published: estimates")
    if any(plan.price and not plan.price.includes_host for plan in ranked):
        notes.append("+ marks a price of the GPU alone: the host it needs comes on top")
    today = date.today()
    if old := sorted({str(plan.price) for plan in ranked if plan.price and gpu_prices.is_old(plan.price, today)}):
        notes.append(f"prices older than {gpu_prices.OLD_AFTER_DAYS} days: {', '.join(old)}")
    return notes
