"""Readings of the host, its network and process trees, as endless series that the sampler steps through."""

import socket
import time
from collections.abc import Iterator
from itertools import repeat
from urllib.parse import urlsplit

import psutil

Reading = dict[str, float]


def host_readings() -> Iterator[Reading]:
    """At each step busy_cores, stolen_cores (Linux), memory_used_bytes, load_1m.

    CPU shares cover the time since the previous step, so the first reading has none.
    """
    cpu: Reading = {}
    cores_per_pct = (psutil.cpu_count() or 1) / 100
    # psutil gives shares since its last call; this first call only starts the interval.
    psutil.cpu_times_percent()
    while True:
        yield {**cpu, "memory_used_bytes": psutil.virtual_memory().used, "load_1m": psutil.getloadavg()[0]}
        times = psutil.cpu_times_percent()
        # A core that waits for a disk is available to others.
        cpu = {"busy_cores": (100 - times.idle - getattr(times, "iowait", 0.0)) * cores_per_pct}
        if hasattr(times, "steal"):
            cpu["stolen_cores"] = times.steal * cores_per_pct


def network_readings(url: str) -> Iterator[Reading]:
    """At each step, sent_bytes_per_s and received_bytes_per_s of the interface towards `url`, over all its traffic.

    They cover the time since the previous step, so the first reading has none. link_bytes_per_s is the link's capacity
    in each direction, omitted if the interface does not report it. There are no readings for a server on this machine.
    """
    interface = _interface_towards(url)
    if interface is None:
        yield from repeat({})
        return
    stats = psutil.net_if_stats().get(interface)
    link: Reading = {"link_bytes_per_s": stats.speed * 1e6 / 8} if stats and stats.speed else {}
    then_s, before = time.monotonic(), None
    while True:
        now_s, after = time.monotonic(), psutil.net_io_counters(pernic=True).get(interface)
        if after and before:
            sent, received = after.bytes_sent - before.bytes_sent, after.bytes_recv - before.bytes_recv
            rates = {"sent_bytes_per_s": sent, "received_bytes_per_s": received}
            yield link | {name: count / (now_s - then_s) for name, count in rates.items()}
        else:
            yield {}
        then_s, before = now_s, after


def _interface_towards(url: str) -> str | None:
    """The interface by which packets to a URL's host leave this machine; None if they do not, or none is found."""
    way = _way(url)
    if way is None or way[0] == way[1]:
        return None
    return next((name for name, own in psutil.net_if_addrs().items() if way[0] in {each.address for each in own}), None)


def _way(url: str) -> tuple[str, str] | None:
    """The local and remote addresses of packets to a URL's host: equal if it is this machine."""
    try:
        family, kind, _, _, there = socket.getaddrinfo(urlsplit(url).hostname, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(there)  # sends nothing, but chooses the route
            return str(probe.getsockname()[0]), str(there[0])
    except OSError:
        return None


def is_here(url: str) -> bool | None:
    """Whether a URL leads to this machine; None if its host does not resolve."""
    way = _way(url)
    return None if way is None else way[0] == way[1]


def listener(url: str) -> int | None:
    """The process on this machine that listens at a URL; None if it is elsewhere or not visible.

    Processes of other users, or in containers, show their ports only to the superuser.
    """
    there, way = urlsplit(url), _way(url)
    if way is None or way[0] != way[1]:
        return None
    port = there.port or {"https": 443}.get(there.scheme, 80)
    try:
        sockets = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    return next((each.pid for each in sockets if each.status == psutil.CONN_LISTEN and each.laddr[1:] == (port,)), None)


def process_readings(server_pid: int | None, client_pid: int) -> Iterator[dict[str, Reading]]:
    """At each step, for "server" and "client": rss_bytes, busy_cores (since the previous step).

    Each is the sum over a process tree; the client's excludes the server's and the calling process. Shared pages count
    once per process. A tree without a living process is omitted.
    """
    caller = psutil.Process()
    cpu_s: dict[psutil.Process, float] | None = None
    then = next_scan = 0.0
    while True:
        now = time.monotonic()
        if now >= next_scan:
            server = _tree(server_pid)
            client = _tree(client_pid) - server - {caller}
            # A scan reads every process of the machine, thousands on a large host, so it is limited to 1% of a core.
            next_scan = now + 100 * (time.monotonic() - now)
        used = {process: usage for process in server | client if (usage := _usage(process))}
        readings: dict[str, Reading] = {}
        for source, tree in ("server", server), ("client", client):
            alive = tree & used.keys()
            if not alive:
                continue
            readings[source] = {"rss_bytes": sum(used[process][1] for process in alive)}
            if cpu_s is not None:
                spent_s = sum(used[process][0] - cpu_s.get(process, 0.0) for process in alive)
                readings[source]["busy_cores"] = spent_s / (now - then)
        yield readings
        then, cpu_s = now, {process: usage[0] for process, usage in used.items()}


def _tree(pid: int | None) -> set[psutil.Process]:
    if pid is None:
        return set()
    try:
        root = psutil.Process(pid)
        return {root, *root.children(recursive=True)}
    except psutil.Error:
        return set()


def _usage(process: psutil.Process) -> tuple[float, int] | None:
    """CPU seconds so far and resident bytes; None if the process has ended or is not accessible."""
    try:
        times = process.cpu_times()
        return times.user + times.system, process.memory_info().rss
    except psutil.Error:
        return None
