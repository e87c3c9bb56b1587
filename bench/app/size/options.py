"""The options of sizing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SizeOptions:
    """All options of sizing, named as their flags; None takes the model's or the load's value."""

    model: str
    quantization: str | None = None
    context: int | None = None
    concurrency: int | None = None
    rate: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    prefix_tokens: int | None = None
    slo: tuple[str, ...] = ()
    utilization: float = 0.7
    gpu: tuple[str, ...] = ()
    tensor_parallel: tuple[int, ...] = ()
    kv_cache: Literal["fp16", "fp8"] = "fp16"
    gpu_memory_utilization: float = 0.92
    overhead_gib: float = 1.5
    measured: Path | None = None
    claimed: float | None = None
    prices: Path | None = None
    traffic: str | None = None
