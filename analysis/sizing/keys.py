"""The keys of a config.json: which are read, of which family, and which change no size."""

from collections.abc import Mapping
from typing import Final

from analysis.sizing.families import Family


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EVERYWHERE: Final = _words(
    """
    hidden_size intermediate_size is_encoder_decoder layer_types max_position_embeddings model_type
    num_attention_heads num_hidden_layers num_key_value_heads quantization_config tie_word_embeddings vocab_size
    """
)
"""Keys that are read of every family."""

SAME_KEY: Final[Mapping[str, str]] = {
    "num_local_experts": "num_experts", "n_routed_experts": "num_experts", "moe_num_experts": "num_experts",
    "experts_per_token": "num_experts_per_tok", "_sliding_window_pattern": "sliding_window_pattern",
}  # fmt: skip
"""Other names of a key that is read."""

_OF_LAYERS: Final[Mapping[str, str]] = {
    "first": "first_k_dense_replace",
    "step": "decoder_sparse_step mlp_only_layers",
    "interleave": "interleave_moe_layer_step moe_layers",
    "span": "moe_layer_start_index moe_layer_end_index moe_layer_interval",
    "all": "sliding_window",
    "off": "sliding_window use_sliding_window max_window_layers",
    "pattern": "sliding_window sliding_window_pattern",
    "qwen2": "sliding_window use_sliding_window max_window_layers",
    "chunks": "attention_chunk_size no_rope_layers no_rope_layer_interval",
}
_LATENT: Final = "q_lora_rank kv_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim"

HARMLESS: Final = _words(
    """
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path activation_function architectures
    attention_dropout attention_multiplier attn_implementation attn_logit_softcapping attn_pdrop attn_scale
    attn_temperature_tuning auto_map aux_loss_alpha bad_words_ids begin_suppress_tokens bos_token_id
    cache_implementation chunk_size_feed_forward classifier_dropout clip_qkv diversity_penalty do_sample dtype
    early_stopping embd_pdrop embedding_dropout embedding_multiplier encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty final_logit_softcapping finetuning_task floor_scale hidden_act
    hidden_activation hidden_dropout id2label image_token_id image_token_index initial_context_length
    initializer_factor initializer_range input_jitter_noise is_decoder label2id layer_norm_eps layer_norm_epsilon
    length_penalty logit_scale logits_scaling max_length min_length model_max_length moe_norm_min n_ctx n_group
    no_repeat_ngram_size norm_eps norm_epsilon norm_topk_prob num_beam_groups num_beams num_mtp_layers
    num_nextn_predict_layers num_return_sequences original_max_position_embeddings output_attentions
    output_hidden_states output_router_logits output_scores pad_token_id partial_rotary_factor prefix pretraining_tp
    problem_type query_pre_attn_scalar remove_invalid_values reorder_and_upcast_attn repetition_penalty resid_pdrop
    residual_dropout residual_multiplier return_dict return_dict_in_generate rms_norm_eps rope_interleave
    rope_local_base_freq rope_parameters rope_scaling rope_theta rotary_dim rotary_emb_base rotary_pct
    routed_scaling_factor router_aux_loss_coef router_jitter_noise scale_attn_by_inverse_layer_idx
    scale_attn_weights scoring_func seq_aux summary_activation summary_first_dropout summary_proj_to_labels
    summary_type summary_use_proj suppress_tokens swiglu_alpha swiglu_limit task_specific_params temperature
    tf_legacy_loss tokenizer_class top_k top_p topk_group topk_method torch_dtype torchscript transformers_version
    typical_p unsloth_fixed unsloth_version use_cache use_mrope
    """
)
"""Keys that change no weight and no cache of any family here: how numbers are scaled, placed, dropped or named."""


def read_keys(family: Family) -> frozenset[str]:
    """Which keys of a configuration of that family are read."""
    own = (
        family.mlp_bias, family.qkv_bias, family.output_bias, family.head_bias, family.head_norms_if,
        family.positions, family.expert_width, family.shared_count, family.shared_width,
        family.dense_width,
    )  # fmt: skip
    layers = f"{_OF_LAYERS.get(family.sparse, '') if family.experts else ''} {_OF_LAYERS.get(family.window, '')}"
    named = {"head_dim"} if family.head_dim else set()
    named |= {key for key in own if isinstance(key, str)} - (set() if family.experts else {"moe_intermediate_size"})
    named |= {"num_experts", "num_experts_per_tok"} if family.experts else set()
    named |= {"n_inner"} if family.positions else set()
    return EVERYWHERE | named | set(layers.split()) | set(_LATENT.split() if family.latent else ())
