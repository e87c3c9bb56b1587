"""The GPUs that are known: memory, bandwidth and speed, one row of gpus.csv each."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from analysis.sizing.memory import GIB
from bench.suggest import did_you_mean
from bench.types import UserError

_FILE: Final = Path(__file__).parent / "gpus.csv"
_FP8_FROM_CAPABILITY: Final = (8, 9)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: the memory that programs see, and operations per second on dense matrices.

    `flops8` is of 8-bit numbers, None where it is not known. `estimated` says that the speeds are from memory, not
    from a data sheet.
    """

    name: str
    memory_bytes: int
    bandwidth_bytes_per_s: float
    flops: float
    flops8: float | None
    watts: float
    compute_capability: tuple[int, int]
    confidence: str

    @property
    def estimated(self) -> bool:
        """Whether nobody has published the speeds."""
        return "from memory" in self.confidence


@cache
def gpus() -> Mapping[str, Gpu]:
    with _FILE.open(encoding="utf-8", newline="") as rows:
        return {row["gpu"]: _gpu(row) for row in csv.DictReader(rows)}


def find(name: str) -> Gpu:
    """Look a GPU up, in any case, with spaces or dashes. Raises UserError with the nearest names."""
    known, plain = gpus(), name.lower().replace(" ", "-")
    if plain not in known:
        raise UserError(f"--gpu {name!r}: expected one of {', '.join(known)}{did_you_mean(plain, known, 3)}")
    return known[plain]


def flops(gpu: Gpu, quantization: str) -> float:
    """Operations per second at that quantization: formats below 8 bits, and fp8 on GPUs without it, compute in fp16.

    Where the speed of 8-bit numbers is not known, it is taken for twice that of fp16, as on every GPU where it is.
    """
    in_8_bits = quantization == "int8" or (quantization == "fp8" and gpu.compute_capability >= _FP8_FROM_CAPABILITY)
    return (gpu.flops8 or 2 * gpu.flops) if in_8_bits else gpu.flops


def max_sequences(gpu: Gpu) -> int:
    """How many sequences vLLM 0.32's server takes at once on one, unless told otherwise (`--max-num-seqs`)."""
    return 1024 if gpu.memory_bytes >= 70 * GIB and not gpu.name.startswith("a100") else 256


def _gpu(row: Mapping[str, str]) -> Gpu:
    major, minor = row["compute_capability"].split(".")
    return Gpu(
        name=row["gpu"],
        memory_bytes=round(float(row["memory_gib"]) * GIB),
        bandwidth_bytes_per_s=float(row["bandwidth_gb_s"]) * 1e9,
        flops=float(row["fp16_dense_tflops"]) * 1e12,
        flops8=float(row["fp8_or_int8_tflops"]) * 1e12 if row["fp8_or_int8_tflops"] else None,
        watts=float(row["watts"]),
        compute_capability=(int(major), int(minor)),
        confidence=row["confidence"],
    )
