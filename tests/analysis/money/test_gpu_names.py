"""Which GPU with a price a driver's name means."""

import pytest

from analysis.money.gpu_names import is_called, priced_name


@pytest.mark.parametrize(
    ("device", "gpu"),
    [
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"),
        ("NVIDIA A100-SXM4-80GB", "a100-80-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("Quadro P400", None),
        ("", None),
    ],
)
def test_a_device_is_found_in_the_price_list_by_its_drivers_name(device: str, gpu: str | None) -> None:
    assert priced_name(device) == gpu


def test_a_longer_name_is_another_gpu() -> None:
    assert not is_called("l4", "NVIDIA L40S")
    assert not is_called("a10", "NVIDIA A10G")
    assert not is_called("a100-40", "NVIDIA A100-SXM4-80GB")
