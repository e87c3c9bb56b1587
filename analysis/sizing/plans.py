"""Which GPUs can hold a model, how many requests they serve at best, how many a load needs, and what that costs."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from analysis.money import gpu_prices
from analysis.money.gpu_prices import ON_DEMAND, GpuPrice
from analysis.money.numbers import HOURS_PER_MONTH
from analysis.sizing import gpus, memory, roofline
from analysis.sizing.gpus import Gpu
from analysis.sizing.memory import Memory, Model
from analysis.sizing.roofline import Efficiency, Hardware, Pace, StepWork
from bench.types import UserError

Bottleneck = Literal["memory", "bandwidth", "compute", "objective", "engine"]
Bound = Literal["ttft", "tpot", "service"]

UTILIZATION: Final = 0.7
"""The highest share of a replica's capacity that is planned with: beyond it, requests wait for each other."""
# The fraction by which twice the sequences must raise the rate for memory to be what limits it.
_WORTH_MORE_MEMORY: Final = 0.1
_NEVER: Final = Decimal("Infinity")
_BOUNDS: Final[Mapping[str, Bound]] = {
    "ttft_ms": "ttft", "ttft_text_ms": "ttft", "tpot_ms": "tpot", "itl_ms": "tpot",
    "service_ms": "service", "response_ms": "service",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReplicaNeed:
    """What each replica must hold: `concurrency` sequences of `context_tokens`, in an engine that takes so much.

    Of those, the first `prefix_tokens` are the same in all sequences, and in the cache once.
    """

    context_tokens: int
    concurrency: int = 1
    prefix_tokens: int = 0
    kv_value_bytes: int = 2
    gpu_memory_utilization: float = memory.GPU_MEMORY_UTILIZATION
    overhead_bytes: int = memory.OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Demand:
    """The load: requests of these lengths at a rate; `bounds_s` are the objectives' limits in seconds.

    The first `prefix_tokens` of all prompts are the same and cached, so that no prompt computes them.
    """

    rate_per_s: float
    prompt_tokens: int
    output_tokens: int
    bounds_s: Mapping[Bound, float]
    utilization: float = UTILIZATION
    prefix_tokens: int = 0

    @property
    def tokens(self) -> int:
        """A request's length at its end: prompt and answer."""
        return self.prompt_tokens + self.output_tokens

    @property
    def computed_tokens(self) -> int:
        """The part of a prompt that is computed, not cached."""
        return max(1, self.prompt_tokens - memory.cached_tokens(self.prefix_tokens))


class Fit(NamedTuple):
    """A model on `tensor_parallel` GPUs: one GPU's memory, and how many sequences of the need's length it holds."""

    gpu: Gpu
    tensor_parallel: int
    memory: Memory
    sequences: int


class Estimate(NamedTuple):
    """What one replica serves at best at one efficiency, and what keeps it from more."""

    pace: Pace
    limit: Bottleneck


# --- memory -----------------------------------------------------------------------------------------------------


def fits(
    model: Model, gpu: Gpu, need: ReplicaNeed, tensor_parallel: Iterable[int] = memory.TENSOR_PARALLEL
) -> list[Fit]:
    """Lay the model out on each number of GPUs that its heads can be divided over, whether it fits or not."""
    return [_fit(model, gpu, need, n) for n in memory.splits(model.architecture, tensor_parallel)]


def shortage(fit: Fit, need: ReplicaNeed) -> str | None:
    """Why the model does not fit; None where it does."""
    usable, weights, overhead = (size / memory.GIB for size in fit.memory)
    if fit.memory.weights_bytes > fit.memory.usable_bytes:
        return f"{weights:.2f} GiB of weights, {usable:.2f} GiB usable"
    if fit.memory.kv_bytes < 0:
        return f"{weights:.2f} GiB of weights and {overhead:.2f} GiB of overhead, {usable:.2f} GiB usable"
    if fit.sequences < need.concurrency:
        space = fit.memory.kv_bytes / memory.GIB
        return f"{space:.2f} GiB of KV space hold {fit.sequences} sequences of {need.context_tokens:,} tokens"
    return None


def _fit(model: Model, gpu: Gpu, need: ReplicaNeed, tensor_parallel: int) -> Fit:
    divided = memory.divide(
        model.weights.total_bytes, gpu.memory_bytes, tensor_parallel, need.gpu_memory_utilization, need.overhead_bytes
    )
    return Fit(gpu, tensor_parallel, divided, _sequences(model, divided, tensor_parallel, need, need.context_tokens))


def _sequences(model: Model, divided: Memory, tensor_parallel: int, need: ReplicaNeed, tokens: int) -> int:
    return memory.sequences(
        model.architecture, divided.kv_bytes, tokens, tensor_parallel, need.kv_value_bytes, need.prefix_tokens
    )


# --- speed ------------------------------------------------------------------------------------------------------


def hardware(gpu: Gpu, tensor_parallel: int, quantization: str) -> Hardware:
    """The GPUs of one replica, as if passing results between them took no time."""
    return Hardware(tensor_parallel * gpu.bandwidth_bytes_per_s, tensor_parallel * gpus.flops(gpu, quantization))


def work(model: Model, batch: float, tokens: int, kv_value_bytes: int = 2, prefix_tokens: int = 0) -> StepWork:
    """What a step over `batch` sequences of that length needs; for experts see `memory.read_bytes`.

    The first `prefix_tokens` are the same in all sequences: they are read once, as the weights are.
    """
    shared = memory.cached_tokens(min(prefix_tokens, tokens))
    once, each = (memory.kv_bytes(model.architecture, part, kv_value_bytes) for part in (shared, tokens - shared))
    return StepWork(memory.read_bytes(model, batch) + once, each, model.active_parameters)


def pace(model: Model, batch: int, demand: Demand, on: Hardware, efficiency: Efficiency, value_bytes: int) -> Pace:
    """Bound a replica with that many of the load's requests under way, each half through its answer."""
    # Answers under way are in all their stages: on average half of each is in the cache.
    halfway = work(model, batch, demand.prompt_tokens + demand.output_tokens // 2, value_bytes, demand.prefix_tokens)
    return roofline.pace(batch, demand.computed_tokens, demand.output_tokens, halfway, on, efficiency)


def estimate(model: Model, fit: Fit, need: ReplicaNeed, demand: Demand, efficiency: Efficiency) -> Estimate | None:
    """Find the most requests at once that keep the objectives, which is the highest rate too; None where one breaks
    them.
    """
    on = hardware(fit.gpu, fit.tensor_parallel, model.weights.quantization)
    held = _sequences(model, fit.memory, fit.tensor_parallel, need, demand.tokens)
    most = min(held, gpus.max_sequences(fit.gpu))

    def at(batch: int) -> Pace:
        return pace(model, batch, demand, on, efficiency, need.kv_value_bytes)

    if most < 1 or not _keeps(at(1), demand):
        return None
    # Every time grows with the batch, so the batches that keep the objectives come before those that do not.
    batch = 1 + bisect_left(range(2, most + 1), True, key=lambda batch: not _keeps(at(batch), demand))
    best = at(batch)
    return Estimate(best, _limit(best, batch < most, held, at(2 * batch), most))


def _limit(best: Pace, stopped_by_objective: bool, held: int, doubled: Pace, most: int) -> Bottleneck:
    if stopped_by_objective:
        return "objective"
    if doubled.requests_per_s > (1 + _WORTH_MORE_MEMORY) * best.requests_per_s:
        return "memory" if held == most else "engine"
    return "compute" if best.prefill_share > 0.5 or best.limit == "compute" else "bandwidth"


def unmet(model: Model, fit: Fit, need: ReplicaNeed, demand: Demand, efficiency: Efficiency) -> str:
    """Which objectives even a single request breaks, and by how much."""
    on = hardware(fit.gpu, fit.tensor_parallel, model.weights.quantization)
    alone = _seen(pace(model, 1, demand, on, efficiency, need.kv_value_bytes), demand)
    over = [
        f"{name} {1000 * alone[name]:,.0f} ms" for name, limit_s in demand.bounds_s.items() if alone[name] >= limit_s
    ]
    return "a single request has at best " + " and ".join(over)


def _keeps(best: Pace, demand: Demand) -> bool:
    seen = _seen(best, demand)
    return all(seen[name] < limit_s for name, limit_s in demand.bounds_s.items())


def _seen(best: Pace, demand: Demand) -> dict[Bound, float]:
    return {"ttft": best.ttft_s, "tpot": best.tpot_s, "service": best.service_s(demand.output_tokens)}


def bounds_s(limits_ms: Mapping[str, float]) -> dict[Bound, float]:
    """The objectives that a roofline can speak of, in seconds. Raises UserError for another metric."""
    bounds: dict[Bound, float] = {}
    for metric, limit_ms in limits_ms.items():
        if metric not in _BOUNDS:
            raise UserError(f"--slo {metric}: a roofline knows only {', '.join(_BOUNDS)}; leave it out, or measure")
        name = _BOUNDS[metric]
        bounds[name] = min(limit_ms / 1000, bounds.get(name, math.inf))
    return bounds


# --- what cannot be ---------------------------------------------------------------------------------------------------


class ReplicaCeiling(NamedTuple):
    """The most requests of a load that one replica can serve on perfect hardware.

    `shortage` says why it cannot hold even one of them; there is then no rate.
    """

    shortage: str | None
    requests_per_s: float | None


def most(model: Model, gpu: Gpu, gpu_count: int, demand: Demand) -> ReplicaCeiling:
    """Bound what `gpu_count` GPUs of one replica serve of requests like the demand's, whose rate does not count.

    A replica must hold one of them. GPUs that the heads cannot be divided over may divide the layers, so that nothing
    is refused for that. Prompts are computed while answers are read, as if neither kept the other waiting: a capacity
    above this is none, whatever the engine.
    """
    need = ReplicaNeed(demand.tokens, prefix_tokens=demand.prefix_tokens)
    fit = _fit(model, gpu, need, gpu_count)
    if short := shortage(fit, need):
        return ReplicaCeiling(short, None)
    halfway = demand.prompt_tokens + demand.output_tokens // 2
    batch = max(1, _sequences(model, fit.memory, gpu_count, need, halfway))
    needed = work(model, batch, halfway, need.kv_value_bytes, demand.prefix_tokens)
    on = hardware(gpu, gpu_count, model.weights.quantization)
    return ReplicaCeiling(
        None, roofline.ceiling_requests_per_s(batch, demand.computed_tokens, demand.output_tokens, needed, on)
    )


# --- money ------------------------------------------------------------------------------------------------------


class ReplicaPlan(NamedTuple):
    """A way to serve the load: (low, high) are by the hopeful and by the cautious efficiency and price.

    `cautious` is None, and with it the high end, where the objectives are kept only at the hopeful efficiency. Without
    a load there is one replica and nothing is estimated.
    """

    fit: Fit
    cautious: Estimate | None
    hopeful: Estimate | None
    replicas: tuple[int, int | None]
    price: GpuPrice | None
    usd_per_month: tuple[Decimal, Decimal | None] | None


def replicas(demand: Demand, requests_per_s: float) -> int:
    """How many replicas the load needs when none is used beyond the demand's utilization."""
    # Waiting grows without bounds as use nears 1 (Kingman, 1961): the room is for what comes in bursts.
    return max(1, math.ceil(demand.rate_per_s / (requests_per_s * demand.utilization)))


def plan(
    model: Model,
    fit: Fit,
    need: ReplicaNeed,
    demand: Demand | None,
    efficiencies: tuple[Efficiency, Efficiency],
    price: GpuPrice | None,
) -> ReplicaPlan | None:
    """Serve the load on replicas of this kind; None where they cannot keep its objectives. `efficiencies` ascend."""
    if demand is None:
        return ReplicaPlan(fit, None, None, (1, 1), price, _usd_per_month(fit, (1, 1), price))
    cautious, hopeful = (estimate(model, fit, need, demand, efficiency) for efficiency in efficiencies)
    if hopeful is None:
        return None
    fewest = replicas(demand, hopeful.pace.requests_per_s)
    most = None if cautious is None else replicas(demand, cautious.pace.requests_per_s)
    return ReplicaPlan(fit, cautious, hopeful, (fewest, most), price, _usd_per_month(fit, (fewest, most), price))


def ranked(plans: Iterable[ReplicaPlan]) -> list[ReplicaPlan]:
    """The cheapest first by what they cost at most; then those that may fail, and those that nobody has a price for."""

    def key(each: ReplicaPlan) -> tuple[bool, Decimal, Decimal, int]:
        low, high = each.usd_per_month or (None, None)
        most_gpus = (each.replicas[1] or each.replicas[0]) * each.fit.tensor_parallel
        return low is None, high or _NEVER, low or _NEVER, most_gpus

    return sorted(plans, key=key)


def cheapest(gpu: Gpu, prices: Iterable[GpuPrice], gpus: int = 1) -> GpuPrice | None:
    """The lowest price on demand of so many GPUs together; one without its host only where there is no other."""
    offered = [price for price in prices if price.gpu == gpu.name and price.kind == ON_DEMAND]
    return gpu_prices.cheapest(offered, gpus) if offered else None


def _usd_per_month(
    fit: Fit, count: tuple[int, int | None], price: GpuPrice | None
) -> tuple[Decimal, Decimal | None] | None:
    if price is None:
        return None
    fewest, most = count
    low, _ = price.usd_per_hour(fit.tensor_parallel, fewest)
    high = None if most is None else price.usd_per_hour(fit.tensor_parallel, most)[1] * HOURS_PER_MONTH
    return low * HOURS_PER_MONTH, high


# --- calibration ------------------------------------------------------------------------------------------------


class ClaimedThroughput(NamedTuple):
    """A number of output tokens per second that somebody quotes, for sequences of `tokens` on average.

    `batch` is None where nobody says how many there were at once.
    """

    output_tokens_per_s: float
    batch: int | None
    tokens: int


def check(model: Model, on: Hardware, claimed: ClaimedThroughput, kv_value_bytes: int = 2) -> None:
    """Raise UserError, with the reason, for a number above the roofline. Of experts, only those of a token are read."""
    needed = work(model, 1, claimed.tokens, kv_value_bytes)
    if impossible := roofline.check(claimed.output_tokens_per_s, claimed.batch, needed, on):
        raise UserError(f"--claimed: {impossible}")


class Measured(NamedTuple):
    """A measured run in the figures that its roofline needs; `batch` is how many requests were under way."""

    output_tokens_per_s: float
    batch: float
    prompt_tokens: float
    output_tokens: float


def calibrate(model: Model, on: Hardware, run: Measured, kv_value_bytes: int = 2) -> Efficiency:
    """Give the share of the roofline that a run has reached, prompts included, as the efficiency of every step.

    Raises UserError for a run above the roofline: it was not made with this model on this hardware.
    """
    tokens = round(run.prompt_tokens + run.output_tokens / 2)
    if impossible := roofline.check(run.output_tokens_per_s, run.batch, work(model, 1, tokens, kv_value_bytes), on):
        raise UserError(f"--measured: {impossible}; check --gpu, --tensor-parallel and --quantization")
    at_best = roofline.pace(
        run.batch, run.prompt_tokens, run.output_tokens, work(model, run.batch, tokens, kv_value_bytes), on
    )
    share = run.output_tokens_per_s / (at_best.requests_per_s * run.output_tokens)
    if share > 1:
        raise UserError(
            f"--measured: {run.output_tokens_per_s:,.0f} output tokens/s are above the roofline of "
            f"{at_best.requests_per_s * run.output_tokens:,.0f} with every prompt computed; were they cached?"
        )
    return Efficiency(share, share)
