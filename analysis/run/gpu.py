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
    rows = telemetry.select(["t_ns", "value"]).filter(pc.and_(of_source, of_name))
    t_ns = rows["t_ns"].to_numpy()
    # For the few samples of a series pyarrow's own sorting takes longer than all the rest.
    order = np.argsort(t_ns, kind="stable")
    return t_ns[order].astype(np.float64), rows["value"].to_numpy()[order]


def sampled(telemetry: pa.Table | None, kind: str) -> list[int]:
    """The numbers of what was sampled of a kind, such as `gpu` or `node`, ascending."""
    sources = [] if telemetry is None else pc.unique(telemetry["source"]).to_pylist()
    return sorted(int(source.removeprefix(kind)) for source in sources if source.startswith(kind))


def inside(telemetry: pa.Table | None, source: str, name: str, span: Window) -> Floats:
    """The values of a series in the window."""
    t_ns, values = series(telemetry, source, name)
    return values[span.holds(t_ns)]


def mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def whole_peak(values: Floats) -> int | None:
    return int(values.max()) if len(values) else None


def gpus(names: Mapping[int, str | None], telemetry: pa.Table | None, span: Window) -> tuple[GpuUse, ...]:
    """What each GPU that was sampled did in the window; `names` are those of the cards by their index."""
    return tuple(_gpu(names.get(index), telemetry, span, index) for index in sampled(telemetry, "gpu"))


def _gpu(name: str | None, telemetry: pa.Table | None, span: Window, index: int) -> GpuUse:
    source = f"gpu{index}"
    took = energy.of_card(series(telemetry, source, "power_w"), series(telemetry, source, "energy_j"), span)
    return GpuUse(
        index=index,
        name=name,
        util_pct_mean=mean(inside(telemetry, source, "util_pct", span)),
        memory_used_bytes_max=whole_peak(inside(telemetry, source, "memory_used_bytes", span)),
        power_w_mean=mean(inside(telemetry, source, "power_w", span)),
        energy_j=took.joules,
        energy_source=took.source,
        energy_coverage=took.coverage,
    )


def throttling(indices: Iterable[int], telemetry: pa.Table | None, span: Window) -> tuple[GpuThrottling, ...]:
    """For each GPU that tells, the shares of samples in the window that name a reason of each kind."""
    found = []
    for index in indices:
        masks = inside(telemetry, f"gpu{index}", "throttle_reasons", span).astype(np.int64)
        if len(masks):
            slowed, capped = (float(((masks & bits) != 0).mean()) for bits in (SLOWED, POWER_CAPPED))
            found.append(GpuThrottling(index, slowed, capped))
    return tuple(found)
