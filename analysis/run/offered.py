"""The load an open loop offered, beside the load it planned."""

import numpy as np
import pyarrow as pa

from analysis.run.metrics import NS_PER_S, column, measured
from analysis.run.sections import OfferedLoad
from analysis.stats.distributions import Floats, index_of_dispersion
from bench.runs.manifest import RunManifest


def offered(run: RunManifest, requests: pa.Table) -> OfferedLoad:
    """Rates and burstiness of the measured calls as wanted, planned and achieved; all None for a closed loop.

    A rate is taken from the first to the last call: of the plan by what was due, of the load by what was sent, over
    the plan's time too where that was longer. The index of dispersion is 0 for constant arrivals, 1 for Poisson.
    """
    wanted_rps = run.load.rate_per_s
    calls = measured(requests.select(["phase", "due_ns", "sent_ns"]))
    due_ns, sent_ns = (_known(column(calls, name)) for name in ("due_ns", "sent_ns"))
    if wanted_rps is None:
        due_ns, sent_ns = np.empty(0), np.empty(0)
    due_s = _spans_s(due_ns)
    return OfferedLoad(
        wanted_rps=wanted_rps,
        planned_rps=_rate_per_s(due_ns, due_s),
        achieved_rps=_rate_per_s(sent_ns, max(due_s, _spans_s(sent_ns))),
        planned_index_of_dispersion=index_of_dispersion(due_ns),
        index_of_dispersion=index_of_dispersion(sent_ns),
    )


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _spans_s(t_ns: Floats) -> float:
    return float(np.ptp(t_ns) / NS_PER_S) if len(t_ns) else 0.0


def _rate_per_s(t_ns: Floats, seconds: float) -> float | None:
    # The first call begins the time that the others fill.
    return max(len(t_ns) - 1, 0) / seconds if seconds else None
