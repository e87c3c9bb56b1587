"""A model's shape, and how many weights that shape has."""

from dataclasses import dataclass
from typing import NamedTuple


class Mla(NamedTuple):
    """Multi-head latent attention: a token caches one latent of `kv_lora_rank` and `rope_dim`, shared by all heads."""

    q_lora_rank: int | None
    kv_lora_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder-only transformer.

    In a mixture, `experts` of each layer are `expert_intermediate` wide (`intermediate` where None) and a token takes
    `active_experts` of them; `shared_intermediate` is the width that every token takes besides, and `dense_layers`
    have no experts. `sliding_layers` see no further back than `sliding_window` tokens. An MLP has `mlp_matrices`.

    The rests are weights beside the matrices: `layer_rest` of each layer and `rest` of none (None: the norms of a
    Llama), `dense_rest` of a layer without and `expert_rest` of one with experts, beside the router.
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
    mlp_matrices: int = 3
    layer_rest: int | None = None
    dense_rest: int = 0
    expert_rest: int = 0
    rest: int | None = None


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
        return sum(self)


# --- counting ---------------------------------------------------------------------------------------------------


def count(model: Architecture) -> Parameters:
    """Count the weights of a model; of what stands beside the language model, such as a vision tower, nothing."""
    expert_layers = model.layers - model.dense_layers if model.experts else 0
    matrix = model.mlp_matrices * model.hidden
    experts = expert_layers * (model.experts or 0) * matrix * (model.expert_intermediate or model.intermediate)
    dense_layers = model.layers - expert_layers
    mlp = matrix * (dense_layers * model.intermediate + expert_layers * model.shared_intermediate)
    attention = _latent_attention(model, model.mla) if model.mla else _attention(model)
    layer_rest = 2 * model.hidden if model.layer_rest is None else model.layer_rest
    router = (model.experts or 0) * model.hidden + model.expert_rest
    return Parameters(
        linear=model.layers * attention + mlp,
        experts=experts,
        embeddings=model.vocab * model.hidden * (1 if model.tied else 2),
        rest=model.layers * layer_rest
        + dense_layers * model.dense_rest
        + expert_layers * router
        + (model.hidden if model.rest is None else model.rest),
    )


def active(model: Architecture, parameters: Parameters) -> float:
    """How many weights one token passes: all but the experts it does not take."""
    taken = (model.active_experts or 0) / model.experts if model.experts else 1.0
    return parameters.total - parameters.experts * (1 - taken)


def _attention(model: Architecture) -> int:
    """The weights of one layer's matrices."""
    # Queries and output have `heads` of `head_dim` columns each, keys and values `kv_heads` (grouped-query attention).
    return 2 * model.hidden * (model.heads + model.kv_heads) * model.head_dim


def _latent_attention(model: Architecture, mla: Mla) -> int:
    # Queries, keys and values are made from latents; a rotary part of the key is shared by all heads (DeepSeek-V2,
    # arXiv:2405.04434, section 2.1).
    queries = model.heads * (mla.nope_dim + mla.rope_dim)
    query = model.hidden * queries if mla.q_lora_rank is None else mla.q_lora_rank * (model.hidden + queries)
    down = model.hidden * (mla.kv_lora_rank + mla.rope_dim)
    up = mla.kv_lora_rank * model.heads * (mla.nope_dim + mla.value_dim)
    return query + down + up + model.heads * mla.value_dim * model.hidden
