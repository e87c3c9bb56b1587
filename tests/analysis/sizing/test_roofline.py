"""Bounds on speed, and the numbers that they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.sizing import roofline
from analysis.sizing.roofline import CAUTIOUS, HOPEFUL, PERFECT, Efficiency, Hardware, StepWork

# An 8B model in 16 bits on an H100 SXM, 1,000 tokens of 131,072 bytes a sequence.
WORK = StepWork(weight_bytes=16e9, kv_bytes_per_sequence=131_072_000, active_parameters=8e9)
H100 = Hardware(bandwidth_bytes_per_s=3350e9, flops=989e12)
FOUR_T4 = Hardware(bandwidth_bytes_per_s=4 * 320e9, flops=4 * 65e12)
LLAMA_2_70B = 68_976_648_192


def test_a_small_batch_waits_for_its_bytes() -> None:
    step = roofline.decode_step(1, WORK, H100)
    assert step.limit == "bandwidth"
    assert step.seconds == pytest.approx((16e9 + 131_072_000) / 3350e9)
    assert roofline.decode_tokens_per_s(1, WORK, H100, CAUTIOUS) == pytest.approx(0.6 * 207.67, rel=1e-4)
    assert roofline.decode_tokens_per_s(1, WORK, H100, HOPEFUL) == pytest.approx(0.85 * 207.67, rel=1e-4)


def test_a_large_batch_of_short_sequences_waits_for_its_operations() -> None:
    short = WORK._replace(kv_bytes_per_sequence=0)
    step = roofline.decode_step(1000, short, H100)
    assert step.limit == "compute"
    assert roofline.decode_tokens_per_s(1000, short, H100) == pytest.approx(989e12 / 16e9)


def test_a_prompt_takes_two_operations_for_each_weight_and_token() -> None:
    assert roofline.prefill_s(2000, WORK, H100) == pytest.approx(2 * 8e9 * 2000 / 989e12)
    assert roofline.prefill_s(2000, WORK, H100, CAUTIOUS) == pytest.approx(2 * 8e9 * 2000 / (0.4 * 989e12))


# --- refused ----------------------------------------------------------------------------------------------------


def test_a_70b_at_3245_tokens_per_s_on_four_t4_is_refused_at_1885() -> None:
    """The 70B is Llama 2's, in fp16 operations at full speed, whatever the batch and the format of its weights."""
    work = StepWork(weight_bytes=0, kv_bytes_per_sequence=0, active_parameters=LLAMA_2_70B)
    ceiling, limit = roofline.ceiling_tokens_per_s(None, work, FOUR_T4)
    assert (round(ceiling), limit) == (1885, "compute")
    reason = roofline.check(3245, None, work, FOUR_T4)
    assert reason == (
        "3,245 output tokens/s are above the roofline of 1,885 at any number of sequences: "
        "it takes 138 GFLOP a token, of 260 TFLOPS (compute)"
    )
    assert roofline.check(1884, None, work, FOUR_T4) is None


def test_a_number_above_what_the_bandwidth_allows_is_refused_with_the_bytes_it_takes() -> None:
    ceiling, _ = roofline.ceiling_tokens_per_s(4, WORK, H100)
    assert roofline.check(ceiling, 4, WORK, H100) is None
    assert roofline.check(900, 4, WORK, H100) == (
        "900 output tokens/s are above the roofline of 811 at 4 sequences: "
        "it takes 16 GB of weights a step and 131.1 MB of cache a sequence, of 3,350 GB/s (bandwidth)"
    )


def test_long_sequences_bound_even_a_batch_of_any_size_by_their_cache() -> None:
    ceiling, limit = roofline.ceiling_tokens_per_s(None, WORK, H100)
    assert ceiling == pytest.approx(3350e9 / 131_072_000)
    assert limit == "bandwidth"
    reason = roofline.check(30_000, None, WORK, H100)
    assert reason is not None and "131.1 MB of cache a sequence, of 3,350 GB/s" in reason and "weights" not in reason


# --- serving requests -------------------------------------------------------------------------------------------

batches = st.integers(1, 4096)
lengths = st.integers(1, 10_000)
works = st.builds(StepWork, st.floats(1e8, 1e12), st.floats(1e3, 1e10), st.floats(1e8, 1e12))
shares = st.floats(0.05, 1.0)
efficiencies = st.builds(Efficiency, shares, shares)


@given(batches, lengths, lengths, works, efficiencies)
def test_a_replica_keeps_littles_law(
    batch: int, prompt: int, output: int, work: StepWork, efficiency: Efficiency
) -> None:
    pace = roofline.pace(batch, prompt, output, work, H100, efficiency)
    assert pace.requests_per_s * output * pace.tpot_s == pytest.approx(batch)
    assert 0 < pace.prefill_share < 1


@given(batches, lengths, lengths, works)
def test_more_at_once_is_never_fewer_per_second_and_never_faster_for_one(
    batch: int, prompt: int, output: int, work: StepWork
) -> None:
    few, many = (roofline.pace(n, prompt, output, work, H100) for n in (batch, 2 * batch))
    assert many.requests_per_s >= few.requests_per_s * (1 - 1e-9)
    assert many.tpot_s >= few.tpot_s * (1 - 1e-9) and many.ttft_s >= few.ttft_s * (1 - 1e-9)


@given(batches, lengths, lengths, works, shares)
def test_one_efficiency_for_everything_scales_everything(
    batch: int, prompt: int, output: int, work: StepWork, share: float
) -> None:
    best = roofline.pace(batch, prompt, output, work, H100, PERFECT)
    real = roofline.pace(batch, prompt, output, work, H100, Efficiency(share, share))
    assert real.requests_per_s == pytest.approx(share * best.requests_per_s)
    assert real.tpot_s == pytest.approx(best.tpot_s / share)
    assert real.service_s(output) == pytest.approx(best.service_s(output) / share)


@given(batches, lengths, lengths, works)
def test_output_with_prompts_is_never_above_the_ceiling_without(
    batch: int, prompt: int, output: int, work: StepWork
) -> None:
    pace = roofline.pace(batch, prompt, output, work, H100)
    assert roofline.check(pace.requests_per_s * output * (1 - 1e-9), batch, work, H100) is None


def test_a_request_lasts_its_first_token_and_the_gaps_to_the_last() -> None:
    pace = roofline.pace(8, 500, 200, WORK, H100)
    assert pace.ttft_s == pytest.approx(2 * 8e9 * 500 / 989e12 + roofline.decode_step(8, WORK, H100).seconds)
    assert pace.service_s(200) == pytest.approx(pace.ttft_s + 199 * pace.tpot_s)
    assert pace.service_s(1) == pace.ttft_s
