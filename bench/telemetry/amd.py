"""The AMD GPUs of this machine, through the package `amdsmi` that comes with ROCm, if installed.

Its answers are dicts whose keys changed between releases, with "N/A" for what a card does not report. Source:
https://rocm.docs.amd.com/projects/amdsmi/en/latest/reference/amdsmi-py-api.html.
"""

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bench.telemetry.cards import LocalGpu
from bench.telemetry.host import Reading

MIB = 2**20
UJ_PER_J = 1e6


def open_gpus() -> list[LocalGpu]:
    """All GPUs that amdsmi sees; none without it, or without a driver."""
    if importlib.util.find_spec("amdsmi") is None:
        return []
    # Without a library or driver it raises errors of many kinds, and prints; standard output is reserved for our lines.
    with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
        smi = importlib.import_module("amdsmi")
        smi.amdsmi_init()
        return [_gpu(smi, handle) for handle in smi.amdsmi_get_processor_handles()]
    return []


def _gpu(smi: Any, handle: Any) -> LocalGpu:
    name = _first(smi.amdsmi_get_gpu_asic_info, handle, "market_name")
    driver = _first(smi.amdsmi_get_gpu_driver_info, handle, "driver_version")
    total = _number(_first(smi.amdsmi_get_gpu_vram_usage, handle, "vram_total"))
    supported = {quantity: read for quantity, read in _quantities(smi).items() if read(handle) is not None}
    return LocalGpu(
        str(name or "AMD GPU"),
        None if driver is None else str(driver),
        None if total is None else int(total * MIB),
        partial(_read, handle, supported),
    )


def _read(handle: Any, quantities: Mapping[str, Callable[[Any], float | None]]) -> Reading:
    return {name: value for name, read in quantities.items() if (value := read(handle)) is not None}


def _quantities(smi: Any) -> dict[str, Callable[[Any], float | None]]:
    """How each of our quantities is read from a card; None if it does not report it."""

    def of(call: Callable[..., Any], *keys: str, factor: float = 1.0) -> Callable[[Any], float | None]:
        def read(handle: Any) -> float | None:
            value = _number(_first(call, handle, *keys))
            return None if value is None else value * factor

        return read

    def clock(kind: str) -> Callable[[Any], float | None]:
        return of(lambda handle: smi.amdsmi_get_clock_info(handle, getattr(smi.AmdSmiClkType, kind)), "clk", "cur_clk")

    def energy(handle: Any) -> float | None:
        # The counter counts in units of its resolution, which is in uJ.
        steps = _number(_first(smi.amdsmi_get_energy_count, handle, "energy_accumulator", "power"))
        step_uj = _number(_first(smi.amdsmi_get_energy_count, handle, "counter_resolution"))
        return None if steps is None or step_uj is None else steps * step_uj / UJ_PER_J

    def temperature(handle: Any) -> float | None:
        def hotspot(handle: Any) -> Any:
            now = smi.AmdSmiTemperatureMetric.CURRENT
            return {"": smi.amdsmi_get_temp_metric(handle, smi.AmdSmiTemperatureType.HOTSPOT, now)}

        return _number(_first(hotspot, handle, ""))

    watts = ("current_socket_power", "socket_power", "average_socket_power")
    return {
        "util_pct": of(smi.amdsmi_get_gpu_activity, "gfx_activity"),
        "memory_used_bytes": of(smi.amdsmi_get_gpu_vram_usage, "vram_used", factor=MIB),
        "power_w": of(smi.amdsmi_get_power_info, *watts),
        "energy_j": energy,
        "sm_clock_mhz": clock("GFX"),
        "mem_clock_mhz": clock("MEM"),
        "temperature_c": temperature,
    }


def _first(call: Callable[..., Any], handle: Any, *keys: str) -> Any:
    """The value of the first of these keys that is filled; None if there is none, or no answer."""
    with contextlib.suppress(Exception):  # a single failed read is a gap, not the end of the series
        answer = call(handle)
        return next((answer[key] for key in keys if answer.get(key) not in (None, "N/A", "")), None)
    return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
