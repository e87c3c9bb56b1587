"""Who had the cores of the client's machine during the window, and how full its wire was, from its telemetry."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from analysis.gpu import series
from analysis.stats import Floats
from analysis.window import Window

FULL, OTHERS = 0.9, 0.1
LEAST_SAMPLES = 3
HERE = {"localhost", "127.0.0.1", "::1"}


def host(run: Mapping[str, Any], telemetry: pa.Table | None, span: Window) -> dict[str, float | None]:
    """Mean busy cores in the window, in all and by whom, and the use of the network; None with under three samples.

    `other_busy_cores` are neither the client's nor the server's; None where a server here was not launched by us,
    because it cannot be told from others. `contended_share` is the share of samples in which 90% of all cores were
    busy and others had a tenth of them. `link_share` is the mean share of what the link towards the server can take,
    of the fuller direction; None where the interface does not tell what that is.
    """
    t_ns, busy = series(telemetry, "host", "busy_cores")
    inside = span.holds(t_ns)
    t_ns, busy = t_ns[inside], busy[inside]
    client, server = (_at(telemetry, source, t_ns) for source in ("client", "server"))
    stolen = _at(telemetry, "host", t_ns, "stolen_cores")
    others = _others(run, busy, client, server)
    cores = run["hardware"]["cores"]
    contended = None
    if others is not None and cores:
        contended = ((busy >= FULL * cores) & (others >= OTHERS * cores)).astype(np.float64)
    return {
        "busy_cores": _mean(busy),
        "client_busy_cores": _mean(client),
        "server_busy_cores": _mean(server),
        "other_busy_cores": _mean(others),
        "stolen_cores": _mean(stolen),
        "contended_share": _mean(contended),
        "link_share": _link_share(telemetry, span),
    }


def _link_share(telemetry: pa.Table | None, span: Window) -> float | None:
    t_ns, link = series(telemetry, "host", "link_bytes_per_s")
    inside = span.holds(t_ns)
    ways = (_at(telemetry, "host", t_ns[inside], f"{way}_bytes_per_s") for way in ("sent", "received"))
    shares = (None if way is None else _mean(way / link[inside]) for way in ways)
    return max((share for share in shares if share is not None), default=None)


def _others(run: Mapping[str, Any], busy: Floats, client: Floats | None, server: Floats | None) -> Floats | None:
    is_here = run["launched"] or urlsplit(run["url"]).hostname in HERE
    if client is None or (is_here and server is None):
        return None
    return np.maximum(busy - client - (0.0 if server is None else server), 0.0)


def _at(telemetry: pa.Table | None, source: str, t_ns: Floats, name: str = "busy_cores") -> Floats | None:
    """A series at the instants of another one: the sampler writes both in the same tick, microseconds apart."""
    own_t_ns, values = series(telemetry, source, name)
    return np.interp(t_ns, own_t_ns, values) if len(own_t_ns) else None


def _mean(values: Floats | None) -> float | None:
    return None if values is None or len(values) < LEAST_SAMPLES else float(values.mean())
