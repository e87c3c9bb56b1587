"""The NVIDIA GPUs of this machine, through NVML and by its index: all cards, whatever CUDA_VISIBLE_DEVICES says."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import pynvml as nvml

from bench.telemetry.cards import LocalGpu
from bench.telemetry.host import Reading

THROTTLE_REASONS = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "hardware power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}


def throttle_names(mask: int) -> list[str]:
    """Why clocks are throttled, lowest bit first. Source: NVML, nvmlClocksEventReasons."""
    bits = (1 << i for i in range(mask.bit_length()))
    return [THROTTLE_REASONS.get(bit, f"unknown ({bit:#x})") for bit in bits if mask & bit]


# For each quantity the calls to try, newest first: drivers before R535 and R570 lack some of them.
_QUANTITIES: dict[str, tuple[Callable[[Any], float], ...]] = {
    "util_pct": (lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,),
    "memory_used_bytes": (
        lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2).used,  # excludes the driver's reserve
        lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    ),
    "power_w": (lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,),
    # The card's own counter, from Volta on; for older cards energy is integrated from power (`analysis/run/energy.py`).
    "energy_j": (lambda gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000,),
    "sm_clock_mhz": (lambda gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),),
    "mem_clock_mhz": (lambda gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),),
    "temperature_c": (
        lambda gpu: nvml.nvmlDeviceGetTemperatureV(gpu, nvml.NVML_TEMPERATURE_GPU),
        lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
    "throttle_reasons": (
        lambda gpu: nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
        lambda gpu: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu),
    ),
}


def open_gpus() -> tuple[list[LocalGpu], list[str]]:
    """All GPUs, and a note if there are none."""
    try:
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        return [], [f"no GPU metrics: {error}"]
    return [_gpu(each) for each in handles], [] if handles else ["no GPU metrics: the driver sees no GPU"]


def close() -> None:
    """Release the library, even if it was never opened."""
    with suppress(nvml.NVMLError):
        nvml.nvmlShutdown()


def _gpu(handle: Any) -> LocalGpu:
    """A card; its memory is None if the driver does not report it.

    With MIG, it is reported only to administrators; a card that shares the host's memory has none.
    """
    name, driver = nvml.nvmlDeviceGetName(handle), nvml.nvmlSystemGetDriverVersion()
    memory_bytes = None
    with suppress(nvml.NVMLError):
        memory_bytes = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    return LocalGpu(name, driver, memory_bytes, partial(_read, handle, _supported(handle)))


def _supported(gpu: Any) -> dict[str, Callable[[Any], float]]:
    """The working call for each quantity that this card and driver report."""
    chosen = {}
    for name, calls in _QUANTITIES.items():
        for call in calls:
            # Only a call shows whether a card supports a quantity: that depends on model, driver and virtualisation.
            with suppress(nvml.NVMLError):
                call(gpu)
                chosen[name] = call
                break
    return chosen


def _read(gpu: Any, quantities: Mapping[str, Callable[[Any], float]]) -> Reading:
    reading = {}
    for name, call in quantities.items():
        with suppress(nvml.NVMLError):  # a single failed read is a gap, not the end of the series
            reading[name] = call(gpu)
    return reading
