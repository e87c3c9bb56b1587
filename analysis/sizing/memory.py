"""What a model needs of a GPU's memory: its weights, and the keys and values of the tokens it holds."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from analysis.sizing.architecture import Architecture, Parameters, active
from bench.suggest import did_you_mean
from bench.types import UserError

GIB: Final = 2**30
BLOCK_TOKENS: Final = 16
GPU_MEMORY_UTILIZATION: Final = 0.92
"""The share of a GPU's memory that vLLM takes unless told otherwise."""
OVERHEAD_BYTES: Final = 3 * GIB // 2
"""Activations and graphs on each GPU: 1 to 2 GiB where nobody has measured them."""
GROUP_SIZE: Final = 128
TENSOR_PARALLEL: Final = (1, 2, 4, 8)
KV_BYTES: Final[Mapping[str, int]] = {"fp16": 2, "fp8": 1}

_LINEAR_BITS: Final[Mapping[str, int]] = {"fp16": 16, "bf16": 16, "fp8": 8, "int8": 8}
_GROUPED: Final = ("awq", "gptq")
# Bits per weight of whole files: llama.cpp's table for Llama 2 7B; the last two are pure formats.
_FILE_BITS: Final[Mapping[str, float]] = {
    "q3_k_m": 3.91,
    "q4_k_s": 4.58,
    "q4_k_m": 4.84,
    "q5_k_s": 5.52,
    "q5_k_m": 5.68,
    "q6_k": 6.5625,
    "q8_0": 8.5,
}
QUANTIZATIONS: Final = (*_LINEAR_BITS, *_GROUPED, *_FILE_BITS)


class Storage(NamedTuple):
    """A format of safetensors: how many bits a weight of a matrix takes, with its share of scales and zeros."""

    name: str
    linear_bits: Fraction
    expert_bits: Fraction

    @classmethod
    def alike(cls, name: str, bits: Fraction) -> "Storage":
        """A format in which experts take as many bits as other matrices."""
        return cls(name, bits, bits)


class Weights(NamedTuple):
    """Weights in memory; `expert_bytes` are those of routed experts among `total_bytes`."""

    quantization: str
    total_bytes: int
    expert_bytes: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model, as it will be served."""

    name: str
    architecture: Architecture
    parameters: Parameters
    weights: Weights

    @property
    def active_parameters(self) -> float:
        """How many weights one token passes."""
        return active(self.architecture, self.parameters)


class Memory(NamedTuple):
    """One GPU's memory as the engine divides it; `kv_bytes` is below 0 where the rest alone is too much."""

    usable_bytes: int
    weights_bytes: int
    overhead_bytes: int

    @property
    def kv_bytes(self) -> int:
        """What is left for keys and values."""
        return self.usable_bytes - self.weights_bytes - self.overhead_bytes


# --- weights ----------------------------------------------------------------------------------------------------


def weights(parameters: Parameters, quantization: str, group_size: int = GROUP_SIZE) -> Weights:
    """Weights of a model whose file is not at hand, by the name of a quantization.

    Formats of safetensors quantize the matrices and keep token tables, norms and routers at 2 bytes; those of GGUF are
    whole-file averages. `group_size` is how many weights of awq or gptq share a scale of 16 bits and a zero of 4.
    Raises UserError for a quantization that is not known.
    """
    if quantization in _FILE_BITS:
        bits = Fraction(_FILE_BITS[quantization])
        return Weights(quantization, _bytes(parameters.total, bits), _bytes(parameters.experts, bits))
    if quantization in _GROUPED:
        return stored(parameters, Storage.alike(quantization, 4 + Fraction(20, group_size)))
    if quantization not in _LINEAR_BITS:
        near = did_you_mean(quantization, QUANTIZATIONS)
        raise UserError(f"--quantization {quantization!r}: expected one of {', '.join(QUANTIZATIONS)}{near}")
    return stored(parameters, Storage.alike(quantization, Fraction(_LINEAR_BITS[quantization])))


def stored(parameters: Parameters, storage: Storage) -> Weights:
    """Weights of a model in a format of safetensors: token tables, norms, biases and routers stay at 2 bytes."""
    kept = 2 * (parameters.embeddings + parameters.rest)
    experts = _bytes(parameters.experts, storage.expert_bits)
    return Weights(storage.name, _bytes(parameters.linear, storage.linear_bits) + experts + kept, experts)


def tensor_weights(name: str, tensor_bytes: Mapping[str, int]) -> Weights:
    """Weights of a GGUF file: the sum over its tensors, whatever the type of each."""
    experts = sum(size for tensor, size in tensor_bytes.items() if "_exps." in tensor)
    return Weights(name, sum(tensor_bytes.values()), experts)


def read_bytes(model: Model, batch: float) -> float:
    """Bytes of weights that a step over `batch` tokens reads: all but the experts that no token takes.

    A batch of 1 takes `active_experts`. A larger one is assumed to take experts evenly and each token for itself;
    where real routing has favourites, fewer are read.
    """
    experts, taken = model.architecture.experts, model.architecture.active_experts
    if not experts or not taken:
        return model.weights.total_bytes
    # A token takes k of E experts: the chance that none of the batch takes a given one is (1 - k/E)^batch.
    untouched: float = (1 - taken / experts) ** batch
    return model.weights.total_bytes - model.weights.expert_bytes * untouched


def _bytes(count: int, bits: Fraction) -> int:
    return round(count * bits / 8)


# --- keys and values --------------------------------------------------------------------------------------------


def kv_bytes_per_token(model: Architecture, value_bytes: int = 2) -> int:
    """Bytes that a token adds to the cache while no window is full."""
    return model.layers * _layer_bytes(model, value_bytes)


def kv_bytes(model: Architecture, tokens: int, value_bytes: int = 2) -> int:
    """Bytes that a sequence of that length holds, in whole blocks of 16 tokens; layers that slide hold a window."""
    sliding = min(tokens, model.sliding_window) if model.sliding_window else tokens
    # vLLM gives a sequence whole blocks; a layer that slides frees those behind its window.
    layer_tokens = (model.layers - model.sliding_layers) * _blocks(tokens) + model.sliding_layers * _blocks(sliding)
    return layer_tokens * _layer_bytes(model, value_bytes)


def cached_tokens(prefix_tokens: int) -> int:
    """How many tokens of a prefix that all prompts share are cached: its whole blocks."""
    return prefix_tokens // BLOCK_TOKENS * BLOCK_TOKENS


def _layer_bytes(model: Architecture, value_bytes: int) -> int:
    # Latents are cached once for all heads; otherwise a key and a value for each head of them.
    if model.mla:
        return (model.mla.kv_lora_rank + model.mla.rope_dim) * value_bytes
    return 2 * model.kv_heads * model.head_dim * value_bytes


def _blocks(tokens: int) -> int:
    """A length in tokens, rounded up to whole blocks."""
    return -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS


# --- what fits --------------------------------------------------------------------------------------------------


def splits(model: Architecture, sizes: Iterable[int] = TENSOR_PARALLEL) -> list[int]:
    """Over how many of these numbers of GPUs the heads of the model can be divided.

    Where there are more GPUs than heads of keys and values, each of those is on several, as vLLM does it.
    """
    kv_heads = 1 if model.mla else model.kv_heads
    return [n for n in sizes if model.heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)]


def divide(
    weights_bytes: int,
    gpu_memory_bytes: int,
    tensor_parallel: int = 1,
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION,
    overhead_bytes: int = OVERHEAD_BYTES,
) -> Memory:
    """Divide one of `tensor_parallel` GPUs as vLLM does."""
    usable = math.floor(gpu_memory_bytes * gpu_memory_utilization)
    return Memory(usable, -(-weights_bytes // tensor_parallel), overhead_bytes)


def sequences(
    model: Architecture,
    kv_space_bytes: int,
    tokens: int,
    tensor_parallel: int = 1,
    value_bytes: int = 2,
    prefix_tokens: int = 0,
) -> int:
    """How many sequences of that length one GPU's share of the cache holds, `prefix_tokens` of which all share.

    GPUs that the heads cannot be divided over divide the layers.
    """
    shared, share = cached_tokens(min(prefix_tokens, tokens - 1)), _share(model, tensor_parallel)
    held_once, held_by_each = (share * kv_bytes(model, part, value_bytes) for part in (shared, tokens - shared))
    return max(0, int((kv_space_bytes - held_once) // held_by_each))


def _share(model: Architecture, gpu_count: int) -> Fraction:
    """How much of a sequence's cache is on one GPU; the latent of MLA is on each that divides the heads."""
    # Tensor parallelism divides the heads, and copies those of keys and values where there are fewer than GPUs.
    if gpu_count not in splits(model, [gpu_count]):
        return Fraction(1, gpu_count)
    return Fraction(1) if model.mla else max(Fraction(1, gpu_count), Fraction(1, model.kv_heads))
