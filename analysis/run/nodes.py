"""What the machines of a server elsewhere did in the measured window, as their node_exporter tells it."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from analysis.run import energy
from analysis.run.gpu import series
from analysis.run.window import Window
from analysis.stats.distributions import Floats
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
    if telemetry is None:
        return ()
    sources = [source for source in pc.unique(telemetry["source"]).to_pylist() if source.startswith("node")]
    told = run.telemetry.sources if run.telemetry else ()
    urls = dict(enumerate(source.url for source in told if "node" in source.tells))
    return tuple(_node(telemetry, span, index, urls.get(index)) for index in sorted(int(each[4:]) for each in sources))


def _node(telemetry: pa.Table, span: Window, index: int, url: str | None) -> NodeUse:
    def inside(name: str) -> Floats:
        t_ns, values = series(telemetry, f"node{index}", name)
        return values[span.holds(t_ns)]

    busy, stolen, memory = (inside(name) for name in ("busy_cores", "stolen_cores", "memory_used_bytes"))
    counter = series(telemetry, f"node{index}", "energy_j")
    took = energy.of_counter(counter, span) if len(counter[0]) else None
    return NodeUse(
        index=index,
        url=url,
        busy_cores_mean=float(busy.mean()) if len(busy) else None,
        stolen_cores_mean=float(stolen.mean()) if len(stolen) else None,
        memory_used_bytes_max=int(memory.max()) if len(memory) else None,
        energy_j=took.joules if took else None,
        energy_coverage=took.coverage if took else None,
    )
