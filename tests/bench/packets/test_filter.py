import ipaddress
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.packets.filter import SERVERS_MAX, V4_BYTES, V6_BYTES, program
from bench.packets.headers import rows_of
from bench.packets.segments import OUT, SYN

PORT = 8000
SERVERS = ["10.1.2.3", "127.0.0.1", "::1", "fd00::7", "fd00::1:7"]
OTHERS = ["10.1.2.4", "127.0.0.2", "::2", "fd00::8", "fe00::7"]


def mapped(address: str) -> bytes:
    one = ipaddress.ip_address(address)
    return one.packed if one.version == 6 else bytes(10) + b"\xff\xff" + one.packed


def kept(code: bytes, packet: bytes) -> int:
    """What the kernel's own interpreter keeps of a packet; reading behind its end drops it."""
    steps = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)]
    a = x = at = 0
    while True:
        op, then, otherwise, k = steps[at]
        at += 1
        width = {0x20: 4, 0x28: 2, 0x30: 1}.get(op)
        if width:
            if k + width > len(packet):
                return 0
            a = int.from_bytes(packet[k : k + width], "big")
        elif op == 0x1C:
            a = (a - x) % 2**32
        elif op == 0x14:
            a = (a - k) % 2**32
        elif op == 0x54:
            a &= k
        elif op == 0x74:
            a >>= k
        elif op == 0x07:
            x = a
        elif op == 0x05:
            at += k
        elif op == 0x15:
            at += then if a == k else otherwise
        elif op == 0x45:
            at += then if a & k else otherwise
        else:
            assert op == 0x06
            return int(k)


def packet(
    source: str, destination: str, ports: tuple[int, int], flags: int = 0x10, options: int = 0, payload: bytes = b"x"
) -> bytes:
    tcp = struct.pack("!HHIIBBHHH", *ports, 7, 9, (5 + options) << 4, flags, 0, 0, 0) + bytes(4 * options) + payload
    one, other = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if one.version == 6:
        return struct.pack("!IHBB", 0x60000000, len(tcp), 6, 64) + one.packed + other.packed + tcp
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + one.packed + other.packed + tcp


CODE = program([mapped(server) for server in SERVERS], PORT)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([(a, b) for a in SERVERS + OTHERS for b in SERVERS + OTHERS if (":" in a) == (":" in b)]),
    st.sampled_from([(PORT, 40000), (40000, PORT), (PORT, PORT), (40000, 40001)]),
    st.sampled_from([0x10, 0x18, 0x02, 0x12, 0x11, 0x04]),
    st.integers(0, 10),
    st.binary(max_size=30),
)
def test_headers_of_what_carries_bytes_or_opens_a_connection_and_nothing_else(
    ends: tuple[str, str], ports: tuple[int, int], flags: int, options: int, payload: bytes
) -> None:
    source, destination = ends
    ours = (source in SERVERS and ports[0] == PORT) or (destination in SERVERS and ports[1] == PORT)
    wanted = ours and bool(payload or flags & 2)
    found = kept(CODE, packet(source, destination, ports, flags, options, payload))
    assert found == ((V6_BYTES if ":" in source else V4_BYTES) if wanted else 0)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_whatever_comes_the_length_kept_is_one_of_two_constants(junk: bytes) -> None:
    assert kept(CODE, junk) in (0, V4_BYTES, V6_BYTES)


def test_a_padded_frame_without_payload_is_dropped_and_a_jumbo_packet_kept() -> None:
    bare = packet("10.1.2.3", "10.9.9.9", (PORT, 40000), payload=b"")
    assert kept(CODE, bare + bytes(6)) == 0
    jumbo = bytearray(packet("10.1.2.3", "10.9.9.9", (PORT, 40000)))
    jumbo[2:4] = bytes(2)
    assert kept(CODE, bytes(jumbo)) == V4_BYTES


def test_no_options_fragments_or_other_protocols() -> None:
    sound = packet("10.1.2.3", "10.9.9.9", (PORT, 40000))
    for at, value in ((0, 0x46), (9, 17), (7, 1)):
        odd = bytearray(sound)
        odd[at] = value
        assert kept(CODE, bytes(odd)) == 0


def test_as_many_addresses_as_may_be_fit_into_a_program() -> None:
    for many in ([f"fd00::{n:x}" for n in range(SERVERS_MAX)], [f"10.0.0.{n}" for n in range(SERVERS_MAX)]):
        code = program([mapped(server) for server in many], PORT)
        assert len(code) // 8 <= 4096
        last = many[-1]
        assert kept(code, packet("fd00::ffff" if ":" in last else "9.9.9.9", last, (4, PORT)))
        assert not kept(
            code, packet("fd00::ffff" if ":" in last else "9.9.9.9", SERVERS[0] if "." in last else "::9", (4, PORT))
        )


# --- crafted frames through the filter and into rows -----------------------------------------------------------------


def block(frames: list[tuple[bytes, int]], vlan: int) -> tuple[np.ndarray, int]:
    """A block as the kernel fills it with what the filter keeps of IP packets; a VLAN's tag lies in their heads."""
    found, packets = b"", 0
    for ip, at_ns in frames:
        if size := kept(CODE, ip):
            lengths = (size, len(ip), 1 | (1 << 4 if vlan else 0))
            head = struct.pack("IIIIIIHH", 0, *divmod(at_ns, 10**9), *lengths, 82, 82)
            whole = head + struct.pack("IIHH8x", 0, vlan, 0x8100 if vlan else 0, 0) + bytes(82 - 48) + ip[:size]
            whole += bytes(-len(whole) % 16)
            found += struct.pack("I", len(whole)) + whole[4:]
            packets += 1
    return np.frombuffer(found, np.uint8), packets


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SERVERS + OTHERS), st.booleans(), st.sampled_from([0x18, 0x02]), st.binary(max_size=9)
        ),
        max_size=12,
    ),
    st.sampled_from([0, 5, 4094]),
)
def test_every_server_address_has_its_own_number_tagged_or_not(
    seen: list[tuple[str, bool, int, bytes]], vlan: int
) -> None:
    frames, wanted = [], []
    for n, (server, is_out, flags, payload) in enumerate(seen):
        us = "fd00::99" if ":" in server else "10.9.9.9"
        ends, ports = ((us, server), (40000 + n, PORT)) if is_out else ((server, us), (PORT, 40000 + n))
        frames.append((packet(*ends, ports, flags, 0, payload), 10**18 + n))
        if server in SERVERS and (payload or flags & 2):
            said = (OUT if is_out else 0) | (SYN if flags & 2 else 0)
            wanted.append((10**18 + n, 7, len(payload), 40000 + n, SERVERS.index(server), said))
    rows = rows_of(*block(frames, vlan), [mapped(server) for server in SERVERS], PORT)
    assert rows.tolist() == wanted


def test_a_tag_that_nobody_took_off_is_not_taken_for_a_header() -> None:
    """Where a card leaves it, the tag comes first; the packets are then seen on the VLAN's own interface."""
    for address in ("10.1.2.3", "fd00::7"):
        sound = packet("fd00::99" if ":" in address else "10.9.9.9", address, (40000, PORT))
        for identifier in range(4096):
            assert not kept(CODE, struct.pack("!HH", identifier, 0x86DD if ":" in address else 0x0800) + sound)
