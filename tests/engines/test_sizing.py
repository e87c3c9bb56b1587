"""Sizes held against engines: vLLM's own account of its KV cache, and the weights that transformers builds."""

import json
import re
import subprocess
import urllib.request
from typing import Any

import pytest

from analysis.sizing import memory
from analysis.sizing.architecture import count
from analysis.sizing.config import from_config
from bench.server.modelfile import read_config
from bench.server.tinymodel import TinyModel
from bench.types import Target

pytestmark = pytest.mark.engine

# What the fixture's server is told: `VLLM_CPU_KVCACHE_SPACE` in GiB, and float32 for the cache as for all else.
KV_SPACE_BYTES = memory.GIB
KV_VALUE_BYTES = 4

SMALL: dict[str, Any] = {
    "hidden_size": 256, "num_hidden_layers": 7, "num_attention_heads": 8, "num_key_value_heads": 4,
    "intermediate_size": 768, "vocab_size": 1000, "max_position_embeddings": 4096, "pad_token_id": 0,
}  # fmt: skip
LATENT = {
    "num_key_value_heads": 8, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "moe_intermediate_size": 96, "n_routed_experts": 8, "n_shared_experts": 2, "num_experts_per_tok": 2,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama with biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": {"model_type": "mistral"},
    "phi3": {"model_type": "phi3"},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 64},
    "gemma": {"model_type": "gemma", "head_dim": 64},
    "gemma2": {"model_type": "gemma2", "head_dim": 64},
    "gemma3": {"model_type": "gemma3_text", "head_dim": 64},
    "mixtral": {"model_type": "mixtral"},
    "qwen3 mixture": {
        "model_type": "qwen3_moe",
        "num_experts": 16,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 96,
    },
    "deepseek 2": {"model_type": "deepseek_v2", **LATENT, "q_lora_rank": None, "first_k_dense_replace": 1},
    "deepseek 3": {"model_type": "deepseek_v3", **LATENT, "q_lora_rank": 48, "n_group": 2, "topk_group": 1},
}
COUNT = """
import json, sys, torch
from transformers import AutoConfig, AutoModelForCausalLM
found = {}
for name, config in json.load(sys.stdin).items():
    made = AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(made).num_parameters()
    found[name] = [weights, json.loads(made.to_json_string(use_diff=False))]
print("FOUND", json.dumps(found))
"""


def test_vllm_holds_as_many_tokens_as_the_size_says(vllm_server: Target, tiny: TinyModel) -> None:
    with urllib.request.urlopen(f"{vllm_server.url}/metrics", timeout=300) as answer:
        exposed = answer.read().decode()
    told = re.search(r'^vllm:cache_config_info{.*kv_cache_size_tokens="(\d+)"', exposed, re.MULTILINE)
    assert told is not None
    per_token = memory.kv_bytes_per_token(from_config(read_config(tiny.hf)), KV_VALUE_BYTES)
    assert int(told[1]) == pytest.approx(KV_SPACE_BYTES / per_token, rel=0.02)


@pytest.fixture(scope="module")
def built(vllm_python: str) -> dict[str, tuple[int, dict[str, Any]]]:
    """Of each config, how many weights transformers makes of it, and the config.json that it would write."""
    configs = {name: SMALL | config for name, config in CONFIGS.items()}
    done = subprocess.run(
        [vllm_python, "-c", COUNT], input=json.dumps(configs), capture_output=True, text=True, timeout=900, check=True
    )
    found: dict[str, tuple[int, dict[str, Any]]] = json.loads(done.stdout.partition("FOUND")[2])
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_builds_as_many_weights_as_are_counted(
    name: str, built: dict[str, tuple[int, dict[str, Any]]]
) -> None:
    weights, config = built[name]
    assert count(from_config(config)).total == weights
