"""Who had the cores of the client's machine during the window, and how full its wire was, from its telemetry."""

from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from analysis.run.gpu import series
from analysis.run.sections import HostUse
from analysis.run.window import Window
from analysis.stats.distributions import Floats
from bench.runs.manifest import RunManifest

FULL, OTHERS = 0.9, 0.1
# A sample is of the time since the one before: those count whose time lies in the window, and it has to be so
# much: half of the window, or two seconds of a long one.
LEAST_S, LEAST_PART, ENOUGH_S = 0.2, 0.5, 2.0
NS_PER_S = 1e9
HERE = {"localhost", "127.0.0.1", "::1"}


class WeightedSamples(NamedTuple):
    """The samples of a window: when each was taken, and for how much of the window it stands (s)."""

    t_ns: Floats
    inside_s: Floats
    is_enough: bool

    def mean(self, values: Floats | None) -> float | None:
        """The mean over the window, None where too little of it is known."""
        return float(np.average(values, weights=self.inside_s)) if values is not None and self.is_enough else None


def host(run: RunManifest, telemetry: pa.Table | None, span: Window) -> HostUse:
    """Mean busy cores in the window, in all and by whom, and the use of the network; None where samples lack.

    `other_busy_cores` are neither the client's nor the server's; None where a server here was not launched by us and
    does not tell its process, because it cannot be told from others. `contended_share` is the share of the window in
    which 90% of all cores were busy and others had a tenth of them; where nobody knows who the others are, all but the
    client are. `link_share` is the mean share of what the link towards the server can take, of the fuller direction;
    None where the interface does not tell what that is.
    """
    weighed, busy = _window(telemetry, span, "busy_cores")
    client, server = (_at(telemetry, source, weighed.t_ns) for source in ("client", "server"))
    stolen = _at(telemetry, "host", weighed.t_ns, "stolen_cores")
    others = _others(run, busy, client, server)
    cores = run.hardware.cores
    contended = None
    unknown = others if others is not None or client is None else busy - client
    if unknown is not None and cores:
        contended = ((busy >= FULL * cores) & (unknown >= OTHERS * cores)).astype(np.float64)
    return HostUse(
        busy_cores=weighed.mean(busy),
        client_busy_cores=weighed.mean(client),
        server_busy_cores=weighed.mean(server),
        other_busy_cores=weighed.mean(others),
        stolen_cores=weighed.mean(stolen),
        contended_share=weighed.mean(contended),
        link_share=_link_share(telemetry, span),
    )


def _window(telemetry: pa.Table | None, span: Window, name: str) -> tuple[WeightedSamples, Floats]:
    """The samples of the host of which some time lies in the window."""
    t_ns, values = series(telemetry, "host", name)
    gaps = np.diff(t_ns)
    before = np.concatenate([t_ns[:1] - (np.median(gaps) if len(gaps) else 0.0), t_ns[:-1]])
    inside_s = np.maximum(np.minimum(t_ns, span.end_ns) - np.maximum(before, span.start_ns), 0.0) / NS_PER_S
    some, known_s = inside_s > 0, float(inside_s.sum())
    is_enough = known_s >= max(LEAST_S, min(ENOUGH_S, LEAST_PART * span.seconds)) and some.any()
    return WeightedSamples(t_ns[some], inside_s[some], bool(is_enough)), values[some]


def _link_share(telemetry: pa.Table | None, span: Window) -> float | None:
    weighed, link = _window(telemetry, span, "link_bytes_per_s")
    ways = (_at(telemetry, "host", weighed.t_ns, f"{way}_bytes_per_s") for way in ("sent", "received"))
    shares = (None if way is None else weighed.mean(way / link) for way in ways)
    return max((share for share in shares if share is not None), default=None)


def _others(run: RunManifest, busy: Floats, client: Floats | None, server: Floats | None) -> Floats | None:
    is_here = run.launched or urlsplit(run.url).hostname in HERE
    if client is None or (is_here and server is None):
        return None
    return np.maximum(busy - client - (0.0 if server is None else server), 0.0)


def _at(telemetry: pa.Table | None, source: str, t_ns: Floats, name: str = "busy_cores") -> Floats | None:
    """A series at the instants of another one: the sampler writes both in the same tick, microseconds apart."""
    own_t_ns, values = series(telemetry, source, name)
    return np.interp(t_ns, own_t_ns, values) if len(own_t_ns) else None
