"""Shared by the tests of whole runs and of the wire."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def kernel_stamps() -> Iterator[None]:
    """A wire that is there for a while, as a load process's is when the load starts: then the kernel stamps."""
    import gevent

    from bench.wire.connection import Wire, endpoint

    wire = Wire(endpoint("http://127.0.0.1"), 1, 1)
    gevent.sleep(0.05)
    yield
    wire.close()
