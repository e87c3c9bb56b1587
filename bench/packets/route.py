"""Through which network interface packets to an address go, as the kernel decides it (rtnetlink)."""

import socket
import struct
from collections.abc import Sequence

from bench.wire.endpoint import MAPPED_IPV4

_NETLINK_ROUTE, _GET_ROUTE, _REQUEST, _ERROR = 0, 26, 1, 2
_DESTINATION, _INTERFACE = 1, 4
_MESSAGE, _ROUTE, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=BBBBBBBBI"), struct.Struct("=HH")


def addresses_of(host: str, port: int) -> list[bytes]:
    """The addresses of a host in 16 bytes each (IPv4 as ::ffff:a.b.c.d). Raises OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    texts = dict.fromkeys((family, str(address[0]).partition("%")[0]) for family, _, _, _, address in found)
    return [_packed(family, text) for family, text in texts if family in (socket.AF_INET, socket.AF_INET6)]


def interfaces_to(addresses: Sequence[bytes]) -> list[int]:
    """The numbers of the interfaces that lead to these addresses, each once; of one without a route, none."""
    return sorted({number for number in map(_interface_to, addresses) if number})


def _packed(family: int, text: str) -> bytes:
    packed = socket.inet_pton(family, text)
    return packed if len(packed) == 16 else MAPPED_IPV4 + packed


def _interface_to(address: bytes) -> int | None:
    family, plain = (socket.AF_INET, address[12:]) if address.startswith(MAPPED_IPV4) else (socket.AF_INET6, address)
    route = _ROUTE.pack(family, 8 * len(plain), 0, 0, 0, 0, 0, 0, 0) + _ATTRIBUTE.pack(4 + len(plain), _DESTINATION)
    ask = _MESSAGE.pack(_MESSAGE.size + len(route) + len(plain), _GET_ROUTE, _REQUEST, 1, 0) + route + plain
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE) as sock:
            sock.send(ask)
            said = sock.recv(4096)
    except OSError:
        return None
    if _MESSAGE.unpack_from(said)[1] == _ERROR:
        return None
    at = _MESSAGE.size + _ROUTE.size
    while at + _ATTRIBUTE.size <= len(said):
        length, kind = _ATTRIBUTE.unpack_from(said, at)
        if kind == _INTERFACE:
            return int.from_bytes(said[at + 4 : at + 8], "little" if struct.pack("=H", 1)[0] else "big")
        at += max(4, length + 3 & ~3)
    return None
