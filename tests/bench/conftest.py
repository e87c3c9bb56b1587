"""Shared by the tests of whole runs, of telemetry and of the wire."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FAKE_NVML = Path(__file__).parents[1] / "fixtures" / "fake_nvml.c"


@pytest.fixture(scope="module")
def kernel_stamps() -> Iterator[None]:
    """A wire that is there for a while, as a load process's is when the load starts: then the kernel stamps."""
    import gevent

    from bench.wire.connection import Wire, endpoint

    wire = Wire(endpoint("http://127.0.0.1"), 1, 1)
    gevent.sleep(0.05)
    yield
    wire.close()


@pytest.fixture
def fake_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`fake_nvml(*defines)` makes processes started from here load the fake library instead of a driver's."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("the fake driver library needs Linux and a C compiler")

    def build(*defines: str) -> None:
        library = tmp_path / "libnvidia-ml.so.1"
        flags = [f"-D{define}" for define in defines]
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, FAKE_NVML, *flags], check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    return build
