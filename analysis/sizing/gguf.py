"""A model's shape from a GGUF file's metadata and tensors: weights are counted as they are, the cache by the shape."""

from collections.abc import Mapping
from typing import Any, Final

from analysis.sizing.architecture import Architecture, Mla, Parameters
from analysis.sizing.sizes import Sizes
from bench.types import UserError

# Of every so many layers the last one has no window, where the file does not say which.
_PATTERNS: Final[Mapping[str, int]] = {
    "cohere2": 4, "exaone4": 4, "gemma2": 2, "gemma3": 6, "gpt-oss": 2, "olmo2": 4
}  # fmt: skip
_ALL_SLIDE: Final = ("phi3",)
READ: Final = frozenset(
    [
        "block_count", "nextn_predict_layers", "embedding_length", "feed_forward_length", "context_length",
        "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
        "attention.key_length_mla", "attention.value_length_mla", "attention.kv_lora_rank", "attention.q_lora_rank",
        "attention.sliding_window", "attention.sliding_window_pattern", "rope.dimension_count",
        "expert_count", "expert_used_count", "expert_feed_forward_length", "expert_shared_count",
        "leading_dense_block_count",
    ]
)  # fmt: skip
"""Keys that are read, without the architecture in front."""
HARMLESS: Final = frozenset(
    [
        "attention.causal", "attention.clamp_kqv", "attention.group_norm_epsilon", "attention.group_norm_groups",
        "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "attention.max_alibi_bias",
        "attention.output_scale", "attention.scale", "attention.temperature_length", "attention.temperature_scale",
        "attn_logit_softcapping", "classifier.output_labels", "embedding_scale", "expert_chunk_feed_forward_length",
        "expert_gating_func", "expert_group_count", "expert_group_scale", "expert_group_used_count",
        "expert_shared_feed_forward_length", "expert_weights_norm", "expert_weights_scale", "experts_per_group",
        "final_logit_softcapping", "interleave_moe_layer_step", "logit_scale", "moe_every_n_layers",
        "n_deepstack_layers", "pooling_type", "residual_scale", "router_logit_softcapping", "swiglu_clamp_exp",
        "swiglu_clamp_shexp", "tensor_data_layout", "use_parallel_residual", "vocab_size",
    ]
)  # fmt: skip
"""Keys that change no cache; what they change of the weights is seen in the tensors. So is all that is of `rope.`."""


def from_gguf(metadata: Mapping[str, Any], elements: Mapping[str, int]) -> Architecture:
    """Read a GGUF file's metadata, and what only its tensors tell; `elements` says how many numbers each tensor has.

    Raises UserError for what is missing, and for every key that is not known: it may be of a state beside keys and
    values, as layers of SSM and linear attention keep it.
    """
    name = metadata.get("general.architecture")
    if not isinstance(name, str):
        raise UserError("GGUF: expected a model, found no general.architecture")
    values = {key.removeprefix(f"{name}."): value for key, value in metadata.items() if key.startswith(f"{name}.")}
    if unknown := sorted(key for key in values if key not in READ | HARMLESS and not key.startswith("rope.")):
        raise UserError(
            f"GGUF: what {', '.join(unknown)} changes in {name} is not known here, so its size is not either"
        )
    sizes = Sizes(values, f"GGUF: {name}")
    blocks, hidden, heads = (sizes.need(key) for key in ("block_count", "embedding_length", "attention.head_count"))
    layers = blocks - (sizes.get("nextn_predict_layers") or 0)
    head_dim = sizes.head_dim("attention.key_length", "embedding_length", "attention.head_count")
    mla = _mla(sizes) if "attention.kv_lora_rank" in values else None
    if mla is None and (sizes.get("attention.value_length") or head_dim) != head_dim:
        raise UserError(f"GGUF: {name}: heads of {head_dim} for keys and others for values cannot be sized here")
    window, sliding_layers = _sliding(name, sizes, layers)
    experts, expert_intermediate = sizes.get("expert_count"), sizes.get("expert_feed_forward_length")
    return Architecture(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=sizes.kv_heads("attention.head_count_kv", "attention.head_count"),
        head_dim=head_dim,
        intermediate=sizes.get("feed_forward_length") or expert_intermediate or sizes.need("feed_forward_length"),
        vocab=_vocab(elements, hidden),
        tied="output.weight" not in elements,
        context_tokens=sizes.get("context_length"),
        experts=experts,
        active_experts=sizes.taken_experts("expert_used_count", experts) if experts else None,
        expert_intermediate=expert_intermediate,
        shared_intermediate=(sizes.get("expert_shared_count") or 0) * (expert_intermediate or 0),
        dense_layers=sizes.get("leading_dense_block_count") or 0,
        sliding_window=window,
        sliding_layers=sliding_layers,
        mla=mla,
    )


def _sliding(name: str, sizes: Sizes, layers: int) -> tuple[int | None, int]:
    """The window and how many layers have it."""
    window, pattern = sizes.get("attention.sliding_window"), sizes.values.get("attention.sliding_window_pattern")
    if window is None or name in _ALL_SLIDE:
        return window, layers if window else 0
    if isinstance(pattern, list):
        return window, sum(map(bool, pattern[:layers]))
    pattern = sizes.get("attention.sliding_window_pattern") or _PATTERNS.get(name)
    if pattern is None:
        raise UserError(f"GGUF: which layers of {name} have attention.sliding_window is not known here")
    return window, layers - layers // pattern


def count_tensors(elements: Mapping[str, int]) -> Parameters:
    """Count the weights of a GGUF file's tensors by their names."""
    experts = embeddings = rest = 0
    for name, size in elements.items():
        if "_exps." in name:
            experts += size
        elif name in ("token_embd.weight", "output.weight"):
            embeddings += size
        elif "norm" in name or name.endswith(".bias") or "ffn_gate_inp" in name:
            rest += size
    # Frequencies of the positions, which some files carry, are computed, not learnt.
    everything = sum(elements.values()) - sum(size for name, size in elements.items() if name.startswith("rope_"))
    return Parameters(everything - experts - embeddings - rest, experts, embeddings, rest)


def _vocab(elements: Mapping[str, int], hidden: int) -> int:
    if "token_embd.weight" not in elements:
        raise UserError("GGUF: expected a language model, found no tensor token_embd.weight")
    return elements["token_embd.weight"] // hidden


def _mla(sizes: Sizes) -> Mla:
    rope_dim = sizes.need("rope.dimension_count")
    # Newer files give the heads' own lengths with this suffix, and those of the latent without.
    key = sizes.get("attention.key_length_mla") or sizes.need("attention.key_length")
    value = sizes.get("attention.value_length_mla") or sizes.need("attention.value_length")
    return Mla(
        q_lora_rank=sizes.get("attention.q_lora_rank"),
        kv_lora_rank=sizes.need("attention.kv_lora_rank"),
        rope_dim=rope_dim,
        nope_dim=max(0, key - rope_dim),
        value_dim=value,
    )
