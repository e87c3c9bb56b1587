"""A model's shape from its config.json: what is said there, and what its family takes for granted.

A key that could change the shape and is not known is refused by name, and so is a family: there is no half-known size.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from analysis.sizing.architecture import Architecture, Mla
from analysis.sizing.families import FAMILIES, TOWERS, Family
from analysis.sizing.keys import HARMLESS, SAME_KEY, read_keys
from analysis.sizing.sizes import Sizes
from bench.types import UserError

_FILE: Final = Path(__file__).parent / "families.json"
_WHERE: Final = "config.json"
_SAME_FAMILY: Final[Mapping[str, str]] = {"kimi_k2": "deepseek_v3"}
_ATTENTION: Final = {"full_attention", "sliding_attention", "chunked_attention"}
_SLIDING: Final = {"sliding_attention", "chunked_attention"}
# Old configurations carry these; at another value they would say something.
_NEUTRAL: Final[Mapping[str, Any]] = {
    "moe_layer_freq": 1, "ep_size": 1, "add_cross_attention": False, "cross_attention_hidden_size": None,
    "pruned_heads": {}, "tie_encoder_decoder": False, "use_bfloat16": False,
    "attention_bias": False, "mlp_bias": False, "lm_head_bias": False, "use_bias": False, "use_qk_norm": False,
}  # fmt: skip


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Read a Hugging Face config.json; of a model with several towers, the language model's part.

    Raises UserError for what is missing, and by its name for every family, layer and key whose effect is not known.
    """
    name, given = _language_model(config)
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"{_WHERE}: the family {name!r} is not known here, so the size of its models is not either")
    family, facts = FAMILIES[name], _facts()[name]
    given, usual = (_renamed(values, facts["other_names"]) for values in (given, facts["defaults"]))
    _check_keys(name, family, usual, given)
    return _architecture(family, Sizes(usual | given, _WHERE))


def towers(config: Mapping[str, Any]) -> list[str]:
    """The parts of a model that are not counted: what sees or hears for its language model."""
    return sorted(
        key for key in config if key.endswith("_config") and key not in ("text_config", "quantization_config")
    )


@cache
def _facts() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))["families"]
    return found


def _language_model(config: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The family of the language model, and its configuration."""
    name = config.get("model_type")
    if not isinstance(name, str):
        raise UserError(f"{_WHERE}: expected a model_type, found {name!r}")
    if config.get("is_encoder_decoder"):
        raise UserError(f"{_WHERE}: {name} has an encoder and a decoder, whose size is not known here")
    if name not in TOWERS:
        return _SAME_FAMILY.get(name, name), dict(config)
    text = config.get("text_config")
    if not isinstance(text, dict):
        # Before they were nested, the keys of the language model stood among those of the whole.
        text = {key: value for key, value in config.items() if key != "model_type" and not key.endswith("_config")}
        text = {key: value for key, value in text.items() if not key.startswith(("vision_", "video_", "image_"))}
    text = dict(text)
    if "tie_word_embeddings" in config:
        text["tie_word_embeddings"] = config["tie_word_embeddings"]
    return text.get("model_type", TOWERS[name]), text


def _renamed(values: Mapping[str, Any], other_names: Mapping[str, str]) -> dict[str, Any]:
    """The same values with one name for each key. Raises UserError where two names of one key say two things."""
    usual = {own: name for name, own in other_names.items()}
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = usual.get(key, key)
        name = SAME_KEY.get(name, name)
        if (other := found.setdefault(name, value)) is not value and other != value:
            raise UserError(f"{_WHERE}: {key} says {value!r}, where another name of it says {other!r}")
    return found


def _check_keys(name: str, family: Family, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise UserError for the keys that are neither read nor harmless, unless they say what is taken for granted."""
    read, usual = read_keys(family), {**_NEUTRAL, **defaults, **family.usual}
    unknown = sorted(
        key
        for key, value in given.items()
        if key not in read and key not in HARMLESS and key not in family.ignored and not key.endswith("_token_id")
        if value is not None and not (key in usual and _same(value, usual[key]))
    )
    if unknown:
        raise UserError(
            f"{_WHERE}: what {', '.join(unknown)} changes in {name} is not known here, so its size is not either"
        )


def _same(value: Any, usual: Any) -> bool:
    """Whether a value, or each of a list of them, is the usual one."""
    return bool(value == usual or (isinstance(value, list) and all(each == usual for each in value)))


# --- parts of the shape -----------------------------------------------------------------------------------------


def _architecture(family: Family, sizes: Sizes) -> Architecture:
    hidden, heads, layers = (sizes.need(key) for key in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    kv_heads = sizes.kv_heads("num_key_value_heads", "num_attention_heads")
    head_dim = sizes.head_dim("head_dim" if family.head_dim else None, "hidden_size", "num_attention_heads")
    vocab, tied = sizes.need("vocab_size"), sizes.says("tie_word_embeddings")
    experts = sizes.get("num_experts") if family.experts else None
    expert_width = sizes.need(family.expert_width) if experts else 0
    sparse_layers = _sparse_layers(family, sizes, layers) if experts else 0
    width = _dense_width(family, sizes, hidden) if sparse_layers < layers else expert_width
    shared = (sizes.get(family.shared_count) or 0) * expert_width + (sizes.get(family.shared_width) or 0)
    window, sliding_layers = _sliding(family, sizes, layers)
    queries, keys = heads * head_dim, kv_heads * head_dim
    norm = hidden * (2 if family.norm_bias else 1)
    mla = _mla(sizes) if family.latent else None
    normed = sizes.says(family.head_norms_if) if family.head_norms_if else True
    head_norms = {"none": 0, "head": 2 * head_dim, "all": queries + keys}[family.head_norms] if normed else 0
    dense_bias = sizes.says(family.mlp_bias) * ((2 if family.gated else 1) * width + hidden)
    attention_rest = (
        sizes.says(family.qkv_bias) * _qkv_biases(queries, keys, mla)
        + sizes.says(family.output_bias) * hidden
        + (mla.kv_lora_rank + (mla.q_lora_rank or 0) if mla else head_norms)
        + family.sinks * heads
    )
    return Architecture(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=width,
        vocab=vocab,
        tied=tied,
        context_tokens=sizes.get("max_position_embeddings"),
        experts=experts,
        active_experts=sizes.taken_experts("num_experts_per_tok", experts) if experts else None,
        expert_intermediate=expert_width or None,
        shared_intermediate=shared,
        dense_layers=layers - sparse_layers if experts else 0,
        sliding_window=window,
        sliding_layers=sliding_layers,
        mla=mla,
        mlp_matrices=3 if family.gated else 2,
        layer_rest=attention_rest + family.norms * norm + family.layer_extra,
        dense_rest=dense_bias,
        expert_rest=_expert_rest(family, experts or 0, expert_width, hidden),
        rest=family.last_norm * norm
        + sizes.says(family.head_bias) * vocab
        + (sizes.get(family.positions) or 0) * hidden,
    )


def _qkv_biases(queries: int, keys: int, mla: Mla | None) -> int:
    """How many biases queries, keys and values have; of latents, what makes them small has."""
    return queries + 2 * keys if mla is None else (mla.q_lora_rank or 0) + mla.kv_lora_rank + mla.rope_dim


def _expert_rest(family: Family, experts: int, width: int, hidden: int) -> int:
    """What a layer with experts has beside their matrices and the router's: biases, and the gate of a shared one."""
    biases = experts * (2 * width + hidden) if family.expert_bias else 0
    return biases + family.router_biases * experts + (hidden if family.shared_gate else 0)


def _dense_width(family: Family, sizes: Sizes, hidden: int) -> int:
    # What GPT-2 leaves out is four times as wide.
    return sizes.get("n_inner") or 4 * hidden if family.positions else sizes.need(family.dense_width)


def _sparse_layers(family: Family, sizes: Sizes, layers: int) -> int:
    """How many layers have experts."""
    if family.sparse == "first":
        return max(0, layers - (sizes.get("first_k_dense_replace") or 0))
    if family.sparse == "step":
        step, dense = sizes.need("decoder_sparse_step"), sizes.indices("mlp_only_layers") or set()
        return sum((layer + 1) % step == 0 and layer not in dense for layer in range(layers))
    if family.sparse == "interleave":
        named = sizes.indices("moe_layers")
        step = sizes.need("interleave_moe_layer_step")
        return len(range(step - 1, layers, step) if named is None else named & set(range(layers)))
    if family.sparse == "span":
        first, last = sizes.whole("moe_layer_start_index"), sizes.whole("moe_layer_end_index")
        step = sizes.need("moe_layer_interval")
        return sum(
            (layer + 1) % step == 0 for layer in range(max(0, first), layers if last == -1 else min(layers, last + 1))
        )
    return layers


def _mla(sizes: Sizes) -> Mla:
    return Mla(
        q_lora_rank=sizes.get("q_lora_rank"),
        kv_lora_rank=sizes.need("kv_lora_rank"),
        rope_dim=sizes.need("qk_rope_head_dim"),
        nope_dim=sizes.need("qk_nope_head_dim"),
        value_dim=sizes.need("v_head_dim"),
    )


def _sliding(family: Family, sizes: Sizes, layers: int) -> tuple[int | None, int]:
    """The window and how many layers have it."""
    kinds = sizes.kinds("layer_types")
    if kinds is not None and (strange := set(kinds) - _ATTENTION):
        raise UserError(f"{_WHERE}: layers of type {min(strange)} keep a state that cannot be sized here")
    if family.window == "off" and sizes.says("use_sliding_window"):
        raise UserError(f"{_WHERE}: which layers use_sliding_window gives a window is not known here")
    if kinds is not None and len(kinds) < layers:
        raise UserError(f"{_WHERE}: layer_types says what {len(kinds)} layers are, and there are {layers}")
    off = family.window in ("none", "off") or (family.window == "qwen2" and not sizes.says("use_sliding_window"))
    window = None if off else sizes.get("attention_chunk_size" if family.window == "chunks" else "sliding_window")
    if kinds is None:
        count = _windows_unsaid(family, sizes, layers)
    elif (count := sum(kind in _SLIDING for kind in kinds[:layers])) and window is None:
        raise UserError(f"{_WHERE}: layer_types has layers with a window, and nothing says how long it is")
    return (window, count) if window and count else (None, 0)


def _windows_unsaid(family: Family, sizes: Sizes, layers: int) -> int:
    """How many layers have a window where no list says it."""
    if family.window == "pattern":
        return layers - layers // (sizes.get("sliding_window_pattern") or family.pattern)
    if family.window == "qwen2":
        return max(0, layers - (sizes.get("max_window_layers") or 0))
    if family.window == "chunks":
        every = sizes.need("no_rope_layer_interval")
        rotated = sizes.flags("no_rope_layers") or [(layer + 1) % every != 0 for layer in range(layers)]
        if len(rotated) < layers:
            raise UserError(f"{_WHERE}: no_rope_layers says what {len(rotated)} layers are, and there are {layers}")
        return sum(map(bool, rotated[:layers]))
    return layers
