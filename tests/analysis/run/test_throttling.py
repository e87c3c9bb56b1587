import pyarrow as pa

from analysis.run.sections import GpuThrottling
from analysis.run.throttling import POWER_CAPPED, SLOWED, throttling
from analysis.run.window import Window
from bench.telemetry.nvidia import throttle_names


def test_the_bits_are_those_that_telemetry_names() -> None:
    assert throttle_names(SLOWED) == [
        "hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "hardware power brake",
    ]  # fmt: skip
    assert throttle_names(POWER_CAPPED) == ["software power cap"]


def test_shares_are_of_the_samples_in_the_window_card_by_card() -> None:
    masks = [0x40, 0x44, 0x04, 0x00, 0x60]
    telemetry = pa.table(
        {"t_ns": [0, 1, 2, 3, 4], "source": ["gpu1"] * 5, "name": ["throttle_reasons"] * 5,
         "value": [float(mask) for mask in masks]}
    )  # fmt: skip
    assert throttling([0, 1], telemetry, Window(0, 3)) == (GpuThrottling(1, 0.5, 0.5),)
    assert throttling([], None, Window(0, 3)) == ()
