"""The ring against real packets: loopback, IPv6, a veth pair between namespaces, several connections, TLS."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bench.packets import segments, watch
from bench.packets.route import addresses_of, interfaces_to
from bench.packets.segments import OUT, SYN, Segments, key
from bench.wire.endpoint import Endpoint
from bench.wire.frames import FrameReader

pytestmark = pytest.mark.skipif(watch.lacks() is not None, reason=f"{watch.lacks()}")

SECRET = b"the-prompt-and-the-answer-that-nobody-may-see-"


@contextmanager
def echo(host: str, family: socket.AddressFamily) -> Iterator[int]:
    """A server that says twice what it is told, on its port."""
    with socket.create_server((host, 0), family=family) as server:

        def serve() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                with sock:
                    while data := sock.recv(65536):
                        sock.sendall(data * 2)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def talk(host: str, port: int, words: list[bytes]) -> int:
    """Say each word once the answer to the last is there; returns our port."""
    with socket.create_connection((host, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for word in words:
            sock.sendall(word)
            left = 2 * len(word)
            while left:
                left -= len(sock.recv(left))
        return int(sock.getsockname()[1])


def scanned(path: Path) -> tuple[Segments, np.ndarray]:
    found = segments.scan(path)
    everything = np.ones(len(found.servers) << 16, bool)
    return found, found.between(0, 2**62, everything)


def bytes_of(rows: np.ndarray, flag: int) -> int:
    """How many bytes a connection's stream had, in one direction."""
    way = rows[(rows["flags"] & OUT) == flag]
    first = int(way[(way["flags"] & SYN) > 0]["seq"][0]) + 1
    ends = (way["seq"].astype(np.int64) + way["bytes"] - first) % 2**32
    return int(ends[way["bytes"] > 0].max())


@pytest.mark.slow
@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_every_byte_both_ways_and_none_of_it_in_the_file(tmp_path: Path, host: str, family: int) -> None:
    words = [SECRET, SECRET * 3000, b"x"]
    try:
        with echo(host, socket.AddressFamily(family)) as port:
            with watch.ring_process(tmp_path / "log") as ring:
                before_ns = time.monotonic_ns()
                ring.watch(tmp_path / "a.seg", Endpoint(host, port, None, host))
                ours = [talk(host, port, words) for _ in range(3)]
            after_ns = time.monotonic_ns()
    except OSError as problem:
        pytest.skip(f"no {host} here: {problem}")
    found, rows = scanned(tmp_path / "a.seg")
    assert (found.dropped, found.end is not None, len(found.opened)) == (0, True, 6)
    assert set(rows["port"]) == set(ours)
    assert ((rows["t_ns"] >= before_ns) & (rows["t_ns"] <= after_ns)).all()
    for port_ in ours:
        own = rows[rows["port"] == port_]
        for flag, times in ((OUT, 1), (0, 2)):
            assert bytes_of(own, flag) == times * sum(map(len, words))
    held = b"".join(payload for _, _, payload in FrameReader(tmp_path / "a.seg")) + rows.tobytes()
    assert SECRET[:8] not in held
    assert SECRET[:8] not in (tmp_path / "a.seg").read_bytes()


def test_what_the_ring_itself_holds_is_headers_only(tmp_path: Path) -> None:
    """The blocks that the kernel filled, before anything of ours looked at them."""
    from bench.packets.filter import V4_BYTES, program
    from bench.packets.ring import Ring, open_socket

    with (
        echo("127.0.0.1", socket.AF_INET) as port,
        open_socket(program(addresses_of("127.0.0.1", port), port)) as sock,
    ):
        ring = Ring(sock, "lo")
        talk("127.0.0.1", port, [SECRET * 100])
        blocks: list[tuple[np.ndarray, int]] = []
        while not blocks:
            time.sleep(0.01)
            blocks = ring.take()
        ring.close()
    held = b"".join(data.tobytes() for data, _ in blocks)
    assert SECRET[:4] not in held
    assert len(held) < sum(packets for _, packets in blocks) * (100 + V4_BYTES + 16)


def test_a_socket_never_lets_go_of_its_filter() -> None:
    from bench.packets.filter import program
    from bench.packets.ring import open_socket

    with open_socket(program(addresses_of("127.0.0.1", 80), 80)) as sock, pytest.raises(PermissionError):
        sock.setsockopt(socket.SOL_SOCKET, 27, 0)


def test_a_ring_ends_with_whoever_started_it(tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from bench.packets.watch import ring_process;"
        "from bench.wire.endpoint import endpoint\n"
        "with ring_process(Path(sys.argv[1]) / 'log') as ring:\n"
        "    ring.watch(Path(sys.argv[1]) / 'a.seg', endpoint('http://127.0.0.1:9'))\n"
        "    print(ring.process.pid, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    deadline = time.monotonic() + 600
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_where_nothing_leads_to_there_is_no_ring(tmp_path: Path) -> None:
    with watch.ring_process(tmp_path / "log") as ring, pytest.raises(watch.NotWatched, match="no address"):
        ring.watch(tmp_path / "a.seg", Endpoint("no.such.host.invalid", 80, None, ""))


def test_loopback_leads_to_every_address_of_this_machine() -> None:
    assert interfaces_to(addresses_of("127.0.0.1", 1)) == [socket.if_nametoindex("lo")]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def other_side() -> Iterator[tuple[str, str]]:
    """A namespace behind a veth pair: (its name, its address)."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and iproute2 for a namespace of its own")
    name = f"stamps{os.getpid()}"
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as problem:
        pytest.skip(f"no namespaces here: {problem.stderr!r}")
    try:
        ip("link", "add", f"va{os.getpid()}", "type", "veth", "peer", "name", "vb", "netns", name)
        ip("addr", "add", "198.18.77.1/30", "dev", f"va{os.getpid()}")
        ip("link", "set", f"va{os.getpid()}", "up")
        ip("-n", name, "addr", "add", "198.18.77.2/30", "dev", "vb")
        ip("-n", name, "link", "set", "vb", "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield name, "198.18.77.2"
    finally:
        ip("netns", "del", name)


def on_a_vlan(name: str, vlan: int) -> str:
    """Put both ends of the pair into a VLAN too; the other's address there."""
    try:
        ip("link", "add", "link", f"va{os.getpid()}", "name", f"vlan{os.getpid()}", "type", "vlan", "id", str(vlan))
    except subprocess.CalledProcessError as problem:
        pytest.skip(f"no VLANs here: {problem.stderr!r}")
    ip("-n", name, "link", "add", "link", "vb", "name", "tagged", "type", "vlan", "id", str(vlan))
    ip("addr", "add", "198.18.77.5/30", "dev", f"vlan{os.getpid()}")
    ip("-n", name, "addr", "add", "198.18.77.6/30", "dev", "tagged")
    ip("link", "set", f"vlan{os.getpid()}", "up")
    ip("-n", name, "link", "set", "tagged", "up")
    return "198.18.77.6"


@pytest.mark.parametrize("vlan", [None, 5])
def test_through_a_veth_pair_into_another_namespace(
    tmp_path: Path, other_side: tuple[str, str], vlan: int | None
) -> None:
    name, address = other_side
    if vlan is not None:
        address = on_a_vlan(name, vlan)
    code = (
        "import socket\n"
        f"server = socket.create_server(('{address}', 0)); print(server.getsockname()[1], flush=True)\n"
        "sock, _ = server.accept()\n"
        "while data := sock.recv(65536): sock.sendall(data * 2)\n"
    )
    argv = ["ip", "netns", "exec", name, sys.executable, "-c", code]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with watch.ring_process(tmp_path / "log") as ring:
            ring.watch(tmp_path / "a.seg", Endpoint(address, port, None, address))
            talk(address, port, [b"x" * 200_000])
    _, rows = scanned(tmp_path / "a.seg")
    assert bytes_of(rows, OUT) == 200_000
    assert bytes_of(rows, 0) == 400_000
    assert rows["bytes"].max() > 1500, "segments larger than the wire's, as the interface has them"
    assert len(np.unique(key(rows))) == 1


def test_a_name_of_several_addresses_is_watched_on_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = addresses_of("127.0.0.1", 1) + addresses_of("127.0.0.2", 1)
    monkeypatch.setattr("bench.packets.route.addresses_of", lambda host, port: found)
    with echo("0.0.0.0", socket.AF_INET) as port, watch.ring_process(tmp_path / "log") as ring:
        ring.watch(tmp_path / "a.seg", Endpoint("two.test", port, None, ""))
        ports = [talk(host, port, [b"x" * 10]) for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3")]
    scan, rows = scanned(tmp_path / "a.seg")
    assert scan.servers == tuple(found)
    assert set(key(rows).tolist()) == {0 << 16 | ports[0], 1 << 16 | ports[1]}, "the third was not asked for"
    for number in (0, 1):
        assert bytes_of(rows[rows["server"] == number], 0) == 20
