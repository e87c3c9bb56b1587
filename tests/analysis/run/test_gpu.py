from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.run.gpu import POWER_CAPPED, SLOWED, gpus, throttling
from analysis.run.sections import GpuThrottling
from analysis.run.window import Window
from bench.telemetry.nvidia import throttle_names

SECOND = 1_000_000_000
NAMES = {0: "First", 1: "Second"}
SPAN = Window(2 * SECOND, 6 * SECOND)


def telemetry(series: Any, t_s: Any) -> Any:
    rows = [
        (int(t * SECOND), source, name, float(value))
        for (source, name), values in series.items()
        for t, value in zip(t_s, values, strict=True)
    ]
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(("t_ns", "source", "name", "value"))})


def test_means_and_maxima_are_of_the_window() -> None:
    t_s = np.arange(0, 10)
    table = telemetry(
        {
            ("gpu1", "util_pct"): [0, 0, 50, 60, 70, 80, 90, 0, 0, 0],
            ("gpu1", "memory_used_bytes"): [1, 1, 5, 9, 5, 5, 5, 99, 1, 1],
            ("gpu1", "power_w"): np.full(10, 100),
            ("host", "busy_cores"): np.zeros(10),
        },
        t_s,
    )
    (gpu,) = gpus(NAMES, table, SPAN)
    assert (gpu.index, gpu.name, gpu.energy_source) == (1, "Second", "power")
    assert (gpu.util_pct_mean, gpu.memory_used_bytes_max, gpu.power_w_mean) == (70.0, 9, 100.0)
    assert gpu.energy_j == pytest.approx(400.0)


def test_the_energy_counter_goes_before_power_and_is_interpolated_at_the_edges() -> None:
    t_s = np.arange(0.5, 10)
    table = telemetry({("gpu0", "energy_j"): 1000 + 250 * t_s, ("gpu0", "power_w"): np.full(10, 1.0)}, t_s)
    (gpu,) = gpus(NAMES, table, SPAN)
    assert gpu.energy_j == pytest.approx(1000.0)
    assert gpu.energy_source == "counter"


@pytest.mark.parametrize("reset_s", [1, 2, 2.5, 3.5, 6, 6.5, 7])
def test_a_counter_that_began_anew_in_the_window_gives_way_to_the_power(reset_s: float) -> None:
    t_s = np.arange(0.5, 10)
    counted = np.where(t_s < reset_s, 1000 + 250 * t_s, 250 * (t_s - reset_s))
    (gpu,) = gpus(NAMES, telemetry({("gpu0", "energy_j"): counted, ("gpu0", "power_w"): np.full(10, 250.0)}, t_s), SPAN)
    touched = 1.5 < reset_s <= 6.5  # between samples that the window reaches over
    assert gpu.energy_j == pytest.approx(1000.0)
    assert gpu.energy_source == ("power" if touched else "counter")


def test_power_is_integrated_by_trapezoids() -> None:
    t_s = np.arange(0, 10)
    (gpu,) = gpus(NAMES, telemetry({("gpu0", "power_w"): 10 * t_s}, t_s), SPAN)
    assert gpu.energy_j == pytest.approx(10 * (6**2 - 2**2) / 2)


def test_energy_is_unknown_where_the_samples_do_not_cover_the_window() -> None:
    t_s = np.arange(0, 5)
    (gpu,) = gpus(NAMES, telemetry({("gpu0", "energy_j"): 250 * t_s}, t_s), SPAN)
    assert (gpu.energy_j, gpu.energy_source, gpu.util_pct_mean) == (None, None, None)


def test_a_gpu_that_the_inventory_does_not_name_has_no_name() -> None:
    (gpu,) = gpus({}, telemetry({("gpu0", "power_w"): [1.0, 1.0]}, [0, 1]), SPAN)
    assert gpu.name is None


def test_no_telemetry_is_no_gpu() -> None:
    assert gpus(NAMES, None, SPAN) == ()


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
