"""How many bits a weight has by every quantization_config: right, or refused by name."""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.sizing import memory, quantization
from analysis.sizing.architecture import count
from analysis.sizing.config import from_config
from analysis.sizing.memory import GIB, Storage
from bench.types import UserError

SHIPPED = json.loads((Path(__file__).parents[2] / "fixtures" / "sizing" / "shipped.json").read_text())

INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel"}


def packed(weights: dict[str, Any], computed: Any = None, **more: Any) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": computed}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"]} | more


@pytest.mark.parametrize(
    ("settings", "name", "bits"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["gate"]}, "awq", 4.15625),
        ({"quant_method": "awq"}, "awq", 4.15625),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "awq", 4 + 20 / 64),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "gptq", 4.625),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq", 8),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "gptq", 3 + 19 / 128),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8", 8),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8 + 32 / 16384),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8", 8),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", 4.5),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            "bitsandbytes",
            4 + (8 + 32 / 256) / 64,
        ),
        (packed(INT4), "w4a16", 4.125),
        (packed(INT4 | {"symmetric": False}), "w4a16", 4 + 20 / 128),
        (packed(INT4 | {"num_bits": 8, "strategy": "channel"}), "w8a16", 8),
        (packed(INT4 | {"num_bits": 8, "strategy": "channel"}, {"num_bits": 8}), "int8", 8),
        (packed(FP8, {"num_bits": 8}), "fp8", 8),
        (packed(FP8 | {"num_bits": 4, "strategy": "tensor_group", "group_size": 16}), "nvfp4", 4.5),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", 8),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4"}}, "nvfp4", 4.5),
    ],
)  # fmt: skip
def test_a_weight_has_its_bits_and_its_share_of_scales(settings: dict[str, Any], name: str, bits: float) -> None:
    for config in ({"quantization_config": settings}, {"text_config": {"quantization_config": settings}}):
        assert quantization.from_config(config) == Storage.alike(name, Fraction(bits))


def test_a_config_that_says_nothing_is_not_quantized() -> None:
    assert quantization.from_config({}) is None
    assert quantization.from_config({"quantization_config": None}) is None


@pytest.mark.parametrize(("name", "gib"), [("gpt-oss-20b", 12.82), ("gpt-oss-120b", 60.77)])
def test_mxfp4_is_of_the_experts_alone_and_weighs_what_the_files_do(name: str, gib: float) -> None:
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    storage = quantization.from_config(
        {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": kept}}
    )
    assert storage == Storage("mxfp4", Fraction(16), Fraction(17, 4))
    parameters = count(from_config(SHIPPED[name]["config"]))
    assert memory.stored(parameters, storage).total_bytes / GIB == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"quant_method": "aqlm"}, "its quantization (aqlm)"),
        ({"quant_method": "fbgemm_fp8"}, "its quantization (fbgemm_fp8)"),
        ({}, ""),
        ("awq", "its quantization (awq)"),
        ({"quant_method": "awq", "bits": 3}, "its quantization (awq, 3 bits)"),
        ({"quant_method": "awq", "w_bit": 8}, "its quantization (awq, 8 bits)"),
        (
            {"quant_method": "gptq", "bits": 4, "modules_in_block_to_quantize": [["mlp.up_proj"]]},
            "gptq with modules_in_block_to_quantize",
        ),
        (
            {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "exclude_modules": ["layers.0*"]}},
            "leaves as they are (layers.0*)",
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": "false"}, "bitsandbytes in neither 4 nor 8 bits"),
        (packed(INT4 | {"group_size": None}), "compressed-tensors in groups of no size"),
        ({"quant_method": "gptq", "bits": 4, "lm_head": True}, "gptq with lm_head"),
        ({"quant_method": "gptq", "bits": 4, "dynamic": {"-:.*": {}}}, "gptq with dynamic"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "groups of 0"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "fp8 in blocks of [128]"),
        (
            {"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "model.layers.0.self_attn.q_proj"]},
            "how much of the weights fp8 leaves as they are (model.layers.0.self_attn.q_proj)",
        ),
        (packed(INT4, ignore=["re:.*self_attn.*"]), "leaves as they are (re:.*self_attn.*)"),
        (packed(INT4, config_groups={"a": {}, "b": {}}), "compressed-tensors of several kinds"),
        (packed(INT4, sparsity_config={"format": "sparse-24-bitmask"}), "compressed-tensors of several kinds"),
        ({"quant_method": "bitsandbytes"}, "bitsandbytes in neither 4 nor 8 bits"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8"}, "modelopt, W4A8"),
    ],
)
def test_what_is_not_known_is_named(settings: Any, named: str) -> None:
    if not settings:
        assert quantization.from_config({"quantization_config": settings}) is None
        return
    with pytest.raises(UserError, match=re.escape(named)):
        quantization.from_config({"quantization_config": settings})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["group", "float", "Linear"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["weights", "num_bits", "strategy", "group_size", "targets", "quant_algo"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
KEYS = (
    "bits", "group_size", "modules_to_not_convert", "ignore", "config_groups", "weight_block_size", "load_in_4bit",
    "sparsity_config", "quantization", "quant_algo", "dynamic",
)  # fmt: skip
METHODS = ("awq", "gptq", "fp8", "mxfp4", "bitsandbytes", "compressed-tensors", "modelopt")


@settings(max_examples=100, deadline=None)
@given(JSON | st.sampled_from(METHODS), st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4))
def test_whatever_a_quantization_says_it_has_bits_or_is_refused(method: Any, rest: dict[str, Any]) -> None:
    try:
        storage = quantization.from_config({"quantization_config": {"quant_method": method} | rest})
    except UserError as problem:
        assert "is not known here; give --quantization, the nearest" in str(problem)
        return
    assert storage is not None and 2 <= storage.expert_bits <= storage.linear_bits <= 64
