"""What it takes to serve a model, and the same as `bench.py size --json` has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.sizing import memory, plans, roofline
from analysis.sizing.memory import Model
from analysis.sizing.plans import Demand, Estimate, Fit, ReplicaNeed, ReplicaPlan
from analysis.sizing.roofline import Efficiency, Limit
from bench.runs.sections import pick
from bench.types import LengthFacts

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SizingTraffic:
    """What was recorded, and what prefix caches that keep a prompt for so long would have served of its prompts."""

    file: str
    requests: int
    span_s: float
    mean_rate_per_s: float | None
    peak_rate_per_s: float
    prompt_tokens: LengthFacts
    output_tokens: LengthFacts
    cached_share_by_ttl: Mapping[str, float | None]
    recorded_cached_share: float | None


@dataclass(frozen=True, slots=True)
class Sizing:
    """A model, what it must hold and serve, where it fits, the plans (cheapest first), and what keeps no objective.

    Without a load there is a plan for each layout. `efficiencies` are the cautious and the hopeful one; `traffic` is
    what was recorded, None where none was given.
    """

    model: Model
    need: ReplicaNeed
    demand: Demand | None
    efficiencies: tuple[Efficiency, Efficiency]
    efficiency_source: str
    fits: tuple[Fit, ...]
    plans: tuple[ReplicaPlan, ...]
    refused: tuple[tuple[Fit, str], ...]
    notes: tuple[str, ...]
    traffic: SizingTraffic | None = None

    @property
    def kv_bytes_per_token(self) -> float:
        return memory.kv_bytes_per_token(self.model.architecture, self.need.kv_value_bytes)

    @property
    def kv_bytes_shared_and_own(self) -> tuple[float, float]:
        """What the prefix that all sequences share takes in the cache, and the rest of each."""
        prefix = memory.cached_tokens(min(self.need.prefix_tokens, self.need.context_tokens))
        shared, own = (
            memory.kv_bytes(self.model.architecture, tokens, self.need.kv_value_bytes)
            for tokens in (prefix, self.need.context_tokens - prefix)
        )
        return shared, own

    @property
    def kv_bytes(self) -> float:
        shared, own = self.kv_bytes_shared_and_own
        return shared + own * self.need.concurrency

    def shortage(self, fit: Fit) -> str | None:
        """What a layout is short of, None where the need fits."""
        return plans.shortage(fit, self.need)

    def decode_tokens_per_s(self, fit: Fit) -> tuple[float, float]:
        """How fast a layout decodes the sequences that it must hold, at either efficiency."""
        cautious, hopeful = (roofline.decode_tokens_per_s(*self._decoding(fit), each) for each in self.efficiencies)
        return cautious, hopeful

    def decode_limit(self, fit: Fit) -> Limit:
        """What keeps it from decoding faster."""
        return roofline.decode_step(*self._decoding(fit)).limit

    def _decoding(self, fit: Fit) -> tuple[int, roofline.StepWork, roofline.Hardware]:
        need = self.need
        work = plans.work(self.model, need.concurrency, need.context_tokens, need.kv_value_bytes, need.prefix_tokens)
        on = plans.hardware(fit.gpu, fit.tensor_parallel, self.model.weights.quantization)
        return need.concurrency, work, on


def plain(sizing: Sizing) -> Json:
    """All of it; amounts in USD, times in ms, pairs from low to high."""
    cautious, hopeful = sizing.efficiencies
    demand = sizing.demand
    return {
        "model": _model(sizing.model),
        "memory": _memory(sizing),
        "load": None if demand is None else _load(demand),
        "efficiency": {
            "decode": (cautious.decode, hopeful.decode),
            "prefill": (cautious.prefill, hopeful.prefill),
            "source": sizing.efficiency_source,
        },
        "gpus": [_fit(sizing, fit) for fit in sizing.fits],
        "plans": [_plan(each, demand) for each in sizing.plans],
        "refused": [
            {"gpu": fit.gpu.name, "tensor_parallel": fit.tensor_parallel, "reason": reason}
            for fit, reason in sizing.refused
        ],
        **pick(sizing, "notes", *(() if sizing.traffic is None else ("traffic",))),
    }


def _model(model: Model) -> Json:
    return {
        "name": model.name,
        "quantization": model.weights.quantization,
        "parameters": model.parameters.total,
        "active_parameters": round(model.active_parameters),
        **pick(model.architecture, "experts", "active_experts", "context_tokens"),
    }


def _memory(sizing: Sizing) -> Json:
    model, need = sizing.model, sizing.need
    shared, own = sizing.kv_bytes_shared_and_own
    return {
        "weights_bytes": model.weights.total_bytes,
        "kv_bytes_per_token": sizing.kv_bytes_per_token,
        "kv_bytes_per_sequence": shared + own,
        "kv_bytes": sizing.kv_bytes,
        "overhead_bytes_per_gpu": need.overhead_bytes,
        **pick(need, "concurrency", "context_tokens", "prefix_tokens", "gpu_memory_utilization"),
    }


def _load(demand: Demand) -> Json:
    return {
        **pick(demand, "rate_per_s", "prompt_tokens", "prefix_tokens", "output_tokens"),
        "objectives_ms": {name: 1000 * limit_s for name, limit_s in demand.bounds_s.items()},
        "utilization": demand.utilization,
    }


def _fit(sizing: Sizing, fit: Fit) -> Json:
    """A layout, and how fast it decodes the sequences that it must hold."""
    shortage = sizing.shortage(fit)
    return {
        "gpu": fit.gpu.name,
        "tensor_parallel": fit.tensor_parallel,
        "memory_bytes": fit.gpu.memory_bytes,
        "kv_space_bytes": fit.memory.kv_bytes,
        "sequences": fit.sequences,
        "shortage": shortage,
        "decode_tokens_per_s": None if shortage else sizing.decode_tokens_per_s(fit),
        "decode_limit": None if shortage else sizing.decode_limit(fit),
        "speeds_estimated": fit.gpu.estimated,
    }


def _plan(plan: ReplicaPlan, demand: Demand | None) -> Json:
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


def _estimate(estimate: Estimate | None, demand: Demand | None) -> Json | None:
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
