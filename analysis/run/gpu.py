"""Series out of a run's telemetry, and what its GPUs did in the measured window."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import NS_PER_S, is_text
from analysis.run.sections import GpuUse
from analysis.run.window import Window
from analysis.stats.distributions import Floats
from bench.runs.manifest import RunManifest

Series = tuple[Floats, Floats]


def series(telemetry: pa.Table | None, source: str, name: str) -> Series:
    """(t_ns, values) of one series by time; both empty when it was not sampled."""
    if telemetry is None:
        return np.empty(0), np.empty(0)
    of_source, of_name = (is_text(telemetry[key], value) for key, value in (("source", source), ("name", name)))
    rows = telemetry.filter(pc.and_(of_source, of_name)).sort_by("t_ns")
    return rows["t_ns"].to_numpy().astype(np.float64), rows["value"].to_numpy()


def gpus(run: RunManifest, telemetry: pa.Table | None, span: Window) -> tuple[GpuUse, ...]:
    """What each GPU that was sampled did in the window."""
    if telemetry is None:
        return ()
    sources = [source for source in pc.unique(telemetry["source"]).to_pylist() if source.startswith("gpu")]
    return tuple(_gpu(run, telemetry, span, index) for index in sorted(int(source[3:]) for source in sources))


def _gpu(run: RunManifest, telemetry: pa.Table, span: Window, index: int) -> GpuUse:
    names = [gpu.name for gpu in run.hardware.gpus]
    quantities = ("util_pct", "memory_used_bytes", "power_w", "energy_j")
    util, memory, power, energy = (series(telemetry, f"gpu{index}", name) for name in quantities)
    counted_j, integrated_j = _increase(energy, span), _integral(power, span)
    util_in, memory_in, power_in = (_inside(each, span) for each in (util, memory, power))
    return GpuUse(
        index=index,
        name=names[index] if index < len(names) else None,
        util_pct_mean=float(util_in.mean()) if len(util_in) else None,
        memory_used_bytes_max=int(memory_in.max()) if len(memory_in) else None,
        power_w_mean=float(power_in.mean()) if len(power_in) else None,
        energy_j=integrated_j if counted_j is None else counted_j,
        energy_source="counter" if counted_j is not None else "power" if integrated_j is not None else None,
    )


def _inside(sampled: Series, span: Window) -> Floats:
    t_ns, values = sampled
    return values[span.holds(t_ns)]


def _covers(sampled: Series, span: Window) -> bool:
    """Whether the samples reach over the window, give or take one sampling interval at either end."""
    t_ns, _ = sampled
    if len(t_ns) < 2 or span.end_ns <= span.start_ns:
        return False
    interval_ns = float(np.median(np.diff(t_ns)))
    return bool(t_ns[0] - interval_ns <= span.start_ns and span.end_ns <= t_ns[-1] + interval_ns)


def _reaching_over(t_ns: Floats, span: Window) -> slice:
    """The samples in the window and the nearest outside either end: those that interpolation at its ends looks at."""
    first, last = np.searchsorted(t_ns, span.start_ns, "right") - 1, np.searchsorted(t_ns, span.end_ns)
    return slice(max(int(first), 0), int(last) + 1)


def _increase(sampled: Series, span: Window) -> float | None:
    """How much a counter rose over the window; None when it does not cover it, or began anew in it."""
    t_ns, values = sampled
    if not _covers(sampled, span) or (np.diff(values[_reaching_over(t_ns, span)]) < 0).any():
        return None
    at_start, at_end = np.interp([span.start_ns, span.end_ns], *sampled)
    return float(at_end - at_start)


def _integral(sampled: Series, span: Window) -> float | None:
    """The integral over the window in value-seconds, by trapezoids; None when the samples do not cover it."""
    if not _covers(sampled, span):
        return None
    t_ns, _ = sampled
    inner = t_ns[(t_ns > span.start_ns) & (t_ns < span.end_ns)]
    at_ns = np.concatenate([[span.start_ns], inner, [span.end_ns]])
    return float(np.trapezoid(np.interp(at_ns, *sampled), at_ns / NS_PER_S))
