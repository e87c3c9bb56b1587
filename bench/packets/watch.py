"""Whether a run may have packet stamps, and the ring that takes them while it lasts."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.packets import route
from bench.packets.filter import SERVERS_MAX
from bench.wire.endpoint import Endpoint
from bench.wire.redact import environment

_STOP_S = 5.0


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
        asked = {"out": str(out.absolute()), "port": target.port, **_where(target)}
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):  # it has died: it then says nothing either
            self.process.stdin.write(json.dumps(asked).encode() + b"\n")
            self.process.stdin.flush()
        said = self.process.stdout.readline()
        problem = json.loads(said)["error"] if said else "its process died"
        if problem:
            raise NotWatched(f"the kernel's packet ring cannot be opened: {problem}")


@contextmanager
def ring_process(log: Path, secrets: Sequence[str] = ()) -> Iterator[RingProcess]:
    """Start a ring's process, which needs a moment to import; leaving ends it once the last packets are written."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.packets.ring"],
            env=environment(secrets),
            cwd=Path(__file__).parents[2],  # where `-m` finds this package, installed or not
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for us; the ring ends when it is told to
        )
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
        return "packet stamps need CAP_NET_RAW: run as root, or in a container with --cap-add NET_RAW"
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
