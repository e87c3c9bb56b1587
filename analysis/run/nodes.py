"""What the machines of a server elsewhere did in the measured window, as their node_exporter tells it."""

from dataclasses import dataclass

import pyarrow as pa

from analysis.run import energy
from analysis.run.gpu import inside, mean, sampled, series, whole_peak
from analysis.run.window import Window
from bench.runs.manifest import RunManifest
from bench.runs.sections import JsonSection


@dataclass(frozen=True, slots=True)
class NodeUse(JsonSection):
    """One machine in the window; its energy is that of its processors' packages, with `energy_coverage` as of a GPU."""

    index: int
    url: str | None = None
    busy_cores_mean: float | None = None
    stolen_cores_mean: float | None = None
    memory_used_bytes_max: int | None = None
    energy_j: float | None = None
    energy_coverage: float | None = None


def nodes(run: RunManifest, telemetry: pa.Table | None, span: Window) -> tuple[NodeUse, ...]:
    """Each machine of which an exporter told."""
    told = run.telemetry.sources if run.telemetry else ()
    urls = dict(enumerate(source.url for source in told if "node" in source.tells))
    return tuple(_node(telemetry, span, index, urls.get(index)) for index in sampled(telemetry, "node"))


def _node(telemetry: pa.Table | None, span: Window, index: int, url: str | None) -> NodeUse:
    source = f"node{index}"
    counter = series(telemetry, source, "energy_j")
    took = energy.of_counter(counter, span) if len(counter[0]) else None
    return NodeUse(
        index=index,
        url=url,
        busy_cores_mean=mean(inside(telemetry, source, "busy_cores", span)),
        stolen_cores_mean=mean(inside(telemetry, source, "stolen_cores", span)),
        memory_used_bytes_max=whole_peak(inside(telemetry, source, "memory_used_bytes", span)),
        energy_j=took.joules if took else None,
        energy_coverage=took.coverage if took else None,
    )
