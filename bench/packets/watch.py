"""Whether a run may have packet stamps, and the ring that takes them while it lasts."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.packets import route
from bench.packets.filter import SERVERS_MAX
from bench.process.module import ask, start_module
from bench.process.secrets import environment
from bench.wire.endpoint import Endpoint

_STOP_S = 5.0
AS_YOURSELF = "sudo setpriv --reuid $(id -u) --regid $(id -g) --init-groups --inh-caps +net_raw --ambient-caps +net_raw"
"""Starts a command as the user who asks, with this one capability, which its processes inherit and no file keeps."""


class NotWatched(Exception):
    """There is no ring; says why, and what helps."""


@dataclass(frozen=True, slots=True)
class RingProcess:
    """The process that will watch, or does."""

    process: "subprocess.Popen[bytes]"

    def watch(self, out: Path, target: Endpoint) -> None:
        """Watch all connections to a target, into the new file `out`; returns once packets are seen.

        Raises NotWatched where that cannot be.
        """
        answer = ask(self.process, {"out": str(out.absolute()), "port": target.port, **_where(target)})
        problem = "its process died" if answer is None else answer["error"]
        if problem:
            raise NotWatched(f"the kernel's packet ring cannot be opened: {problem}")


@contextmanager
def ring_process(log: Path, secrets: Sequence[str] = ()) -> Iterator[RingProcess]:
    """Start a ring's process, which needs a moment to import; leaving ends it once the last packets are written."""
    with log.open("ab") as errors:
        process = start_module("bench.packets.ring", environment(secrets), stderr=errors)
    try:
        yield RingProcess(process)
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(b"\n", timeout=_STOP_S)
        if process.returncode is None:
            process.kill()
            process.communicate()


def lacks() -> str | None:
    """What this process lacks for packet stamps, with what permits them; None where they are permitted."""
    if not hasattr(socket, "AF_PACKET"):
        return "packet stamps need Linux"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except PermissionError:
        # Root that may not is in a container, and can give itself nothing.
        permits = "give its container --cap-add NET_RAW" if os.geteuid() == 0 else f"run {AS_YOURSELF} bench.py ..."
        return f"packet stamps need CAP_NET_RAW: {permits}"
    except OSError as problem:
        return f"packet stamps need a packet socket: {problem.strerror}"
    return None


def _where(target: Endpoint) -> dict[str, list[str]]:
    try:
        servers = route.addresses_of(target.host, target.port)
    except OSError as problem:
        raise NotWatched(f"{target.host} has no address: {problem.strerror}") from None
    interfaces = [socket.if_indextoname(number) for number in route.interfaces_to(servers)]
    if not interfaces or len(servers) > SERVERS_MAX:
        raise NotWatched(f"no network interface is known to lead to {target.host}, or too many of its addresses")
    return {"servers": [server.hex() for server in servers], "interfaces": interfaces}
