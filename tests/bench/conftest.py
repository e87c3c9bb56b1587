"""Shared by the tests of whole runs and of the wire."""

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def kernel_stamps() -> Iterator[None]:
    """A wire that is there for a while, as a load process's is when the load starts: then the kernel stamps."""
    from bench.wire.connection import Wire, endpoint

    wire = Wire(endpoint("http://127.0.0.1"), 1, 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as telling,
        server.accept()[0] as asking,
    ):
        wire.want_stamps(asking)
        stamp: list[object] = []
        while wire.kernel_stamps and not stamp:
            telling.send(b"x")
            stamp = list(asking.recvmsg(1, 64)[1])
    yield
    wire.close()
