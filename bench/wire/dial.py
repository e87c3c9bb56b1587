"""Opening a connection: TCP, and TLS over memory, so that ciphertext is read like all else and keeps its stamps."""

import _socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from gevent import socket as cooperative

from bench.wire.endpoint import MAPPED_IPV4, Endpoint

READ_BYTES = 65536


class Tls(NamedTuple):
    """A secured connection: the two directions as ciphertext, and how many bytes of each the handshake took."""

    ciphertext_in: ssl.MemoryBIO
    ciphertext_out: ssl.MemoryBIO
    plain: ssl.SSLObject
    sent: int
    got: int


def dial(target: Endpoint) -> tuple[cooperative.socket, Tls | None]:
    """Open a connection and secure it. Raises OSError."""
    sock = cooperative.create_connection((target.host, target.port))
    try:
        # A request that takes several segments would otherwise wait with the last for the server's acknowledgement.
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        return sock, None if target.tls is None else _handshake(sock, target.tls, target.host)
    except BaseException:
        sock.close()
        raise


def _handshake(sock: cooperative.socket, context: ssl.SSLContext, host: str) -> Tls:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    plain = context.wrap_bio(incoming, outgoing, server_hostname=host)
    sent = got = 0
    while True:
        try:
            plain.do_handshake()
            is_done = True
        except ssl.SSLWantReadError:
            is_done = False
        flight = outgoing.read()
        sock.sendall(flight)
        sent += len(flight)
        if is_done:
            return Tls(incoming, outgoing, plain, sent, got)
        data = sock.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("closed during the TLS handshake")
        incoming.write(data)
        got += len(data)


def peer_of(sock: _socket.socket) -> tuple[bytes, int] | None:
    """The server's address in 16 bytes, and our port; None where there is none."""
    if sock.family == _socket.AF_INET6:
        return _socket.inet_pton(_socket.AF_INET6, sock.getpeername()[0].partition("%")[0]), sock.getsockname()[1]
    if sock.family == _socket.AF_INET:
        return MAPPED_IPV4 + _socket.inet_aton(sock.getpeername()[0]), sock.getsockname()[1]
    return None


def acknowledging(sock: _socket.socket) -> Callable[..., Any]:
    """Give the socket's recvmsg_into, after which what comes next is acknowledged at once: the kernel forgets it."""
    read, quick = sock.recvmsg_into, partial(sock.setsockopt, _socket.IPPROTO_TCP, _socket.TCP_QUICKACK, 1)
    quick()

    def read_and_ask_again(*room: Any) -> Any:
        try:
            return read(*room)
        finally:
            quick()

    return read_and_ask_again
