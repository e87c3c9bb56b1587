"""From a model and a need to the result of `bench.py size`: the GPUs asked for, where the model fits, and the plans."""

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial

from analysis.money import gpu_prices
from analysis.money.gpu_prices import GpuPrice
from analysis.sizing import gpus, memory, plans
from analysis.sizing.gpus import Gpu
from analysis.sizing.memory import TENSOR_PARALLEL, Model
from analysis.sizing.plans import ClaimedThroughput, Demand, Measured, ReplicaNeed, ReplicaPlan
from analysis.sizing.roofline import CAUTIOUS, HOPEFUL
from analysis.sizing.written import Sizing, SizingTraffic
from bench.app.size.options import SizeOptions
from bench.plan.resolve import within
from bench.types import UserError

MAX_TENSOR_PARALLEL = 64

Priced = tuple[Gpu, Callable[[int], GpuPrice | None]]
"""A GPU, and the price of a number of them."""


def sized(
    model: Model,
    notes: Sequence[str],
    need: ReplicaNeed,
    demand: Demand | None,
    options: SizeOptions,
    measured: Measured | None,
    claimed: ClaimedThroughput | None,
    traffic: SizingTraffic | None,
) -> Sizing:
    """The result of sizing. Raises UserError if no GPU is left to consider."""
    chosen, tensor_parallel = _chosen(options), options.tensor_parallel or TENSOR_PARALLEL
    for size in tensor_parallel:
        within("--tensor-parallel", size, 1, MAX_TENSOR_PARALLEL)
    if not memory.splits(model.architecture, tensor_parallel):
        heads = f"{model.architecture.heads} attention heads and {model.architecture.kv_heads} key-value heads"
        raise UserError(f"--tensor-parallel: {model.name} has {heads}, which it does not divide")
    efficiencies, source = (CAUTIOUS, HOPEFUL), "assumed"
    on = plans.hardware(chosen[0][0], tensor_parallel[0], model.weights.quantization)
    if claimed is not None:
        plans.check(model, on, claimed, need.kv_value_bytes)
    if measured is not None:
        efficiencies = (plans.calibrate(model, on, measured, need.kv_value_bytes),) * 2
        source = (
            f"measured: {measured.output_tokens_per_s:,.4g} output tokens/s at {measured.batch:,.4g} requests in "
            f"flight, on {tensor_parallel[0]} x {chosen[0][0].name}"
        )
    laid_out = [
        (fit, price_of(fit.tensor_parallel))
        for gpu, price_of in chosen
        for fit in plans.fits(model, gpu, need, tensor_parallel)
    ]
    fitting = [(fit, price) for fit, price in laid_out if plans.shortage(fit, need) is None]
    made = [(fit, plans.plan(model, fit, need, demand, efficiencies, price)) for fit, price in fitting]
    ranked = plans.ranked(plan for _, plan in made if plan is not None)
    return Sizing(
        model=model,
        need=need,
        demand=demand,
        efficiencies=efficiencies,
        efficiency_source=source,
        fits=tuple(fit for fit, _ in laid_out),
        plans=tuple(ranked),
        refused=tuple(
            (fit, plans.unmet(model, fit, need, demand, efficiencies[1]))
            for fit, plan in made
            if plan is None and demand is not None
        ),
        notes=(*notes, *_notes(model, demand, claimed, ranked)),
        traffic=traffic,
    )


def _chosen(options: SizeOptions) -> list[Priced]:
    """The GPUs asked for, with prices; all known ones by default."""
    listed = gpu_prices.known(options.prices)
    if not options.gpu:
        return [(gpu, partial(plans.cheapest, gpu, listed)) for gpu in gpus.gpus().values()]
    chosen: list[Priced] = []
    for spec in options.gpu:
        gpu = gpus.find(spec.partition(":")[0].partition("@")[0])
        plain = spec.lower().replace(" ", "-")
        by_name = plain == gpu.name
        chosen.append(
            (gpu, partial(plans.cheapest, gpu, listed) if by_name else partial(gpu_prices.find, plain, listed))
        )
    return chosen


def _notes(
    model: Model, demand: Demand | None, claimed: ClaimedThroughput | None, ranked: Sequence[ReplicaPlan]
) -> list[str]:
    notes = []
    if claimed is not None:
        notes.append(f"the claimed {claimed.output_tokens_per_s:,.4g} output tokens/s are not above the roofline")
    if demand is not None and demand.bounds_s:
        notes.append("objectives are checked against the mean, because a roofline has no percentiles")
    if model.architecture.experts:
        notes.append(
            "each token of a batch is taken to choose its experts evenly and independently: the larger the "
            "batch, the more are read"
        )
    if any(plan.fit.gpu.estimated for plan in ranked):
        notes.append("~ marks GPUs whose peak operations per second are unpublished: estimates")
    if any(plan.price and not plan.price.includes_host for plan in ranked):
        notes.append("+ marks the price of a GPU alone; the host it needs costs extra")
    today = date.today()
    if old := sorted({str(plan.price) for plan in ranked if plan.price and gpu_prices.is_old(plan.price, today)}):
        notes.append(f"prices older than {gpu_prices.OLD_AFTER_DAYS} days: {', '.join(old)}")
    return notes
