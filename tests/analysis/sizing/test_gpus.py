"""The table of GPUs."""

import pytest

from analysis.sizing import gpus
from bench.types import UserError


def test_every_row_is_of_a_possible_gpu() -> None:
    for name, gpu in gpus.gpus().items():
        assert gpu.name == name
        assert 10 * 2**30 <= gpu.memory_bytes <= 200 * 2**30, name
        # Operations for each byte moved: few where bandwidth was spent on, many where it was saved.
        assert 50 < gpu.flops / gpu.bandwidth_bytes_per_s < 500, name
        assert gpu.flops8 is None or 1.9 < gpu.flops8 / gpu.flops < 2.1, name
        assert gpu.compute_capability >= (7, 5), name


def test_units_are_bytes_and_operations_per_second() -> None:
    l40s = gpus.find("l40s")
    assert (l40s.memory_bytes, l40s.bandwidth_bytes_per_s, l40s.flops) == (45 * 2**30, 864e9, 362e12)
    assert gpus.find("rtx-4090").memory_bytes == pytest.approx(24564 * 2**20, rel=0.0002)


def test_speeds_that_nobody_published_are_marked() -> None:
    estimated = {name for name, gpu in gpus.gpus().items() if gpu.estimated}
    assert estimated == {"rtx-3060", "rtx-3090", "rtx-4090", "rtx-5090"}


@pytest.mark.parametrize(
    ("name", "near"), [("h100", "'h100-sxm' or 'h100-pcie'"), ("4090", "'rtx-4090'"), ("RTX 6000", "'rtx-pro-6000'")]
)
def test_an_unknown_gpu_offers_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"--gpu '{name}': expected one of t4, l4, .*; did you mean {near}"):
        gpus.find(name)


def test_a_gpu_is_found_as_people_write_it() -> None:
    assert gpus.find("RTX 4090") is gpus.find("rtx-4090")


@pytest.mark.parametrize(
    ("gpu", "quantization", "tflops"),
    [
        ("h100-sxm", "bf16", 989),
        ("h100-sxm", "awq", 989),
        ("h100-sxm", "fp8", 1978),
        ("a100-80-sxm", "fp8", 312),
        ("a100-80-sxm", "int8", 624),
        ("rtx-4090", "fp8", 330),
        ("t4", "q4_k_m", 65),
    ],
)
def test_a_format_computes_in_the_numbers_that_the_gpu_has_for_it(gpu: str, quantization: str, tflops: float) -> None:
    assert gpus.flops(gpus.find(gpu), quantization) == tflops * 1e12


def test_vllm_takes_more_sequences_at_once_on_large_gpus() -> None:
    most = {name: gpus.max_sequences(gpu) for name, gpu in gpus.gpus().items()}
    assert {name for name, count in most.items() if count == 1024} == {
        "h100-pcie", "h100-sxm", "h200", "b200", "rtx-pro-6000",
    }  # fmt: skip
    assert most["a100-80-sxm"] == most["t4"] == 256
