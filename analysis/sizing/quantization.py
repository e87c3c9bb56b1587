"""How the weights of a repository are stored, from the quantization_config of its config.json."""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Final

from analysis.sizing.memory import GROUP_SIZE, Storage
from bench.types import UserError

# Parts that stay at 2 bytes in any case; a list of exceptions may name them.
_KEPT: Final = re.compile(
    r"lm_head|embed|norm|router|(^|[.*])gate\$?$|shared_expert_gate|vision|visual|audio|projector|connector|patch|"
    r"e_score_correction_bias"
)
_EXCEPTIONS: Final = ("modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "llm_int8_skip_modules")
# What is not the same in all layers, or of the matrices only in some.
_UNEVEN: Final = (
    "dynamic", "extra_config", "layer_config", "lm_head", "modules_in_block_to_quantize", "modules_to_convert",
    "quantized_layers",
)  # fmt: skip
_HALF: Final = 16


def from_config(config: Mapping[str, Any]) -> Storage | None:
    """Read how the weights are stored; None where nothing is said, which is as they were trained.

    Raises UserError, with its name, for a quantization whose bytes are not known here.
    """
    text = config.get("text_config")
    settings = config.get("quantization_config") or (isinstance(text, dict) and text.get("quantization_config"))
    if not settings:
        return None
    method = settings.get("quant_method") if isinstance(settings, dict) else settings
    if not isinstance(settings, dict) or not isinstance(method, str) or method not in _METHODS:
        raise _unknown(f"its quantization ({method})")
    nested = _part(settings, "quantization")
    kept = [entry for part in (settings, nested) for key in _EXCEPTIONS for entry in _part(part, key, list)]
    if uneven := [key for key in _UNEVEN if settings.get(key) or nested.get(key)]:
        raise _unknown(f"its quantization ({method} with {uneven[0]})")
    storage = _METHODS[method](settings)
    allowed = _ALSO_KEPT.get(method)
    for entry in kept:
        if not _KEPT.search(str(entry)) and not (allowed and allowed in str(entry)):
            raise _unknown(f"how much of the weights {method} leaves as they are ({entry})")
    return storage


def _unknown(what: str) -> UserError:
    return UserError(f"config.json: {what} is not known here; give --quantization, the nearest")


def _part(settings: Mapping[str, Any], key: str, kind: type = dict) -> Any:
    """What stands under a key, empty where nothing does."""
    found = settings.get(key) or kind()
    if not isinstance(found, kind):
        raise _unknown(f"its quantization ({key}: {found})")
    return found


def _bits(settings: Mapping[str, Any], key: str, known: tuple[int, ...]) -> int:
    bits = settings.get(key)
    if bits not in known or isinstance(bits, bool):
        raise _unknown(f"its quantization ({settings.get('quant_method', 'of a group')}, {bits} bits)")
    return int(bits)


def _group(bits: int, size: Any, zero_bits: int) -> Fraction:
    """Bits per weight where so many weights share a scale of 16 bits; one scale for a whole row is next to nothing."""
    if size is None:
        size = GROUP_SIZE
    if not isinstance(size, int) or isinstance(size, bool) or size == 0:
        raise _unknown(f"its quantization (groups of {size})")
    return Fraction(bits) if size < 0 else bits + Fraction(_HALF + zero_bits, size)


def _awq(settings: Mapping[str, Any]) -> Storage:
    # AutoAWQ and the tool of the paper's authors name the same two things each in its own way.
    bits_key, size_key = ("w_bit" if "w_bit" in settings else "bits"), "q_group_size"
    bits = _bits({"bits": 4} | dict(settings), bits_key, (4,))
    return Storage.alike("awq", _group(bits, settings.get(size_key, settings.get("group_size")), bits))


def _gptq(settings: Mapping[str, Any]) -> Storage:
    bits = _bits(settings, "bits", (2, 3, 4, 8))
    return Storage.alike("gptq", _group(bits, settings.get("group_size"), bits))


def _fp8(settings: Mapping[str, Any]) -> Storage:
    block = settings.get("weight_block_size")
    if block is None:
        return Storage.alike("fp8", Fraction(8))
    if not isinstance(block, list) or not all(isinstance(side, int) and side > 0 for side in block) or len(block) != 2:
        raise _unknown(f"its quantization (fp8 in blocks of {block})")
    return Storage.alike("fp8", 8 + Fraction(32, block[0] * block[1]))


def _mxfp4(_: Mapping[str, Any]) -> Storage:
    """Only the experts: 32 numbers of 4 bits share a scale of 8."""
    return Storage("mxfp4", Fraction(_HALF), 4 + Fraction(8, 32))


def _bitsandbytes(settings: Mapping[str, Any]) -> Storage:
    """8 bits with a scale for each row; or 4 bits, 64 of which share a scale of 32, itself in 8 bits where doubled."""
    if settings.get("load_in_8bit") is True:
        return Storage.alike("int8", Fraction(8))
    if settings.get("load_in_4bit") is not True:
        raise _unknown("its quantization (bitsandbytes in neither 4 nor 8 bits)")
    scale = 8 + Fraction(32, 256) if settings.get("bnb_4bit_use_double_quant") else Fraction(32)
    return Storage.alike("bitsandbytes", 4 + scale / 64)


def _compressed(settings: Mapping[str, Any]) -> Storage:
    groups = _part(settings, "config_groups")
    group = _part(groups, next(iter(groups), ""))
    if (
        len(groups) != 1
        or group.get("targets") != ["Linear"]
        or _part(settings, "sparsity_config").get("format", "dense") != "dense"
    ):
        raise _unknown("its quantization (compressed-tensors of several kinds)")
    weights = _part(group, "weights")
    bits, strategy, size = _bits(weights, "num_bits", (4, 8)), weights.get("strategy"), weights.get("group_size")
    if strategy not in ("tensor", "channel", "group", "block", "tensor_group"):
        raise _unknown(f"its quantization (compressed-tensors by {strategy})")
    floats, computed = weights.get("type") == "float", bool(group.get("input_activations"))
    if bits == 4 and (floats or strategy == "tensor_group"):
        if size not in (None, 16):
            raise _unknown(f"its quantization (nvfp4 in groups of {size})")
        return Storage.alike("nvfp4", 4 + Fraction(8, 16))
    zero_bits = 0 if weights.get("symmetric", True) else bits
    if strategy == "group" and size is None:
        raise _unknown("its quantization (compressed-tensors in groups of no size)")
    stored = _group(bits, size, zero_bits) if strategy == "group" else Fraction(bits)
    name = "fp8" if floats else "int8" if computed and bits == 8 else f"w{bits}a16"
    return Storage.alike(name, stored)


def _modelopt(settings: Mapping[str, Any]) -> Storage:
    algorithm = settings.get("quant_algo") or _part(settings, "quantization").get("quant_algo")
    if algorithm == "FP8":
        return Storage.alike("fp8", Fraction(8))
    if algorithm == "NVFP4":
        return Storage.alike("nvfp4", 4 + Fraction(8, 16))
    raise _unknown(f"its quantization (modelopt, {algorithm})")


_METHODS: Final[Mapping[str, Callable[[Mapping[str, Any]], Storage]]] = {
    "awq": _awq,
    "gptq": _gptq,
    "fp8": _fp8,
    "mxfp4": _mxfp4,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
}
# mxfp4 is of experts alone, whatever else it names.
_ALSO_KEPT: Final[Mapping[str, str]] = {"mxfp4": "self_attn"}
