"""Shapes and weight counts of GGUF files, and what of them is refused by name."""

from typing import Any

import pytest
from gguf.constants import Keys

from analysis.sizing.architecture import Architecture, Mla, count
from analysis.sizing.gguf import HARMLESS, READ, count_tensors, from_gguf
from bench.types import UserError

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
        context_tokens=4096, experts=8, active_experts=2, expert_intermediate=16
    )  # fmt: skip
    assert count_tensors(TENSORS)[:3] == count(model)[:3]


def test_a_gguf_file_with_a_head_of_its_own_is_not_tied() -> None:
    model = from_gguf(METADATA, TENSORS | {"output.weight": 1000 * 64})
    assert not model.tied
    assert count_tensors(TENSORS | {"output.weight": 1000 * 64})[:3] == count(model)[:3]


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
    assert count(model).total == pytest.approx(15_706_484_224, rel=1e-5)


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
        (
            METADATA | {"qwen3moe.ssm.state_size": 128},
            TENSORS,
            "GGUF: what ssm.state_size changes in qwen3moe is not known here, so its size is not either",
        ),
        (METADATA | {"qwen3moe.attention.head_count_kv": [2, 0]}, TENSORS, r"attention.head_count_kv, found \[2, 0\]"),
    ],
)
def test_a_gguf_file_that_cannot_be_sized_says_why(
    metadata: dict[str, Any], tensors: dict[str, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        from_gguf(metadata, tensors)


def test_a_list_says_which_layers_have_the_window_and_an_unknown_family_without_one_is_refused() -> None:
    metadata = METADATA | {"qwen3moe.attention.sliding_window": 512}
    listed = from_gguf(metadata | {"qwen3moe.attention.sliding_window_pattern": [True, False]}, TENSORS)
    assert (listed.sliding_window, listed.sliding_layers) == (512, 1)
    with pytest.raises(UserError, match=r"which layers of qwen3moe have attention\.sliding_window is not known here"):
        from_gguf(metadata, TENSORS)


def test_heads_of_values_that_are_shorter_than_those_of_keys_are_refused() -> None:
    with pytest.raises(UserError, match="heads of 32 for keys and others for values cannot be sized here"):
        from_gguf(METADATA | {"qwen3moe.attention.value_length": 16}, TENSORS)


# Keys of gguf 0.19 that tell of a state beside keys and values, of layers that share them, or of no text at all.
REFUSED = (
    "ssm.", "wkv.", "kda.", "shortconv.", "time_", "token_shift", "rescale_every", "altup.", "activation_sparsity",
    "attention.decay_lora", "attention.gate_lora", "attention.iclr_lora", "attention.value_residual",
    "attention.indexer.", "attention.shared_kv_layers", "attention.key_length_swa", "attention.value_length_swa",
    "attention.relative_buckets", "full_attention_interval", "embedding_length_per_layer_input",
    "embedding_length_out", "moe_latent_size", "convnext.", "posnet.", "decoder_", "features_length", "swin_norm",
    "{dense}",
)  # fmt: skip


def test_every_key_that_the_gguf_package_knows_is_read_harmless_or_refused() -> None:
    def names(group: type) -> list[str]:
        inner = [value for name, value in vars(group).items() if not name.startswith("_")]
        return [name for value in inner for name in ([value] if isinstance(value, str) else names(value))]

    of_models = {name.removeprefix("{arch}.") for name in names(Keys) if name.startswith("{arch}.")}
    assert len(of_models) > 100
    for name in of_models:
        known = name in READ | HARMLESS or name.startswith("rope.")
        assert known != name.startswith(REFUSED), name
