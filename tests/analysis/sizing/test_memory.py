"""What models need of a GPU's memory: every figure of the reference, and the claims that it refutes."""

from dataclasses import replace
from typing import Any

import pytest

from analysis.sizing import gpus, memory
from analysis.sizing.architecture import Architecture, Mla, Parameters, count
from analysis.sizing.memory import GIB, Model, Weights
from bench.types import UserError

SHAPES: dict[str, Any] = {
    "llama-3.1-8b": Architecture(32, 4096, 32, 8, 128, 14336, 128256, False),
    "llama-3.1-70b": Architecture(80, 8192, 64, 8, 128, 28672, 128256, False),
    "llama-3.2-3b": Architecture(28, 3072, 24, 8, 128, 8192, 128256, True),
    "mistral-7b": Architecture(32, 4096, 32, 8, 128, 14336, 32000, False),
    "mistral-7b-v0.3": Architecture(32, 4096, 32, 8, 128, 14336, 32768, False),
    "mixtral-8x7b": Architecture(32, 4096, 32, 8, 128, 14336, 32000, False, experts=8, active_experts=2),
    "codestral-22b": Architecture(56, 6144, 48, 8, 128, 16384, 32768, False),
    "pixtral-12b": Architecture(40, 5120, 32, 8, 128, 14336, 131072, False),
    "qwen3-4b": Architecture(36, 2560, 32, 8, 128, 9728, 151936, True),
    "qwen2.5-7b": Architecture(28, 3584, 28, 4, 128, 18944, 152064, False),
    "qwen2.5-72b": Architecture(80, 8192, 64, 8, 128, 29568, 152064, False),
}
MIXTRAL = SHAPES["mixtral-8x7b"]
LLAMA_8B = SHAPES["llama-3.1-8b"]


def model(name: str, quantization: str = "bf16") -> Model:
    parameters = count(SHAPES[name])
    return Model(name, SHAPES[name], parameters, memory.weights(parameters, quantization))


# --- weights ----------------------------------------------------------------------------------------------------


def test_mixtral_in_awq_is_24_65_gb_which_is_what_its_files_are() -> None:
    weights = model("mixtral-8x7b", "awq").weights
    assert weights.total_bytes == 24_653_602_816
    assert weights.total_bytes / GIB == pytest.approx(22.96, abs=0.005)
    assert model("mixtral-8x7b", "gptq").weights.total_bytes == weights.total_bytes


def test_a_smaller_group_of_awq_has_more_scales() -> None:
    parameters = Parameters(linear=128_000, experts=0, embeddings=0, rest=0)
    assert memory.weights(parameters, "awq", 128).total_bytes == 66_500
    assert memory.weights(parameters, "awq", 32).total_bytes == 74_000


@pytest.mark.parametrize(("quantization", "total"), [("fp16", 2 * 8_030_261_248), ("bf16", 16_060_522_496)])
def test_two_bytes_a_weight_are_two_bytes_a_weight(quantization: str, total: int) -> None:
    assert model("llama-3.1-8b", quantization).weights.total_bytes == total


@pytest.mark.parametrize("quantization", ["fp8", "int8"])
def test_eight_bits_leave_embeddings_head_and_norms_at_two_bytes(quantization: str) -> None:
    parameters = count(LLAMA_8B)
    kept = 2 * 128256 * 4096 + 65 * 4096
    assert model("llama-3.1-8b", quantization).weights.total_bytes == parameters.total + kept


@pytest.mark.parametrize(
    ("quantization", "bits"), [("q4_k_m", 4.84), ("q5_k_m", 5.68), ("q6_k", 6.5625), ("q8_0", 8.5)]
)
def test_a_gguf_file_that_is_not_at_hand_has_the_usual_bits_per_weight(quantization: str, bits: float) -> None:
    assert model("llama-3.1-8b", quantization).weights.total_bytes == pytest.approx(8_030_261_248 * bits / 8, abs=1)


def test_an_unknown_quantization_offers_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"--quantization 'Q4_K': expected one of fp16, bf16, .*; did you mean 'q4_k_s'\?"
    ):
        memory.weights(Parameters(1, 0, 0, 0), "Q4_K")


def test_a_gguf_file_weighs_what_its_tensors_do() -> None:
    weights = memory.tensor_weights("Q4_K_M", {"blk.0.ffn_up_exps.weight": 900, "blk.0.attn_q.weight": 100})
    assert weights == Weights("Q4_K_M", 1000, 900)


def test_one_token_reads_its_experts_and_a_large_batch_all_of_them() -> None:
    mixtral = model("mixtral-8x7b")
    dense = mixtral.weights.total_bytes - mixtral.weights.expert_bytes
    assert memory.read_bytes(mixtral, 1) == pytest.approx(dense + mixtral.weights.expert_bytes * 2 / 8)
    assert memory.read_bytes(mixtral, 2) == pytest.approx(dense + mixtral.weights.expert_bytes * (1 - 0.75**2))
    assert memory.read_bytes(mixtral, 256) == pytest.approx(mixtral.weights.total_bytes)
    assert memory.read_bytes(model("llama-3.1-8b"), 1) == 16_060_522_496


# --- keys and values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        ("llama-3.1-8b", 131_072),
        ("mistral-7b", 131_072),
        ("mistral-7b-v0.3", 131_072),
        ("mixtral-8x7b", 131_072),
        ("llama-3.1-70b", 327_680),
        ("qwen2.5-72b", 327_680),
        ("qwen3-4b", 147_456),
        ("qwen2.5-7b", 57_344),
        ("llama-3.2-3b", 114_688),
        ("codestral-22b", 229_376),
        ("pixtral-12b", 163_840),
    ],
)
def test_a_token_of_each_model_takes_what_the_hand_reckons(name: str, per_token: int) -> None:
    assert memory.kv_bytes_per_token(SHAPES[name]) == per_token
    assert memory.kv_bytes(SHAPES[name], 1600) == 1600 * per_token
    assert memory.kv_bytes_per_token(SHAPES[name], value_bytes=1) == per_token // 2


def test_a_sequence_takes_whole_blocks_of_16_tokens() -> None:
    assert memory.kv_bytes(LLAMA_8B, 1) == 16 * 131_072
    assert memory.kv_bytes(LLAMA_8B, 17) == 32 * 131_072


def test_layers_with_a_window_hold_no_more_than_it() -> None:
    every = replace(SHAPES["mistral-7b"], sliding_window=4096, sliding_layers=32)
    half = replace(every, sliding_layers=16)
    assert memory.kv_bytes(every, 4000) == 4000 * 131_072
    assert memory.kv_bytes(every, 32768) == 4096 * 131_072
    assert memory.kv_bytes(half, 32768) == (32768 + 4096) * 131_072 // 2


def test_latent_attention_caches_one_latent_and_not_the_heads() -> None:
    deepseek = Architecture(61, 7168, 128, 128, 128, 18432, 129280, False, mla=Mla(1536, 512, 64, 128, 128))
    assert memory.kv_bytes_per_token(deepseek) == 61 * (512 + 64) * 2 == 70_272


# --- what fits --------------------------------------------------------------------------------------------------


def test_vllm_takes_its_share_of_the_memory_and_leaves_the_rest_after_weights_and_overhead_to_the_cache() -> None:
    divided = memory.divide(16 * GIB, 80 * GIB, tensor_parallel=2, overhead_bytes=GIB)
    assert divided == (80 * GIB * 92 // 100, 8 * GIB, GIB)
    assert divided.kv_bytes == 80 * GIB * 92 // 100 - 9 * GIB
    assert memory.divide(GIB, 10 * GIB, gpu_memory_utilization=0.5).usable_bytes == 5 * GIB


def test_sequences_are_as_many_as_their_blocks_fit() -> None:
    space = 10 * 48 * 131_072
    assert memory.sequences(LLAMA_8B, space, 48) == 10
    assert memory.sequences(LLAMA_8B, space, 33) == 10
    assert memory.sequences(LLAMA_8B, space, 49) == 7
    assert memory.sequences(LLAMA_8B, space - 1, 48) == 9
    assert memory.sequences(LLAMA_8B, space, 48, tensor_parallel=2) == 20
    assert memory.sequences(LLAMA_8B, -1, 48) == 0


def test_a_latent_is_on_every_gpu() -> None:
    latent = replace(LLAMA_8B, mla=Mla(None, 512, 64, 128, 128))
    space = 10 * 48 * 32 * 576 * 2
    assert memory.sequences(latent, space, 48, tensor_parallel=4) == 10


def test_a_model_is_split_only_where_its_heads_can_be() -> None:
    assert memory.splits(SHAPES["llama-3.1-70b"]) == [1, 2, 4, 8]
    assert memory.splits(SHAPES["qwen2.5-7b"]) == [1, 2, 4]
    assert memory.splits(replace(SHAPES["qwen2.5-7b"], mla=Mla(None, 1, 1, 1, 1))) == [1, 2, 4]
    assert memory.splits(LLAMA_8B, (1, 3)) == [1]
    assert memory.splits(replace(LLAMA_8B, kv_heads=6, heads=12), (3, 4, 6, 12)) == [3, 6, 12]


@pytest.mark.parametrize(("tensor_parallel", "times"), [(1, 1), (2, 2), (4, 2), (8, 2)])
def test_heads_of_keys_and_values_are_repeated_where_there_are_more_gpus(tensor_parallel: int, times: int) -> None:
    few = replace(LLAMA_8B, kv_heads=2)
    assert memory.splits(few) == [1, 2, 4, 8]
    space = 10 * 48 * 32 * 2 * 2 * 128 * 2
    assert memory.sequences(few, space, 48, tensor_parallel) == 10 * times


def test_a_shared_prefix_is_held_once_in_its_whole_blocks() -> None:
    space = (64 + 10 * 48) * 131_072
    assert memory.sequences(LLAMA_8B, space, 64 + 48, prefix_tokens=64) == 10
    assert memory.sequences(LLAMA_8B, space, 64 + 48, prefix_tokens=79) == 10
    assert memory.sequences(LLAMA_8B, space, 64 + 48) == 4
    assert memory.sequences(LLAMA_8B, space, 64, prefix_tokens=64) == memory.sequences(
        LLAMA_8B, space, 64, prefix_tokens=48
    )


@pytest.mark.parametrize("name", ["rtx-4090", "l4", "a10g", "rtx-3090"])
def test_the_claim_that_mixtral_in_4_bits_runs_on_24_gb_under_vllm_is_false(name: str) -> None:
    divided = memory.divide(model("mixtral-8x7b", "awq").weights.total_bytes, gpus.find(name).memory_bytes)
    assert divided.usable_bytes < divided.weights_bytes
    assert divided.weights_bytes / GIB == pytest.approx(22.96, abs=0.005)
    assert divided.usable_bytes / GIB == pytest.approx(22.07, abs=0.011)
