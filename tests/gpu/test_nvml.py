"""What we read of a real NVIDIA GPU, idle and under a known load, beside what the driver's own tool says of it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from analysis.run.gpu import gpus, series
from analysis.run.throttling import throttling
from analysis.run.window import Window
from bench.telemetry import sampler as telemetry

pytestmark = pytest.mark.gpu

SECOND = 1_000_000_000
LOAD_S, IDLE_S = 8.0, 3.0
ALLOCATED_BYTES = 4 << 30
# Matrix products on the first card, one after the other; says when it has begun, and ends by its standard input.
LOAD = f"""
import select, sys, torch
held = torch.empty({ALLOCATED_BYTES}, dtype=torch.uint8, device="cuda:0")
a = torch.randn(8192, 8192, device="cuda:0", dtype=torch.bfloat16)
b = torch.randn(8192, 8192, device="cuda:0", dtype=torch.bfloat16)
torch.mm(a, b); torch.cuda.synchronize()
print("begun", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(50):
        torch.mm(a, b)
    torch.cuda.synchronize()
"""


class Observed(NamedTuple):
    """Telemetry of an idle stretch and a busy one, and what nvidia-smi said in the middle of the busy one."""

    table: pa.Table
    idle: Window
    busy: Window
    beside: dict[str, str]


def nvidia_smi(*fields: str) -> dict[str, str]:
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    return dict(zip(fields, (value.strip() for value in said.strip().split(",")), strict=True))


@pytest.fixture(scope="module")
def inventory() -> list[dict[str, Any]]:
    found = telemetry.gpu_inventory()
    assert found, "make check-gpu is for a machine with an NVIDIA GPU"
    return found


@pytest.fixture(scope="module")
def observed(inventory: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("the load needs PyTorch with CUDA in this Python")
    raw = tmp_path_factory.mktemp("gpu") / "telemetry.csv"
    start_ns = time.monotonic_ns()
    with telemetry.start(raw, url="http://127.0.0.1:9", server_pid=None, metrics_url=None, gauges={}) as sampler:
        assert sampler.notes == []
        time.sleep(IDLE_S)
        idle_end_ns = time.monotonic_ns()
        with subprocess.Popen([sys.executable, "-c", LOAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
            assert load.stdin is not None and load.stdout is not None
            assert load.stdout.readline() == b"begun\n"
            # What NVML calls utilization is that of the last sixth of a second to a second.
            time.sleep(2)
            busy_start_ns = time.monotonic_ns()
            time.sleep(LOAD_S / 2)
            beside = nvidia_smi("power.draw.instant", "clocks.sm", "clocks.mem", "temperature.gpu", "memory.used")
            time.sleep(LOAD_S / 2)
            busy_end_ns = time.monotonic_ns()
            load.stdin.close()
            assert load.wait(30) == 0
    idle = Window(SECOND // 2, idle_end_ns - start_ns)
    busy = Window(busy_start_ns - start_ns, busy_end_ns - start_ns)
    yield Observed(telemetry.to_table(raw, start_ns), idle, busy, beside)


def inside(observed: Observed, name: str, span: Window) -> Any:
    t_ns, values = series(observed.table, "gpu0", name)
    return values[span.holds(t_ns)]


def test_the_card_is_the_one_that_the_drivers_tool_names(inventory: list[dict[str, Any]]) -> None:
    said = nvidia_smi("name", "driver_version", "memory.total")
    card = inventory[0]
    assert (card["name"], card["driver"]) == (said["name"], said["driver_version"])
    assert card["memory_bytes"] == pytest.approx(int(said["memory.total"]) * 2**20, rel=0.02)


def test_ten_samples_a_second_of_every_quantity(observed: Observed) -> None:
    for name in ("util_pct", "memory_used_bytes", "power_w", "sm_clock_mhz", "mem_clock_mhz", "temperature_c"):
        assert len(inside(observed, name, observed.busy)) == pytest.approx(10 * observed.busy.seconds, rel=0.1), name


def test_a_busy_card_is_seen_busy_and_an_idle_one_idle(observed: Observed) -> None:
    assert inside(observed, "util_pct", observed.busy).mean() > 90
    assert inside(observed, "util_pct", observed.idle).mean() < 20
    assert inside(observed, "power_w", observed.busy).mean() > 2 * inside(observed, "power_w", observed.idle).mean()
    grown = inside(observed, "memory_used_bytes", observed.busy).min()
    assert grown - inside(observed, "memory_used_bytes", observed.idle).max() > ALLOCATED_BYTES


def test_what_we_read_is_what_the_drivers_tool_reads(observed: Observed) -> None:
    for name, field, scale, rel in (
        ("power_w", "power.draw.instant", 1, 0.15),
        ("sm_clock_mhz", "clocks.sm", 1, 0.15),
        ("mem_clock_mhz", "clocks.mem", 1, 0.02),
        ("temperature_c", "temperature.gpu", 1, 0.15),
        ("memory_used_bytes", "memory.used", 2**20, 0.02),
    ):
        middle = np.median(inside(observed, name, observed.busy))
        assert float(observed.beside[field]) * scale == pytest.approx(middle, rel=rel), name


def test_the_energy_counter_is_the_integral_of_the_power(observed: Observed) -> None:
    run: dict[str, Any] = {"hardware": {"gpus": [{"name": "card"}]}}
    counted = gpus(run, observed.table, observed.busy)[0]
    integrated_j = counted["power_w_mean"] * observed.busy.seconds
    assert counted["energy_source"] == "counter"
    assert counted["energy_j"] == pytest.approx(integrated_j, rel=0.1)


def test_what_holds_the_clocks_back_has_a_name(observed: Observed) -> None:
    masks = {int(mask) for mask in inside(observed, "throttle_reasons", observed.busy)}
    named = {name for mask in masks for name in telemetry.throttle_names(mask)}
    assert not [name for name in named if name.startswith("unknown")]
    found = throttling([0], observed.table, observed.busy)[0]
    assert 0 <= found["slowed_share"] <= 1 and 0 <= found["power_capped_share"] <= 1
    # Idle is not a reason that a busy card gives.
    assert "idle" not in named


def test_figures_for_the_record(observed: Observed, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what was measured, for docs/telemetry.md."""
    run: dict[str, Any] = {"hardware": {"gpus": [{"name": nvidia_smi("name")["name"]}]}}
    with capsys.disabled():
        for label, span in (("idle", observed.idle), ("busy", observed.busy)):
            card = gpus(run, observed.table, span)[0]
            integrated_j = card["power_w_mean"] * span.seconds
            print(
                f"\n{label}: {card['name']}, {span.seconds:.1f} s, util {card['util_pct_mean']:.0f}%, "
                f"{card['power_w_mean']:.1f} W, energy by the counter {card['energy_j']:.0f} J, by the power "
                f"{integrated_j:.0f} J, memory {card['memory_used_bytes_max'] / 2**30:.2f} GiB, "
                f"{throttling([0], observed.table, span)[0]}"
            )
    assert observed.beside
