"""The ring: a process of its own that takes what the kernel has noted of each segment, and writes it down.

`python -m bench.packets.ring`, with what to watch as a line of JSON on standard input. The kernel fills blocks of a
ring (TPACKET_V3) whatever this process or the client is doing; this one is woken for each block that is full, or 50 ms
old. A line on standard input ends it, once nothing comes any more; so does the death of whoever started it.
"""

from bench.process import lifeline

# Whoever started this may be gone before the next line has been read.
lifeline.hold(None)

import ctypes  # noqa: E402
import fcntl  # noqa: E402
import json  # noqa: E402
import mmap  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import socket  # noqa: E402
import struct  # noqa: E402
from collections import deque  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Final  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from bench.packets.filter import program  # noqa: E402
from bench.packets.headers import rows_of  # noqa: E402
from bench.packets.segments import SegmentsWriter  # noqa: E402
from bench.wire.clock import ClockSample, cpu_s, sample  # noqa: E402

_SO_ATTACH_FILTER, _SO_LOCK_FILTER = 26, 44
_SOL_PACKET: Final = 263
_RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 5, 6, 10, 23
_TPACKET_V3 = 2
_EVERY_PROTOCOL = 3
# 64 MiB hold five seconds of 85,000 segments each; a quiet ring gives up a block each 50 ms, so 13 seconds of those.
BLOCK_BYTES, BLOCKS = 1 << 18, 256
_FRAME_BYTES = 256
_RETIRE_MS = 50
_POLL_MS = 100
# So many looks without a block after the end was asked for: what the kernel had begun has been given up by then.
_QUIET_LOOKS = 2
_LOOPBACK_FLAG, _GET_FLAGS = 0x8, 0x8913
# No clock is slewed by this much between a few looks; a block was begun at most so many ago.
_CLOCK_STEP_NS = 1_000_000
_LOOKS_OF_A_BLOCK = 3


def open_socket(code: bytes) -> socket.socket:
    """Open a packet socket that sees nothing yet, and never more than its filter lets in. Needs CAP_NET_RAW."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    text = ctypes.create_string_buffer(code)
    # struct sock_fprog: how many instructions of 8 bytes, and where; the buffer must live until the call returns.
    attach = struct.pack("HL", len(code) // 8, ctypes.addressof(text))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attach)
    # From now on nobody can widen the filter, this process included: no other traffic can be read by a mistake.
    sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
    return sock


class Ring:
    """The ring of one interface; its socket has its filter."""

    def __init__(self, sock: socket.socket, interface: str) -> None:
        self.sock = sock
        self._block = 0
        self.seen = self.dropped = 0
        sock.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        # struct tpacket_req3 of linux/if_packet.h. Version 3 fills blocks with packets of any length; the frames' size
        # and number have to be there and fit, and mean nothing more.
        frames = BLOCK_BYTES * BLOCKS // _FRAME_BYTES
        asked = struct.pack("IIIIIII", BLOCK_BYTES, BLOCKS, _FRAME_BYTES, frames, _RETIRE_MS, 0, 0)
        sock.setsockopt(_SOL_PACKET, _RX_RING, asked)
        if _is_loopback(interface):  # there what goes out comes in as well
            sock.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self._memory = mmap.mmap(sock.fileno(), BLOCK_BYTES * BLOCKS, mmap.MAP_SHARED)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        sock.bind((interface, _EVERY_PROTOCOL))

    def take(self) -> list[tuple[NDArray[np.uint8], int]]:
        """Give copies of the blocks that are full or old, each with its number of packets, and give them back."""
        found = []
        # At most all there are: a ring that fills as fast as it is emptied must not keep this from the clock.
        for _ in range(BLOCKS):
            at = self._block * BLOCK_BYTES
            # struct tpacket_block_desc: behind two words its status, packets, where the first begins, bytes in use.
            # Bit 0 of the status is whose block it is: 1 ours, and with 0 the kernel may fill it again.
            status, packets, first, length = struct.unpack_from("IIII", self._memory, at + 8)
            if not status & 1:
                break
            found.append((self._bytes[at + first : at + length].copy(), packets))
            # Only now: from this write on the kernel may fill the block, whose copy is ours.
            struct.pack_into("I", self._memory, at + 8, 0)
            self._block = (self._block + 1) % BLOCKS
        return found

    def close(self) -> None:
        """Give the memory back, once nobody holds a block."""
        del self._bytes
        self._memory.close()

    def count(self) -> None:
        """Add up what the kernel has seen and dropped; it forgets what it has told."""
        seen, dropped, _ = struct.unpack("III", self.sock.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self.seen += seen
        self.dropped += dropped


def watch(rings: Sequence[Ring], out: SegmentsWriter, servers: Sequence[bytes], port: int) -> None:
    """Write segments down until a line comes on standard input and nothing more from the kernel."""
    begun_s = cpu_s()  # what it takes to begin is no load's
    waiting = select.poll()
    for ring in rings:
        waiting.register(ring.sock, select.POLLIN)
    waiting.register(0, select.POLLIN)
    quiet: int | None = None
    looks, missed = deque([sample()], _LOOKS_OF_A_BLOCK + 1), 0
    while quiet is None or quiet < _QUIET_LOOKS:
        ready = dict(waiting.poll(_POLL_MS))
        if 0 in ready:
            waiting.unregister(0)
            quiet = 0
        taken = [block for ring in rings for block in ring.take()]
        looks.append(sample())
        offsets_ns = [look.offset_ns for look in looks]
        is_stepped = max(offsets_ns) - min(offsets_ns) > _CLOCK_STEP_NS
        for ring in rings:
            ring.count()
        if quiet is not None:
            quiet = 0 if taken else quiet + 1
        seen, dropped = sum(ring.seen for ring in rings), sum(ring.dropped for ring in rings)
        for data, packets in taken:
            if is_stepped:  # nobody knows when these came
                missed += packets
            else:
                rows = rows_of(data, packets, servers, port)
                rows["t_ns"] -= _offsets_ns(rows["t_ns"], looks)
                out.append(rows, seen, dropped + missed)
    out.close({"seen": seen, "dropped": dropped + missed, "cpu_s": cpu_s() - begun_s})


def _offsets_ns(wall_ns: NDArray[np.int64], looks: Sequence[ClockSample]) -> NDArray[np.int64]:
    """How far the wall clock was ahead of the monotonic one at these times of its own, between readings of both."""
    first = looks[0]
    begin_ns = first.t_ns + first.offset_ns
    places = [look.t_ns + look.offset_ns - begin_ns for look in looks]
    drift = np.interp((wall_ns - begin_ns).astype(float), places, [look.offset_ns - first.offset_ns for look in looks])
    found: NDArray[np.int64] = first.offset_ns + drift.astype(np.int64)
    return found


def _is_loopback(interface: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        said = fcntl.ioctl(sock, _GET_FLAGS, struct.pack("16sH14x", interface.encode(), 0))
    return bool(struct.unpack_from("H", said, 16)[0] & _LOOPBACK_FLAG)


def main() -> None:
    """Open the rings, say so in a line of JSON, and watch. What keeps them from being opened is said in its place."""
    line = b""
    while not line.endswith(b"\n"):  # without reading ahead: what follows ends the watch
        byte = os.read(0, 1)
        if not byte:
            return
        line += byte
    asked = json.loads(line)
    servers = [bytes.fromhex(server) for server in asked["servers"]]
    code = program(servers, asked["port"])
    try:
        rings = [Ring(open_socket(code), name) for name in asked["interfaces"]]
        out = SegmentsWriter(Path(asked["out"]), servers, asked["port"], asked["interfaces"])
    except OSError as problem:
        print(json.dumps({"error": problem.strerror or str(problem)}), flush=True)
        return
    print(json.dumps({"error": None}), flush=True)
    watch(rings, out, servers, asked["port"])


if __name__ == "__main__":
    main()
