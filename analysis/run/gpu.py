"""Series out of a run's telemetry, and what its GPUs did in the measured window."""

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run import energy
from analysis.run.energy import Series
from analysis.run.metrics import is_text
from analysis.run.sections import GpuThrottling, GpuUse
from analysis.run.window import Window
from analysis.stats.distributions import Floats

# Bits of NVML's nvmlClocksEventReasons: slowdown of the hardware, heat (software, hardware), the power brake.
SLOWED = 0x08 | 0x20 | 0x40 | 0x80
POWER_CAPPED = 0x04


def series(telemetry: pa.Table | None, source: str, name: str) -> Series:
    """(t_ns, values) of one series by time; both empty when it was not sampled."""
    if telemetry is None:
        return np.empty(0), np.empty(0)
    of_source, of_name = (is_text(telemetry[key], value) for key, value in (("source", source), ("name", name)))
    rows = telemetry.filter(pc.and_(of_source, of_name)).sort_by("t_ns")
    return rows["t_ns"].to_numpy().astype(np.float64), rows["value"].to_numpy()


def gpus(names: Mapping[int, str | None], telemetry: pa.Table | None, span: Window) -> tuple[GpuUse, ...]:
    """What each GPU that was sampled did in the window; `names` are those of the cards by their index."""
    if telemetry is None:
        return ()
    sources = [source for source in pc.unique(telemetry["source"]).to_pylist() if source.startswith("gpu")]
    return tuple(_gpu(names, telemetry, span, index) for index in sorted(int(source[3:]) for source in sources))


def _gpu(names: Mapping[int, str | None], telemetry: pa.Table, span: Window, index: int) -> GpuUse:
    quantities = ("util_pct", "memory_used_bytes", "power_w", "energy_j")
    util, memory, power, counter = (series(telemetry, f"gpu{index}", name) for name in quantities)
    took = energy.of_card(power, counter, span)
    util_in, memory_in, power_in = (_inside(each, span) for each in (util, memory, power))
    return GpuUse(
        index=index,
        name=names.get(index),
        util_pct_mean=float(util_in.mean()) if len(util_in) else None,
        memory_used_bytes_max=int(memory_in.max()) if len(memory_in) else None,
        power_w_mean=float(power_in.mean()) if len(power_in) else None,
        energy_j=took.joules,
        energy_source=took.source,
        energy_coverage=took.coverage,
    )


def _inside(sampled: Series, span: Window) -> Floats:
    t_ns, values = sampled
    return values[span.holds(t_ns)]


def throttling(indices: Iterable[int], telemetry: pa.Table | None, span: Window) -> tuple[GpuThrottling, ...]:
    """For each GPU that tells, the shares of samples in the window that name a reason of each kind."""
    found = []
    for index in indices:
        t_ns, values = series(telemetry, f"gpu{index}", "throttle_reasons")
        masks = values[span.holds(t_ns)].astype(np.int64)
        if len(masks):
            slowed, capped = (float(((masks & bits) != 0).mean()) for bits in (SLOWED, POWER_CAPPED))
            found.append(GpuThrottling(index, slowed, capped))
    return tuple(found)
