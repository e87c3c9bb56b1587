"""What exporters report about a server's machine, by the names of our own telemetry: pure, from text to readings.

GPUs are those of NVIDIA's dcgm-exporter and of AMD's device-metrics-exporter, the machine is that of node_exporter.
Sources: https://docs.nvidia.com/datacenter/cloud-native/gpu-telemetry/latest/dcgm-exporter.html,
https://github.com/ROCm/device-metrics-exporter/blob/main/docs/configuration/metricslist.md,
https://github.com/prometheus/node_exporter.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from bench.telemetry.prometheus import MetricSample, samples

MIB = 2**20

# (quantity, factor to our unit), for each metric; if several metrics have one quantity, the first present counts.
_DCGM: Mapping[str, tuple[str, float]] = {
    "DCGM_FI_DEV_GPU_UTIL": ("util_pct", 1),
    "DCGM_FI_DEV_FB_USED": ("memory_used_bytes", MIB),
    "DCGM_FI_DEV_POWER_USAGE": ("power_w", 1),
    "DCGM_FI_DEV_POWER_USAGE_INSTANT": ("power_w", 1),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("energy_j", 1e-3),
    "DCGM_FI_DEV_SM_CLOCK": ("sm_clock_mhz", 1),
    "DCGM_FI_DEV_MEM_CLOCK": ("mem_clock_mhz", 1),
    "DCGM_FI_DEV_GPU_TEMP": ("temperature_c", 1),
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": ("throttle_reasons", 1),
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": ("throttle_reasons", 1),
}
_AMD: Mapping[str, tuple[str, float]] = {
    "gpu_gfx_activity": ("util_pct", 1),
    "gpu_used_vram": ("memory_used_bytes", MIB),
    "gpu_package_power": ("power_w", 1),
    "gpu_average_package_power": ("power_w", 1),
    "gpu_power_usage": ("power_w", 1),
    "gpu_energy_consumed": ("energy_j", 1e-6),
    "gpu_clock system": ("sm_clock_mhz", 1),
    "gpu_clock memory": ("mem_clock_mhz", 1),
    "gpu_junction_temperature": ("temperature_c", 1),
    "gpu_edge_temperature": ("temperature_c", 1),
}
_AMD_PREFIX = "amd_"
_GPU_PREFIXES = ("DCGM_FI_DEV_", "gpu_", f"{_AMD_PREFIX}gpu_")
_RANK = {metric: rank for rank, metric in enumerate((*_DCGM, *_AMD))}
# No card reaches these; DCGM and amdsmi report larger values for "not available".
_MOST = {"util_pct": 100, "power_w": 1e5, "temperature_c": 1e3, "sm_clock_mhz": 1e5, "mem_clock_mhz": 1e5,
         "memory_used_bytes": 2**50, "energy_j": 1e12, "throttle_reasons": 2**31 - 17}  # fmt: skip
# Reported once per card, or identically for each of its parts; quantities of the parts themselves add up.
_OF_PARTS: Mapping[str, Callable[[Iterable[float]], float]] = {"memory_used_bytes": sum, "util_pct": fmean}


# Only the first of AMD's partitions has the sensors: the others report nothing, or zero.
_SENSED = frozenset({"power_w", "energy_j", "temperature_c"})


class ExportedGpu(NamedTuple):
    """A card: its key, its labels, its MIG instances or partitions, and its readings.

    `timestamp_ms` is when the exporter read it, None if it does not say.
    """

    key: str
    labels: tuple[Mapping[str, str], ...]
    parts: tuple[str, ...]
    reading: Mapping[str, float]
    timestamp_ms: int | None

    def label(self, *names: str) -> str | None:
        """The first of these labels that has a value."""
        return next((value for name in names if (value := self.labels[0].get(name))), None)


class _CardSample(NamedTuple):
    """One sample of a card: of which part, and whether that part stands for the whole card."""

    key: str
    labels: Mapping[str, str]
    part: str
    is_whole: bool
    quantity: str
    rank: float
    value: float
    timestamp_ms: int | None


def gpus(text: str) -> dict[str, ExportedGpu]:
    """The GPUs in an exposition, by key, in order.

    A card that is partitioned, or shared by several pods, appears once for each of them: its power and energy are the
    whole card's each time and count once. Memory of MIG instances adds up.
    """
    by_card: defaultdict[str, list[_CardSample]] = defaultdict(list)
    for sample in samples(text, _GPU_PREFIXES):
        found = _nvidia(sample) if sample.metric.startswith("DCGM") else _amd(sample)
        if found is not None and 0 <= found.value <= _MOST[found.quantity]:
            by_card[found.key].append(found)
    return {key: _card(key, each) for key, each in by_card.items()}


def _nvidia(sample: MetricSample) -> _CardSample | None:
    labels, known = sample.labels, _DCGM.get(sample.metric)
    key = labels.get("UUID") or _on_host(labels.get("Hostname"), labels.get("gpu"))
    if known is None or key is None:
        return None
    quantity, factor = known
    part = labels.get("GPU_I_ID", "")
    rank, value = _RANK[sample.metric], sample.value * factor
    return _CardSample(key, labels, part, part == "", quantity, rank, value, sample.timestamp_ms)


def _amd(sample: MetricSample) -> _CardSample | None:
    labels, metric = sample.labels, sample.metric.removeprefix(_AMD_PREFIX)
    if metric == "gpu_clock":
        metric = f"{metric} {labels.get('clock_type', '').removeprefix('GPU_CLOCK_TYPE_').lower()}"
    known = _AMD.get(metric)
    key = (
        labels.get("serial_number") or labels.get("gpu_uuid") or _on_host(labels.get("hostname"), labels.get("gpu_id"))
    )
    part = labels.get("gpu_partition_id") or labels.get("partition_id") or "0"
    if known is None or key is None or "gpu_id" not in labels or (part != "0" and known[0] in _SENSED):
        return None
    quantity, factor = known
    # A list of clocks: the first of each kind is the first engine's.
    rank = _RANK[metric] + (int(index) / 1000 if (index := labels.get("clock_index", "0")).isdecimal() else 0.5)
    return _CardSample(key, labels, part, part == "0", quantity, rank, sample.value * factor, sample.timestamp_ms)


def _on_host(host: str | None, number: str | None) -> str | None:
    return None if not number else f"{host} {number}" if host else number


def _card(key: str, samples: Sequence[_CardSample]) -> ExportedGpu:
    by_quantity: defaultdict[str, list[_CardSample]] = defaultdict(list)
    for each in samples:
        by_quantity[each.quantity].append(each)
    labels = tuple({tuple(each.labels.items()): each.labels for each in samples}.values())
    parts = tuple(dict.fromkeys(each.part for each in samples if each.part))
    stamps = [each.timestamp_ms for each in samples if each.timestamp_ms is not None]
    return ExportedGpu(
        key,
        labels,
        parts if any(not each.is_whole for each in samples) else (),
        {quantity: _value(quantity, each) for quantity, each in by_quantity.items()},
        max(stamps, default=None),
    )


def _value(quantity: str, samples: Sequence[_CardSample]) -> float:
    """One number for a card, from all samples of its best metric."""
    best = min(each.rank for each in samples)
    samples = [each for each in samples if each.rank == best]
    whole = [each for each in samples if each.is_whole]
    if not whole and quantity in _OF_PARTS:
        return _OF_PARTS[quantity]({each.part: each.value for each in samples}.values())
    return max(each.value for each in whole or samples)


def matches(card: ExportedGpu, selectors: Iterable[str]) -> bool:
    """Whether one of the selectors (a number, a UUID or LABEL=VALUE) matches a card."""
    for selector in selectors:
        name, equals, value = selector.partition("=")
        names = (name,) if equals else ("gpu", "gpu_id", "UUID", "gpu_uuid", "serial_number")
        if any(labels.get(each) == (value if equals else selector) for labels in card.labels for each in names):
            return True
    return False


# --- the machine ---------------------------------------------------------------------------------------------------

_NODE = ("node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes", "node_load1",
         "node_rapl_package_joules_total")  # fmt: skip


class NodeSeconds(NamedTuple):
    """CPU time of a machine up to a point in time, in s: busy, and stolen by other guests."""

    t_ns: int
    busy: float
    stolen: float | None


class NodeReading(NamedTuple):
    """What node_exporter reports about its machine."""

    reading: dict[str, float]
    cpu: tuple[float, float | None] | None
    timestamp_ms: int | None


def node(text: str) -> NodeReading:
    """memory_used_bytes, load_1m, energy_j (of the CPU packages, a counter), and CPU time so far."""
    values: defaultdict[str, dict[str, float]] = defaultdict(dict)
    stamps = []
    for sample in samples(text, _NODE):
        labels = sample.labels
        if sample.timestamp_ms is not None:
            stamps.append(sample.timestamp_ms)
        if sample.metric == "node_cpu_seconds_total":
            values[labels.get("mode", "")][labels.get("cpu", "")] = sample.value
        elif "mmio" not in labels.get("path", ""):  # this counts the package again
            values[sample.metric][labels.get("path") or labels.get("index", "")] = sample.value
    total, free, load, joules = (sum(values[name].values()) for name in _NODE[1:])
    reading = {
        **({"memory_used_bytes": total - free} if values[_NODE[1]] and values[_NODE[2]] else {}),
        **({"load_1m": load} if values[_NODE[3]] else {}),
        **({"energy_j": joules} if values[_NODE[4]] else {}),
    }
    modes = {mode: sum(by_core.values()) for mode, by_core in values.items() if mode not in _NODE}
    busy = sum(seconds for mode, seconds in modes.items() if mode not in ("idle", "iowait"))
    return NodeReading(reading, (busy, modes.get("steal")) if modes else None, max(stamps, default=None))


def cores(before: NodeSeconds | None, now: NodeSeconds) -> dict[str, float]:
    """busy_cores and stolen_cores between two readings; none without the first, or if the counters were reset."""
    if before is None or now.t_ns <= before.t_ns or now.busy < before.busy:
        return {}
    took_s = (now.t_ns - before.t_ns) / 1e9
    found = {"busy_cores": (now.busy - before.busy) / took_s}
    if now.stolen is not None and before.stolen is not None and now.stolen >= before.stolen:
        found["stolen_cores"] = (now.stolen - before.stolen) / took_s
    return found
