"""What held the clocks of GPUs back during the window."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from analysis.run.gpu import series
from analysis.run.sections import GpuThrottling
from analysis.run.window import Window

# Bits of NVML's nvmlClocksEventReasons: slowdown of the hardware, heat (software, hardware), the power brake.
SLOWED = 0x08 | 0x20 | 0x40 | 0x80
POWER_CAPPED = 0x04


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
