"""How the model families of transformers that can be sized are built, beyond what a config.json says.

Each family is held to transformers' own count of its weights, for changes of every key of its configuration:
`make sizing-facts` and tests/analysis/sizing/test_families.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Flag = bool | str
"""Whether, or the key of the config that says so."""


@dataclass(frozen=True, slots=True)
class Family:
    """What the layers of a family are made of, where it differs from a Llama.

    `head_dim` says that its key counts, where it is given. `gated` MLPs have three matrices, others two. `norms` are
    those of a layer over the hidden state, `norm_bias` says that they have biases, `last_norm` that one stands at the
    end. `head_norms` are of queries and keys: one over a head's numbers, or over all heads', and if there is a key
    `head_norms_if`, only where it says so. `layer_extra` weights stand in each layer besides.

    `expert_width` is the key of the experts' width, `shared_count` and `shared_width` those of the experts that every
    token takes; `sparse` says which layers have experts: every one, all but the first, every so many, or a span.

    `window` says which layers look no further back than `sliding_window`, where the config has no `layer_types`: all,
    all but the last of every `pattern`, those that `use_sliding_window` and `max_window_layers` name, or none; where
    it is off, a configuration that turns it on is not known.

    `usual` are values of further keys that change nothing, `ignored` are keys that the family does without.
    """

    head_dim: bool = True
    gated: bool = True
    mlp_bias: Flag = False
    norms: int = 2
    norm_bias: bool = False
    last_norm: bool = True
    qkv_bias: Flag = False
    output_bias: Flag = False
    head_norms: Literal["none", "head", "all"] = "none"
    head_norms_if: str | None = None
    layer_extra: int = 0
    sinks: bool = False
    head_bias: Flag = False
    positions: str | None = None
    experts: bool = False
    expert_width: str = "moe_intermediate_size"
    expert_bias: bool = False
    router_biases: int = 0
    shared_count: str | None = None
    shared_width: str | None = None
    shared_gate: bool = False
    dense_width: str = "intermediate_size"
    sparse: Literal["every", "first", "step", "interleave", "span"] = "every"
    latent: bool = False
    window: Literal["none", "off", "all", "pattern", "qwen2", "chunks"] = "none"
    pattern: int = 0
    usual: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


# One key says of most families whether queries, keys, values and output have biases.
_BIASED = Family(qkv_bias="attention_bias", output_bias="attention_bias")
_LLAMA = replace(_BIASED, mlp_bias="mlp_bias")
_DEEPSEEK = replace(
    _BIASED, latent=True, experts=True, shared_count="n_shared_experts", sparse="first", ignored=("qk_head_dim",)
)
_QWEN2 = Family(qkv_bias=True, window="qwen2")
_QWEN2_VL = Family(qkv_bias=True, head_dim=False, window="qwen2")
_QWEN3 = replace(_BIASED, head_norms="head", window="qwen2")
_QWEN3_MOE = replace(_BIASED, head_norms="head", experts=True, sparse="step", window="off")
_MOE = replace(_BIASED, experts=True, expert_width="intermediate_size")

FAMILIES: Final[Mapping[str, Family]] = {
    "apertus": replace(_BIASED, gated=False, mlp_bias="mlp_bias", layer_extra=2, head_norms="head"),
    "arcee": replace(_BIASED, gated=False, mlp_bias="mlp_bias"),
    "cohere": replace(_BIASED, norms=1, head_norms="all", head_norms_if="use_qk_norm"),
    "cohere2": replace(
        _BIASED, norms=1, window="pattern", pattern=4,
        usual={
            "layer_switch": 4, "order_of_interleaved_layers": "local_attn_first", "use_embedding_sharing": True,
            "use_gated_activation": True, "use_parallel_block": True,
        },
        ignored=("position_embedding_type", "use_parallel_embedding"),
    ),
    "deepseek_v2": _DEEPSEEK,
    "deepseek_v3": _DEEPSEEK,
    "ernie4_5": Family(qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias"),
    "ernie4_5_moe": Family(
        experts=True, shared_count="moe_num_shared_experts",
        router_biases=1, sparse="span",
    ),
    "exaone4": Family(head_norms="head", window="pattern", pattern=4),
    "gemma": _BIASED,
    "gemma2": replace(_BIASED, norms=4, window="pattern", pattern=2),
    "gemma3_text": replace(_BIASED, norms=4, head_norms="head", window="pattern", pattern=6),
    "glm": Family(qkv_bias="attention_bias"),
    "glm4": Family(norms=4, qkv_bias="attention_bias"),
    "glm4_moe": Family(
        qkv_bias="attention_bias", head_norms="head", head_norms_if="use_qk_norm", experts=True,
        shared_count="n_shared_experts", sparse="first",
    ),
    "gpt2": Family(
        head_dim=False, gated=False, norm_bias=True, qkv_bias=True, output_bias=True, mlp_bias=True,
        positions="max_position_embeddings",
    ),
    "gpt_neox": replace(
        _BIASED, head_dim=False, gated=False, norm_bias=True, mlp_bias=True, ignored=("use_parallel_residual",),
    ),
    "gpt_oss": replace(_MOE, sinks=True, expert_bias=True, router_biases=1, window="pattern", pattern=2),
    "granite": _LLAMA,
    "granitemoe": _MOE,
    "granitemoeshared": replace(_MOE, shared_width="shared_intermediate_size"),
    "llama": _LLAMA,
    "llama4_text": replace(
        _MOE, shared_width="intermediate_size", dense_width="intermediate_size_mlp", sparse="interleave",
        window="chunks", ignored=("use_qk_norm", "for_llm_compressor"),
    ),
    "minimax_m2": Family(
        head_norms="all", experts=True, expert_width="intermediate_size",
        usual={"use_qk_norm": True, "qk_norm_type": "per_layer", "shared_intermediate_size": 0, "attn_type_list": 1},
        ignored=("use_routing_bias", "use_mtp", "num_mtp_modules", "mtp_transformer_layers"),
    ),
    "ministral": Family(window="all"),
    "ministral3": Family(window="all"),
    "mistral": Family(window="all"),
    "mixtral": Family(experts=True, expert_width="intermediate_size", window="all"),
    "nemotron": replace(_BIASED, gated=False, norm_bias=True, mlp_bias="mlp_bias"),
    "olmo": replace(_BIASED, norms=0, last_norm=False),
    "olmo2": replace(_BIASED, head_norms="all"),
    "olmo3": replace(_BIASED, head_norms="all", window="pattern", pattern=4),
    "olmoe": replace(_MOE, head_dim=False, head_norms="all"),
    "phi": Family(
        gated=False, norms=1, norm_bias=True, qkv_bias=True, output_bias=True, mlp_bias=True, head_bias=True
    ),
    "phi3": Family(window="all", usual={"full_attn_mod": 1}, ignored=("interpolate_factor",)),
    "phimoe": replace(_MOE, norm_bias=True, head_bias="lm_head_bias", window="all"),
    "qwen2": _QWEN2,
    "qwen2_moe": Family(
        qkv_bias="qkv_bias", experts=True, shared_width="shared_expert_intermediate_size", shared_gate=True,
        sparse="step", window="off",
    ),
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "seed_oss": Family(qkv_bias="attention_bias", output_bias="attention_out_bias", mlp_bias="mlp_bias"),
    "smollm3": replace(
        _BIASED, mlp_bias="mlp_bias", window="off", ignored=("no_rope_layers", "no_rope_layer_interval"),
    ),
    "stablelm": Family(head_dim=False, norm_bias=True, qkv_bias="use_qkv_bias"),
    "starcoder2": Family(
        gated=False, norm_bias=True, qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias", window="all",
        usual={"mlp_type": "default", "norm_type": "layer_norm"},
    ),
    # The language models of these see and hear.
    "glm4v_text": Family(norms=4, qkv_bias=True, head_dim=False),
    "glm4v_moe_text": Family(
        qkv_bias="attention_bias", experts=True, shared_count="n_shared_experts", sparse="first"
    ),
    "qwen2_vl_text": _QWEN2_VL,
    "qwen2_5_vl_text": _QWEN2_VL,
    "qwen3_vl_text": _QWEN3,
    "qwen3_vl_moe_text": _QWEN3_MOE,
}  # fmt: skip
"""By `model_type`. What is not here is not known, however its configuration looks."""

TOWERS: Final[Mapping[str, str]] = {
    "aya_vision": "cohere2",
    "cohere2_vision": "cohere2",
    "gemma3": "gemma3_text",
    "glm4v": "glm4v_text",
    "glm4v_moe": "glm4v_moe_text",
    "idefics3": "llama",
    "internvl": "qwen2",
    "kimi_k25": "deepseek_v3",
    "llama4": "llama4_text",
    "llava": "llama",
    "llava_next": "llama",
    "llava_onevision": "qwen2",
    "mistral3": "mistral",
    "paligemma": "gemma",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen2_vl": "qwen2_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "shieldgemma2": "gemma3_text",
    "smolvlm": "llama",
}
"""Models that see: the family of their language model where its `text_config` does not say."""
