"""Shapes and weight counts of real models: exact where the family is known."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis.sizing.architecture import Architecture, Mla, active, count, count_tensors, from_config, from_gguf
from bench.types import UserError

ROOT = Path(__file__).parents[3]

with (ROOT / "bench" / "models.csv").open(newline="") as rows:
    MODELS = {row["alias"]: row for row in csv.DictReader(rows)}

# Which family a row's weights are of decides its biases and norms; the other rows have none beside the usual.
MODEL_TYPES = {"qwen3-4b": "qwen3", "qwen2.5-7b": "qwen2", "qwen2.5-72b": "qwen2"}
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
    assert model.exact
    assert count(model).total == int(row["parameters"])


@pytest.mark.parametrize(("alias", "exactly"), ROUNDED.items())
def test_a_model_with_a_vision_tower_is_counted_as_the_language_model_it_has(alias: str, exactly: int) -> None:
    row = MODELS[alias]
    assert count(from_config(config_of(row))).total == exactly
    assert exactly == pytest.approx(int(row["parameters"]), rel=0.0002)
    towers = {"model_type": "llava", "text_config": config_of(row), "vision_config": {"hidden_size": 1024}}
    assert count(from_config(towers)).total == exactly


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


def test_a_family_that_is_not_known_is_marked() -> None:
    assert not small(model_type="newest").exact
    assert count(small(model_type="newest")) == count(small())


@pytest.mark.parametrize(
    ("changes", "window", "layers"),
    [
        ({"model_type": "mistral", "sliding_window": 4096}, 4096, 7),
        ({"model_type": "mistral", "sliding_window": None}, None, 0),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, None, 0),
        ({"model_type": "qwen2", "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 5}, 64, 2),
        ({"model_type": "gemma2", "sliding_window": 4096}, 4096, 4),
        ({"model_type": "gemma3_text", "sliding_window": 512}, 512, 6),
        ({"sliding_window": 128, "layer_types": ["sliding_attention"] * 5 + ["full_attention"] * 2}, 128, 5),
    ],
)
def test_layers_with_a_window_are_told_from_those_without(
    changes: dict[str, Any], window: int | None, layers: int
) -> None:
    model = small(**changes)
    assert (model.sliding_window, model.sliding_layers) == (window, layers)


def test_layers_that_are_no_attention_are_refused() -> None:
    with pytest.raises(UserError, match=r"layers of the kind linear_attention keep a state that cannot be sized here"):
        small(layer_types=["linear_attention"] * 6 + ["full_attention"])


@pytest.mark.parametrize("value", [None, 0, -3, "many", 2.5])
def test_a_config_without_a_size_names_it(value: Any) -> None:
    with pytest.raises(UserError, match=r"config.json: expected a whole number above 0 as hidden_size, found "):
        small(hidden_size=value)


@pytest.mark.parametrize("key", ["head_dim", "max_position_embeddings", "num_key_value_heads", "sliding_window"])
def test_a_config_with_a_size_that_is_none_names_it(key: str) -> None:
    with pytest.raises(UserError, match=rf"config.json: expected a whole number above 0 as {key}, found 'wide'"):
        small(**{key: "wide"})


# --- GGUF -------------------------------------------------------------------------------------------------------

METADATA: dict[str, Any] = {
    "general.architecture": "qwen3moe",
    "qwen3moe.block_count": 2,
    "qwen3moe.embedding_length": 64,
    "qwen3moe.attention.head_count": 4,
    "qwen3moe.attention.head_count_kv": 2,
    "qwen3moe.attention.key_length": 32,
    "qwen3moe.feed_forward_length": 96,
    "qwen3moe.context_length": 4096,
    "qwen3moe.expert_count": 8,
    "qwen3moe.expert_used_count": 2,
    "qwen3moe.expert_feed_forward_length": 16,
}
LAYER = {
    "attn_norm.weight": 64, "attn_q.weight": 64 * 128, "attn_k.weight": 64 * 64, "attn_v.weight": 64 * 64,
    "attn_output.weight": 128 * 64, "attn_q_norm.weight": 32, "attn_k_norm.weight": 32, "ffn_norm.weight": 64,
    "ffn_gate_inp.weight": 8 * 64, "ffn_gate_exps.weight": 8 * 64 * 16, "ffn_up_exps.weight": 8 * 64 * 16,
    "ffn_down_exps.weight": 8 * 64 * 16,
}  # fmt: skip
TENSORS = {"token_embd.weight": 1000 * 64, "output_norm.weight": 64, "rope_freqs.weight": 16} | {
    f"blk.{layer}.{name}": size for layer in range(2) for name, size in LAYER.items()
}


def test_a_gguf_file_tells_its_shape_by_metadata_and_tensors() -> None:
    model = from_gguf(METADATA, TENSORS)
    assert model == Architecture(
        layers=2, hidden=64, heads=4, kv_heads=2, head_dim=32, intermediate=96, vocab=1000, tied=True,
        context_tokens=4096, experts=8, active_experts=2, expert_intermediate=16, qk_norm=True,
    )  # fmt: skip
    assert count_tensors(TENSORS) == count(model)


def test_a_gguf_file_with_a_head_of_its_own_is_not_tied() -> None:
    model = from_gguf(METADATA, TENSORS | {"output.weight": 1000 * 64})
    assert not model.tied
    assert count_tensors(TENSORS | {"output.weight": 1000 * 64}) == count(model)


def test_a_gguf_file_of_latent_attention_gives_the_ranks() -> None:
    metadata = {
        "general.architecture": "deepseek2", "deepseek2.block_count": 27, "deepseek2.embedding_length": 2048,
        "deepseek2.attention.head_count": 16, "deepseek2.attention.head_count_kv": 1,
        "deepseek2.attention.key_length": 576, "deepseek2.attention.value_length": 512,
        "deepseek2.attention.key_length_mla": 192, "deepseek2.attention.value_length_mla": 128,
        "deepseek2.attention.kv_lora_rank": 512, "deepseek2.rope.dimension_count": 64,
        "deepseek2.feed_forward_length": 10944, "deepseek2.leading_dense_block_count": 1,
        "deepseek2.expert_count": 64, "deepseek2.expert_used_count": 6,
        "deepseek2.expert_feed_forward_length": 1408, "deepseek2.expert_shared_count": 2,
    }  # fmt: skip
    tensors = {"token_embd.weight": 102400 * 2048, "output.weight": 102400 * 2048}
    model = from_gguf(metadata, tensors)
    assert model.mla == Mla(None, 512, 64, 128, 128)
    assert count(model).total == 15_706_484_224


@pytest.mark.parametrize(("name", "layers", "sliding"), [("gemma2", 26, 13), ("gemma3", 26, 22), ("phi3", 26, 26)])
def test_a_gguf_file_has_the_windows_of_its_family(name: str, layers: int, sliding: int) -> None:
    metadata = {key.replace("qwen3moe", name): value for key, value in METADATA.items() if "expert" not in key}
    metadata |= {"general.architecture": name, f"{name}.block_count": layers, f"{name}.attention.sliding_window": 512}
    model = from_gguf(metadata, TENSORS)
    assert (model.sliding_window, model.sliding_layers) == (512, sliding)


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ({}, TENSORS, "GGUF: expected a model, found no general.architecture"),
        (METADATA, {}, "GGUF: expected a language model, found no tensor token_embd.weight"),
        (METADATA | {"qwen3moe.ssm.state_size": 128}, TENSORS, "GGUF: qwen3moe has ssm.state_size: its layers keep a"),
        (METADATA | {"qwen3moe.attention.head_count_kv": [2, 0]}, TENSORS, r"attention.head_count_kv, found \[2, 0\]"),
    ],
)
def test_a_gguf_file_that_cannot_be_sized_says_why(
    metadata: dict[str, Any], tensors: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        from_gguf(metadata, tensors)
