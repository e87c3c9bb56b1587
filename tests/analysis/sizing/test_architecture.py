"""Shapes and weight counts of real models: exact where the family is known."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.sizing.architecture import Architecture, Mla, active, count
from analysis.sizing.config import from_config, towers
from analysis.sizing.families import FAMILIES, TOWERS
from analysis.sizing.keys import read_keys
from bench.types import UserError

ROOT = Path(__file__).parents[3]

with (ROOT / "bench" / "server" / "models.csv").open(newline="") as rows:
    MODELS = {row["alias"]: row for row in csv.DictReader(rows)}

# Which family a row's weights are of decides its biases and norms; the other rows have none beside the usual.
MODEL_TYPES = {"qwen3-4b": "qwen3", "qwen2.5-7b": "qwen2", "qwen2.5-72b": "qwen2", "mixtral-8x7b": "mixtral"}
# The row says 12.25 billion, rounded; its 400 million weights of a vision tower are not in that number either.
ROUNDED = {"pixtral-12b": 12_247_782_400}

LLAMA_2_70B = Architecture(
    layers=80, hidden=8192, heads=64, kv_heads=8, head_dim=128, intermediate=28672, vocab=32000, tied=False
)
DEEPSEEK_V2_LITE = {
    "model_type": "deepseek_v2", "hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_key_value_heads": 16, "intermediate_size": 10944, "vocab_size": 102400, "tie_word_embeddings": False,
    "max_position_embeddings": 163840, "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "moe_intermediate_size": 1408, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
}  # fmt: skip


def config_of(row: Mapping[str, str]) -> dict[str, Any]:
    """The config.json behind a row of models.csv."""
    config: dict[str, Any] = {
        "model_type": MODEL_TYPES.get(row["alias"], "llama"),
        "hidden_size": int(row["hidden"]),
        "num_hidden_layers": int(row["layers"]),
        "num_attention_heads": int(row["heads"]),
        "num_key_value_heads": int(row["kv_heads"]),
        "head_dim": int(row["head_dim"]),
        "intermediate_size": int(row["intermediate"]),
        "vocab_size": int(row["vocab"]),
        "tie_word_embeddings": row["tied"] == "yes",
    }
    if row["experts"]:
        config |= {"num_local_experts": int(row["experts"]), "num_experts_per_tok": int(row["active_experts"])}
    return config


@pytest.mark.parametrize("alias", [alias for alias in MODELS if alias not in ROUNDED])
def test_the_weights_of_a_known_model_are_counted_exactly(alias: str) -> None:
    row = MODELS[alias]
    model = from_config(config_of(row))
    assert count(model).total == int(row["parameters"])


@pytest.mark.parametrize(("alias", "exactly"), ROUNDED.items())
def test_a_model_with_a_vision_tower_is_counted_as_the_language_model_it_has(alias: str, exactly: int) -> None:
    row = MODELS[alias]
    assert count(from_config(config_of(row))).total == exactly
    assert exactly == pytest.approx(int(row["parameters"]), rel=0.0002)
    whole = {"model_type": "llava", "text_config": config_of(row), "vision_config": {"hidden_size": 1024}}
    assert count(from_config(whole)).total == exactly
    assert towers(whole) == ["vision_config"]


def test_llama_2_70b_has_68_976_648_192_weights() -> None:
    assert count(LLAMA_2_70B).total == 68_976_648_192


def test_a_token_passes_only_the_experts_it_takes() -> None:
    mixtral = from_config(config_of(MODELS["mixtral-8x7b"]))
    counted = count(mixtral)
    assert counted.experts == 32 * 8 * 3 * 4096 * 14336
    assert active(mixtral, counted) == counted.total - counted.experts * 6 / 8 == 12_879_925_248
    assert active(LLAMA_2_70B, count(LLAMA_2_70B)) == 68_976_648_192


def test_latent_attention_and_shared_experts_are_counted() -> None:
    model = from_config(DEEPSEEK_V2_LITE)
    assert model.mla == Mla(None, 512, 64, 128, 128)
    assert (model.shared_intermediate, model.dense_layers) == (2816, 1)
    assert count(model).total == 15_706_484_224
    assert active(model, count(model)) == pytest.approx(2.66e9, rel=0.01)


# --- what a config leaves unsaid --------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 256, "num_hidden_layers": 7, "num_attention_heads": 8,
    "num_key_value_heads": 4, "intermediate_size": 768, "vocab_size": 1000,
}  # fmt: skip


def small(**changes: Any) -> Architecture:
    return from_config(SMALL | changes)


def test_without_head_dim_and_kv_heads_a_model_has_the_plain_ones() -> None:
    assert small().head_dim == 32
    config = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
    assert from_config(config).kv_heads == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "newest"}, "the family 'newest' is not known here, so the size of its models is not either"),
        ({"model_type": "jamba", "attn_layer_period": 8}, "the family 'jamba' is not known here"),
        ({"model_type": "t5"}, "the family 't5' is not known here"),
        ({"model_type": None}, "expected a model_type, found None"),
        ({"is_encoder_decoder": True}, "llama has an encoder and a decoder, whose size is not known here"),
        ({"wider": 2, "deeper": [1]}, "what deeper, wider changes in llama is not known here, so its size is not"),
        ({"num_experts": 8}, "what num_experts changes in llama is not known here"),
        ({"head_dim": 0, "num_attention_heads": 300}, "num_attention_heads of 300 cannot share a hidden_size of 256"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers of 10000000 is more than any model has"),
        (
            {"model_type": "mixtral", "num_local_experts": 8, "num_experts": 16},
            "num_experts says 16, where another name of it says 8",
        ),
        ({"model_type": "qwen3", "layer_types": "full"}, "expected a list, one str a layer, as layer_types"),
        ({"model_type": "qwen3", "layer_types": ["sliding_attention"] * 7}, "nothing says how long it is"),
        ({"model_type": "smollm3", "use_sliding_window": True}, "use_sliding_window gives a window is not known"),
    ],
)
def test_what_is_not_known_is_named_and_has_no_size(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        small(**changes)


def made_by_shape(draw: st.DrawFn) -> dict[str, Any]:
    sizes = st.integers(1, 24)
    shape = {
        "model_type": "mixtral", "hidden_size": draw(sizes), "num_attention_heads": draw(sizes),
        "num_key_value_heads": draw(sizes), "num_local_experts": draw(sizes), "num_experts_per_tok": draw(sizes),
    }  # fmt: skip
    return shape | draw(st.sampled_from([{}, {"head_dim": 8}]))


@settings(max_examples=100, deadline=None)
@given(st.composite(made_by_shape)())
def test_a_shape_that_no_model_can_have_has_no_size(shape: dict[str, Any]) -> None:
    hidden, heads, kv_heads = (shape[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    can_be = (
        heads % kv_heads == 0
        and ("head_dim" in shape or hidden % heads == 0)
        and shape["num_experts_per_tok"] <= shape["num_local_experts"]
    )
    if can_be:
        model = from_config(SMALL | shape)
        assert (model.kv_heads, model.head_dim) == (kv_heads, shape.get("head_dim", hidden // heads))
        assert active(model, count(model)) <= count(model).total
    else:
        with pytest.raises(UserError, match=r"cannot share|is more than the"):
            from_config(SMALL | shape)


@given(
    st.sampled_from(["tie_word_embeddings", "attention_bias", "mlp_bias"]),
    st.text() | st.integers(2) | st.lists(st.none()),
)
def test_what_is_neither_true_nor_false_is_not_taken_for_either(key: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"expected true or false as {key}"):
        from_config(SMALL | {"model_type": "llama", key: value})


def test_keys_without_a_value_and_those_that_change_no_size_are_no_obstacle() -> None:
    assert (
        small(wider=None, rope_theta=1e6, _name_or_path="mine", eos_token_id=[1, 2], tie_encoder_decoder=False)
        == small()
    )


def test_windows_that_are_switched_off_are_no_obstacle() -> None:
    shipped = {"use_sliding_window": False, "sliding_window": 32768, "max_window_layers": 21}
    assert small(model_type="qwen2_moe", **shipped).sliding_layers == 0


@pytest.mark.parametrize(
    ("changes", "window", "layers"),
    [
        ({"model_type": "mistral", "sliding_window": 4096}, 4096, 7),
        ({"model_type": "mistral", "sliding_window": None}, None, 0),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, None, 0),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 5}, 64, 2),
        ({"model_type": "gemma2", "sliding_window": 4096}, 4096, 4),
        ({"model_type": "gemma3_text", "sliding_window": 512}, 512, 6),
        (
            {
                "model_type": "gemma3_text",
                "sliding_window": 128,
                "layer_types": ["sliding_attention"] * 5 + ["full_attention"] * 2,
            },
            128,
            5,
        ),
    ],
)
def test_layers_with_a_window_are_told_from_those_without(
    changes: dict[str, Any], window: int | None, layers: int
) -> None:
    model = small(**changes)
    assert (model.sliding_window, model.sliding_layers) == (window, layers)


def test_layers_that_are_no_attention_are_refused() -> None:
    with pytest.raises(UserError, match=r"layers of type linear_attention keep a state that cannot be sized here"):
        small(model_type="qwen3", layer_types=["linear_attention"] * 6 + ["full_attention"])


@pytest.mark.parametrize("value", [None, 0, -3, "many", 2.5])
def test_a_config_without_a_size_names_it(value: Any) -> None:
    with pytest.raises(UserError, match=r"config.json: expected a whole number above 0 as hidden_size, found "):
        small(hidden_size=value)


@pytest.mark.parametrize("key", ["head_dim", "max_position_embeddings", "num_key_value_heads", "sliding_window"])
def test_a_config_with_a_size_that_is_none_names_it(key: str) -> None:
    with pytest.raises(UserError, match=rf"config.json: expected a whole number above 0 as {key}, found 'wide'"):
        small(model_type="mistral", **{key: "wide"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted({*FAMILIES, *TOWERS})), st.data())
def test_whatever_a_config_says_it_has_a_size_or_the_reason_is_named(family: str, data: st.DataObject) -> None:
    keys = sorted(read_keys(FAMILIES.get(family, FAMILIES["llama"])) | {"quantization_config", "text_config"})
    changes = data.draw(st.dictionaries(st.sampled_from(keys), JSON, max_size=4))
    config = SMALL | {"model_type": family} | changes
    try:
        model = from_config(config)
    except UserError as problem:
        assert str(problem).startswith("config.json: ")
        return
    assert count(model).total > 0
    assert 0 <= model.sliding_layers <= model.layers
    assert 0 <= model.dense_layers <= model.layers
