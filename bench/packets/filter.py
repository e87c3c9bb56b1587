"""The program by which the kernel chooses packets, and how much of each it keeps: headers, never a payload byte.

Classic BPF as a packet socket of type SOCK_DGRAM runs it: byte 0 is the first of the IP header, whatever lies below.
Kept are TCP segments between us and the server that carry bytes, or open a connection. Of each the kernel keeps its IP
header and the fixed part of its TCP header, at a length that is a constant of the program, not of the packet. Packets
with IP options, fragments, and TCP behind IPv6 extension headers are not kept; the bytes they carry are then missing,
and an answer that misses bytes is not stamped by packets.
"""

import ipaddress
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

V4_BYTES, V6_BYTES = 40, 60
"""Kept of a packet: an IPv4 header without options or an IPv6 header, and the 20 bytes that every TCP header has."""
SERVERS_MAX = 32
"""For more addresses the program would be longer than the kernel takes."""

# A = packet[k], of 4, 2 or 1 bytes; A -= X; A -= k; A &= k; A >>= k; X = A
_WORD, _HALF, _BYTE, _MINUS_X, _MINUS, _AND, _RIGHT, _TO_X = 0x20, 0x28, 0x30, 0x1C, 0x14, 0x54, 0x74, 0x07
_GO, _IF_IS, _IF_HAS, _RETURN = 0x05, 0x15, 0x45, 0x06
_TCP, _SYN, _FRAGMENT = 6, 2, 0x1FFF
_DROP = "drop"


class _Op(NamedTuple):
    """One instruction that goes on with the next."""

    code: int
    k: int = 0


class _Jump(NamedTuple):
    """Go to one of two labels."""

    code: int
    k: int
    then: str
    otherwise: str


class _Header(NamedTuple):
    """Where things lie in an IP header and the TCP header behind it; `counted` of its length is the IP header's own."""

    source: int
    destination: int
    length: int
    counted: int
    tcp: int


_V4 = _Header(12, 16, 2, 20, 20)
_V6 = _Header(8, 24, 4, 0, 40)

_Step = _Op | _Jump | str
"""An instruction, or the label of the next."""


def program(servers: Sequence[bytes], port: int) -> bytes:
    """Make the program for connections to a port of these addresses, as an array of struct sock_filter.

    Addresses have 16 bytes, of IPv4 as ::ffff:a.b.c.d; there are at most `SERVERS_MAX`.
    """
    addresses = [ipaddress.IPv6Address(server) for server in servers]
    v4 = [address.ipv4_mapped.packed for address in addresses if address.ipv4_mapped]
    v6 = [address.packed for address in addresses if not address.ipv4_mapped]
    return _assembled([*_by_version(), *_of_v4(v4, port), *_of_v6(v6, port), _DROP, _Op(_RETURN, 0)])


def _by_version() -> Iterator[_Step]:
    yield from (_Op(_BYTE, 0), _Op(_AND, 0xF0), _Jump(_IF_IS, 0x40, "4", "not 4"))
    yield from ("not 4", _Jump(_IF_IS, 0x60, "6", _DROP))


def _of_v4(servers: Sequence[bytes], port: int) -> Iterator[_Step]:
    yield from ("4", _Op(_BYTE, 0), _Jump(_IF_IS, 0x45, "4 plain", _DROP))
    yield from ("4 plain", _Op(_BYTE, 9), _Jump(_IF_IS, _TCP, "4 tcp", _DROP))
    yield from ("4 tcp", _Op(_HALF, 6), _Jump(_IF_HAS, _FRAGMENT, _DROP, "4 whole"))
    yield "4 whole"
    yield from _between(_V4, servers, port, "4")
    yield from _with_bytes(_V4, "4", V4_BYTES)


def _of_v6(servers: Sequence[bytes], port: int) -> Iterator[_Step]:
    yield from ("6", _Op(_BYTE, 6), _Jump(_IF_IS, _TCP, "6 tcp", _DROP))
    yield "6 tcp"
    yield from _between(_V6, servers, port, "6")
    yield from _with_bytes(_V6, "6", V6_BYTES)


def _between(header: _Header, servers: Sequence[bytes], port: int, name: str) -> Iterator[_Step]:
    """Go on at `NAME ours` with what comes from the server or goes there."""
    ends = ((header.source, header.tcp, "from"), (header.destination, header.tcp + 2, "to"))
    for address_at, port_at, end in ends:
        miss = f"{name} not {end}"
        yield from (_Op(_HALF, port_at), _Jump(_IF_IS, port, f"{name} {end} 0", miss))
        for n, server in enumerate(servers):
            yield f"{name} {end} {n}"
            words = struct.unpack(f"!{len(server) // 4}I", server)
            for i, word in enumerate(words):
                there = f"{name} ours" if i == len(words) - 1 else f"{name} {end} {n} {i}"
                yield from (
                    _Op(_WORD, address_at + 4 * i),
                    _Jump(_IF_IS, word, there, f"{name} {end} {n + 1}"),
                )
                yield from () if i == len(words) - 1 else (there,)
        yield from (f"{name} {end} {len(servers)}", miss)
    yield _Jump(_IF_IS, 0, _DROP, _DROP)
    yield f"{name} ours"


def _with_bytes(header: _Header, name: str, kept: int) -> Iterator[_Step]:
    """Keep what opens a connection or carries bytes; a length of 0 is that of a jumbo packet, which does."""
    keep, sized = f"{name} keep", f"{name} sized"
    yield from (_Op(_BYTE, header.tcp + 13), _Jump(_IF_HAS, _SYN, keep, f"{name} open"))
    yield from (
        f"{name} open",
        _Op(_BYTE, header.tcp + 12),
        _Op(_AND, 0xF0),
        _Op(_RIGHT, 2),
        _Op(_TO_X),
    )
    yield from (_Op(_HALF, header.length), _Jump(_IF_IS, 0, keep, sized))
    yield from (sized, _Op(_MINUS, header.counted), _Op(_MINUS_X), _Jump(_IF_IS, 0, _DROP, keep))
    yield from (keep, _Op(_RETURN, kept))


def _assembled(steps: Sequence[_Step]) -> bytes:
    """Put instructions behind each other: a test is three, for its own jumps are too short for a long program."""
    places: dict[str, int] = {}
    at = 0
    for step in steps:
        if isinstance(step, str):
            places[step] = at
        else:
            at += 3 if isinstance(step, _Jump) else 1
    code: list[tuple[int, int, int, int]] = []
    for step in steps:
        if isinstance(step, _Op):
            code.append((step.code, 0, 0, step.k))
        elif isinstance(step, _Jump):
            code.append((step.code, 0, 1, step.k))
            for label in (step.then, step.otherwise):
                code.append((_GO, 0, 0, places[label] - len(code) - 1))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)
