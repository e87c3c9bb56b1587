"""A model's shape, read from its config.json or from a GGUF file's metadata, and how many weights that shape has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from bench.types import UserError


class Mla(NamedTuple):
    """Multi-head latent attention: a token caches one latent of `kv_lora_rank` and `rope_dim`, shared by all heads."""

    q_lora_rank: int | None
    kv_lora_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder-only transformer with gated MLPs.

    In a mixture, `experts` of each layer are `expert_intermediate` wide (`intermediate` where None) and a token takes
    `active_experts` of them; `shared_intermediate` is the width that every token takes besides, and the first
    `dense_layers` have no experts. `sliding_layers` see no further back than `sliding_window` tokens. `norms` are
    those of a layer over the hidden state. `exact` says that the family is known, so that the count is exact.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    context_tokens: int | None = None
    experts: int | None = None
    active_experts: int | None = None
    expert_intermediate: int | None = None
    shared_intermediate: int = 0
    dense_layers: int = 0
    sliding_window: int | None = None
    sliding_layers: int = 0
    mla: Mla | None = None
    norms: int = 2
    qk_norm: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    exact: bool = True


class Parameters(NamedTuple):
    """How many weights: matrices that every token passes, routed experts, token tables, and norms, biases, routers.

    `embeddings` are the input's table and, where it is not tied to it, the head.
    """

    linear: int
    experts: int
    embeddings: int
    rest: int

    @property
    def total(self) -> int:
        """All weights."""
        return sum(self)


# What a config.json of that model type leaves unsaid; of every `pattern` layers, the last one does not slide.
_FAMILIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "llama": {},
    "mistral": {},
    "mixtral": {},
    "phi3": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "qwen3_moe": {"qk_norm": True},
    "gemma": {"tied": True},
    "gemma2": {"tied": True, "norms": 4, "pattern": 2},
    "gemma3_text": {"tied": True, "norms": 4, "qk_norm": True, "pattern": 6},
    "deepseek_v2": {},
    "deepseek_v3": {},
}
_GGUF_PATTERNS: Final[Mapping[str, int]] = {"gemma2": 2, "gemma3": 6}
_ATTENTION: Final = {"full_attention", "sliding_attention", "chunked_attention"}


# --- counting ---------------------------------------------------------------------------------------------------


def count(model: Architecture) -> Parameters:
    """Count the weights of a model; of what stands beside the language model, such as a vision tower, nothing."""
    expert_layers = model.layers - model.dense_layers if model.experts else 0
    matrix = 3 * model.hidden
    experts = expert_layers * (model.experts or 0) * matrix * (model.expert_intermediate or model.intermediate)
    dense_mlp = (model.layers - expert_layers) * matrix * model.intermediate
    shared_mlp = expert_layers * matrix * model.shared_intermediate
    attention, attention_rest = _latent_attention(model, model.mla) if model.mla else _attention(model)
    router = (model.experts or 0) * model.hidden
    mlp_bias = model.mlp_bias * (2 * model.intermediate + model.hidden)
    rest = model.layers * (attention_rest + model.norms * model.hidden + mlp_bias) + expert_layers * router
    return Parameters(
        linear=model.layers * attention + dense_mlp + shared_mlp,
        experts=experts,
        embeddings=model.vocab * model.hidden * (1 if model.tied else 2),
        rest=rest + model.hidden,
    )


def active(model: Architecture, parameters: Parameters) -> float:
    """How many weights one token passes: all but the experts it does not take."""
    taken = (model.active_experts or 0) / model.experts if model.experts else 1.0
    return parameters.total - parameters.experts * (1 - taken)


def _attention(model: Architecture) -> tuple[int, int]:
    """Of one layer: the matrices' weights, then those of biases and of norms over a head."""
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    biases = model.qkv_bias * (queries + 2 * keys) + model.output_bias * model.hidden
    return model.hidden * (2 * queries + 2 * keys), biases + model.qk_norm * 2 * model.head_dim


def _latent_attention(model: Architecture, mla: Mla) -> tuple[int, int]:
    queries = model.heads * (mla.nope_dim + mla.rope_dim)
    if mla.q_lora_rank is None:
        query_weights, query_norm = model.hidden * queries, 0
    else:
        query_weights, query_norm = mla.q_lora_rank * (model.hidden + queries), mla.q_lora_rank
    down = model.hidden * (mla.kv_lora_rank + mla.rope_dim)
    up = mla.kv_lora_rank * model.heads * (mla.nope_dim + mla.value_dim)
    out = model.heads * mla.value_dim * model.hidden
    return query_weights + down + up + out, query_norm + mla.kv_lora_rank


# --- config.json ------------------------------------------------------------------------------------------------


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Read a Hugging Face config.json; of a model with several towers, the language model's part.

    Raises UserError for what is missing, and for layers that keep another state than keys and values.
    """
    config = config.get("text_config", config)
    if strange := set(config.get("layer_types") or ()) - _ATTENTION:
        raise UserError(f"config.json: layers of the kind {min(strange)} keep a state that cannot be sized here")
    family = _FAMILIES.get(config.get("model_type", ""), {})
    sizes = _Sizes(config, "config.json")
    hidden, heads, layers = (sizes.need(key) for key in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    experts = sizes.get("num_local_experts", "num_experts", "n_routed_experts")
    expert_intermediate = sizes.get("moe_intermediate_size")
    window, sliding_layers = _sliding(sizes, layers, family.get("pattern"))
    bias = bool(config.get("attention_bias", False))
    return Architecture(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=sizes.get("num_key_value_heads") or heads,
        head_dim=sizes.get("head_dim") or hidden // heads,
        intermediate=sizes.need("intermediate_size"),
        vocab=sizes.need("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", family.get("tied", False))),
        context_tokens=sizes.get("max_position_embeddings"),
        experts=experts,
        active_experts=sizes.need("num_experts_per_tok") if experts else None,
        expert_intermediate=expert_intermediate,
        shared_intermediate=(sizes.get("n_shared_experts") or 0) * (expert_intermediate or 0),
        dense_layers=(sizes.get("first_k_dense_replace") or 0) if experts else 0,
        sliding_window=window,
        sliding_layers=sliding_layers,
        mla=_mla(sizes) if "kv_lora_rank" in config else None,
        norms=family.get("norms", 2),
        qk_norm=family.get("qk_norm", False),
        qkv_bias=family.get("qkv_bias", bias),
        output_bias=bias,
        mlp_bias=bool(config.get("mlp_bias", False)),
        exact=config.get("model_type") in _FAMILIES,
    )


class _Sizes(NamedTuple):
    """The whole numbers of a config.json or of GGUF metadata."""

    values: Mapping[str, Any]
    source: str

    def need(self, key: str) -> int:
        """One that must be there."""
        value = self.values.get(key)
        if not isinstance(value, int) or value <= 0:
            raise UserError(f"{self.source}: expected a whole number above 0 as {key}, found {value!r}")
        return value

    def get(self, *keys: str) -> int | None:
        """The first of these that is there; 0 and null say as much as nothing."""
        key = next((key for key in keys if self.values.get(key)), None)
        return None if key is None else self.need(key)


def _mla(sizes: _Sizes) -> Mla:
    return Mla(
        q_lora_rank=sizes.get("q_lora_rank"),
        kv_lora_rank=sizes.need("kv_lora_rank"),
        rope_dim=sizes.need("qk_rope_head_dim"),
        nope_dim=sizes.need("qk_nope_head_dim"),
        value_dim=sizes.need("v_head_dim"),
    )


def _sliding(sizes: _Sizes, layers: int, pattern: int | None) -> tuple[int | None, int]:
    """The window and how many layers have it."""
    window, config = sizes.get("sliding_window"), sizes.values
    if window is None or config.get("use_sliding_window") is False:
        return None, 0
    if kinds := config.get("layer_types"):
        return window, list(kinds).count("sliding_attention")
    if config.get("use_sliding_window"):
        return window, max(0, layers - (sizes.get("max_window_layers") or 0))
    pattern = sizes.get("sliding_window_pattern") or pattern
    return window, layers - layers // pattern if pattern else layers


# --- GGUF -------------------------------------------------------------------------------------------------------


def from_gguf(metadata: Mapping[str, Any], elements: Mapping[str, int]) -> Architecture:
    """Read a GGUF file's metadata, and what only its tensors tell; `elements` says how many numbers each tensor has.

    Raises UserError for what is missing, and for layers that keep another state than keys and values.
    """
    name = metadata.get("general.architecture")
    if not isinstance(name, str):
        raise UserError("GGUF: expected a model, found no general.architecture")
    values = {key.removeprefix(f"{name}."): value for key, value in metadata.items() if key.startswith(f"{name}.")}
    if strange := next((key for key in values if key.startswith(("ssm.", "wkv."))), None):
        raise UserError(f"GGUF: {name} has {strange}: its layers keep a state that cannot be sized here")
    sizes = _Sizes(values, f"GGUF: {name}")
    layers, hidden, heads = (sizes.need(key) for key in ("block_count", "embedding_length", "attention.head_count"))
    window, pattern = sizes.get("attention.sliding_window"), _GGUF_PATTERNS.get(name)
    experts, expert_intermediate = sizes.get("expert_count"), sizes.get("expert_feed_forward_length")
    return Architecture(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=sizes.get("attention.head_count_kv") or heads,
        head_dim=sizes.get("attention.key_length") or hidden // heads,
        intermediate=sizes.need("feed_forward_length"),
        vocab=_vocab(elements, hidden),
        tied="output.weight" not in elements,
        context_tokens=sizes.get("context_length"),
        experts=experts,
        active_experts=sizes.need("expert_used_count") if experts else None,
        expert_intermediate=expert_intermediate,
        shared_intermediate=(sizes.get("expert_shared_count") or 0) * (expert_intermediate or 0),
        dense_layers=sizes.get("leading_dense_block_count") or 0,
        sliding_window=window,
        sliding_layers=(layers - layers // pattern if pattern else layers) if window else 0,
        mla=_gguf_mla(sizes) if "attention.kv_lora_rank" in values else None,
        norms=4 if "blk.0.post_ffw_norm.weight" in elements else 2,
        qk_norm="blk.0.attn_q_norm.weight" in elements,
        qkv_bias="blk.0.attn_q.bias" in elements,
        output_bias="blk.0.attn_output.bias" in elements,
        mlp_bias="blk.0.ffn_down.bias" in elements,
    )


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


def _gguf_mla(sizes: _Sizes) -> Mla:
    rope_dim = sizes.need("rope.dimension_count")
    # Newer files give the heads' own lengths with this suffix, and those of the latent without.
    key = sizes.get("attention.key_length_mla", "attention.key_length")
    value = sizes.get("attention.value_length_mla", "attention.value_length")
    return Mla(
        q_lora_rank=sizes.get("attention.q_lora_rank"),
        kv_lora_rank=sizes.need("attention.kv_lora_rank"),
        rope_dim=rope_dim,
        nope_dim=(key or sizes.need("attention.key_length")) - rope_dim,
        value_dim=value or sizes.need("attention.value_length"),
    )
