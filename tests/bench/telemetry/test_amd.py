"""AMD's GPUs of this machine, through a stand-in for the package that reads them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.telemetry import amd

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "tests" / "fixtures" / "amdsmi_package"
MIB = 2**20
CODE = (
    "import json; from bench.telemetry import amd\n"
    "print(json.dumps([[*gpu[:3], gpu.read(), gpu.read()] for gpu in amd.open_gpus()]))"
)


def read(**env: str) -> Any:
    """What a process of its own reads; all that is on its standard output is ours."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE), **env}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_card_tells_what_it_can_under_the_keys_of_any_release() -> None:
    (name, driver, memory_bytes, first, then), older = read()
    assert (name, driver, memory_bytes) == ("AMD Instinct MI300X", "6.12.12", 196592 * MIB)
    joules = first.pop("energy_j")
    assert first == {
        "util_pct": 97, "memory_used_bytes": 1000 * MIB, "power_w": 500, "sm_clock_mhz": 1900, "mem_clock_mhz": 1300,
        "temperature_c": 70,
    }  # fmt: skip
    assert 1e6 <= joules <= then["energy_j"]
    assert older[0] == "AMD GPU"
    assert older[3] == {
        "memory_used_bytes": 1000 * MIB, "power_w": 300, "sm_clock_mhz": 1900, "mem_clock_mhz": 1300,
        "temperature_c": 71,
    }  # fmt: skip


def test_without_a_driver_there_is_none() -> None:
    assert read(NO_AMD_DRIVER="1") == []


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert amd.open_gpus() == []
